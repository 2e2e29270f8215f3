//! SYNs at the listener: taken in, answered or dropped.
//!
//! A SYN that `tcp_conn_request` drops is freed like one that it answers, by `consume_skb`. What tells them
//! apart is the SYN-ACK that left on this CPU in between, or that waits for its neighbour's address.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use c1m_common::{stats::hook, tuple::Tuple};

use crate::{
    fold::{NOBODY, begin, count_syn_drop, entry_of, syn_dropped},
    kernel::{Ptr, Side, is_traced_namespace, skb_inum},
    listeners::why_dropped,
    maps::{Window, config, folding, offset, stats, window},
    segment::{Header, is_no_synack},
};

/// `net_dev_queue(struct sk_buff *skb)`: every packet that is handed to a device.
#[raw_tracepoint(tracepoint = "net_dev_queue")]
pub(crate) fn net_dev_queue(ctx: RawTracePointContext) -> i32 {
    let _ = queued(Ptr(ctx.arg(0)));
    0
}

#[inline(always)]
fn queued(skb: Ptr) -> Option<()> {
    if is_no_synack(skb) {
        return None;
    }
    let header = Header::of(skb)?;
    if !header.is_synack() {
        return None;
    }
    let mut tuple = NOBODY;
    header.traced(&mut tuple)?;
    answered(&tuple);
    Some(())
}

/// A SYN-ACK for `tuple` was made on this CPU.
#[inline(always)]
pub(crate) fn answered(tuple: &Tuple) {
    if let Some(window) = window() {
        window.synack = *tuple;
    }
}

/// `neigh_event_send_done(struct neighbour *n, int rc)`: a packet waits for an address (rc 1).
#[raw_tracepoint(tracepoint = "neigh_event_send_done")]
pub(crate) fn neigh_event_send_done(ctx: RawTracePointContext) -> i32 {
    let key = Ptr(ctx.arg(0));
    if ctx.arg::<u64>(1) as i32 != 1 {
        return 0;
    }
    // What waits is the packet that was queued last. Only where that cannot be read, the address has to do: the
    // client's, unless there is a gateway.
    if let Some(last) = key.follow(offset!(neigh_last)) {
        let _ = queued(last);
    } else if let (Some(window), Some(key)) = (window(), key.read(offset!(neigh_key))) {
        window.neighbour = key;
    }
    0
}

/// `consume_skb(struct sk_buff *skb [, void *location])`
#[raw_tracepoint(tracepoint = "consume_skb")]
pub(crate) fn consume_skb(ctx: RawTracePointContext) -> i32 {
    if config!(consume_skb_args) >= 2 {
        let location: u64 = ctx.arg(1);
        if location < config!(rcv_state_process_start) || location >= config!(rcv_state_process_end)
        {
            return 0;
        }
    }
    let _ = consumed(Ptr(ctx.arg(0)));
    0
}

#[inline(always)]
fn consumed(skb: Ptr) -> Option<()> {
    let header = Header::of(skb)?;
    if !header.is_syn() {
        return None;
    }
    let mut tuple = NOBODY;
    if header.traced(&mut tuple)? != Side::Client || !folding() {
        return None;
    }
    let namespace = match skb_inum(skb) {
        Some(namespace) => namespace,
        None => {
            stats()?.unattributed += 1;
            return None;
        }
    };
    if !is_traced_namespace(namespace) {
        return None;
    }
    stats()?.syns_received += 1;
    begin(&tuple, header.sequence);
    let window = window()?;
    let was_answered = is_answered(window, &tuple);
    window.synack = NOBODY;
    window.neighbour = [0; 16];
    if was_answered {
        return None;
    }
    let class = why_dropped(&tuple, namespace, &mut window.tally);
    count_syn_drop(stats()?, class);
    let facts = entry_of(&tuple, header.sequence, hook::CONSUME)?;
    syn_dropped(facts, class, &window.tally.queue);
    Some(())
}

/// Whether the window holds this attempt's answer: its SYN-ACK left, or waits for the client's address.
#[inline(always)]
fn is_answered(window: &Window, tuple: &Tuple) -> bool {
    if window.synack == *tuple {
        return true;
    }
    let v4 = tuple.client[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    if v4 {
        tuple.client[12..] == window.neighbour[..4]
    } else {
        tuple.client == window.neighbour
    }
}
