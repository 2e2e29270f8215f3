//! SYNs at the listener: taken in, answered or dropped.
//!
//! A SYN that `tcp_conn_request` drops is freed like one that it answers, by `consume_skb`. What tells them
//! apart is the SYN-ACK that left on this CPU in between, or that waits for its neighbour's address.

use aya_ebpf::{
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use c1m_common::{
    state::{ESTABLISHED, NEW_SYN_RECV, SYN_SENT},
    stats::{hook, pair},
    tuple::Tuple,
};

use super::{event::lies_in, icmp, twin};
use crate::{
    fold::{NOBODY, begin, count_syn_drop, entry_of, has_entries, nobody, syn_dropped},
    kernel::{
        Object, Ptr, Side, Typed, is_traced_namespace, skb_inum, sock_state, traced_request,
        untyped_argument,
    },
    listeners::why_dropped,
    maps::{Window, config, folding, infers_syn_drops, offset, stats, window},
    segment::Header,
    words::{V4_PREFIX, is_same, words},
};

/// `net_dev_queue(struct sk_buff *skb)`: every packet that is handed to a device.
#[btf_tracepoint(function = "net_dev_queue")]
pub(crate) fn net_dev_queue(ctx: BtfTracePointContext) -> i32 {
    let _ = queued(Typed::argument(&ctx, 0));
    0
}

/// Most packets can be told from their socket alone: a connecting or an established one sends no SYN-ACK, and a request
/// sends nothing else. Only a syncookie has no socket.
#[inline(always)]
fn queued(skb: impl Object) -> Option<()> {
    if let Some(sk) = skb.follow(offset!(skb_sk)) {
        match sock_state(sk)? {
            SYN_SENT | ESTABLISHED => return None,
            NEW_SYN_RECV => {
                let mut tuple = nobody();
                traced_request(sk, &mut tuple)?;
                let sequence = sk.untyped().read(offset!(rcv_isn));
                answered(&tuple, sequence.map_or(0, numbered));
                return None;
            }
            _ => {}
        }
    }
    let header = Header::of(skb)?;
    if !header.is_synack() {
        return None;
    }
    let mut tuple = NOBODY;
    header.traced(&mut tuple)?;
    if is_traced_namespace(skb_inum(skb)?) {
        answered(&tuple, numbered(header.acknowledged.wrapping_sub(1)));
    }
    Some(())
}

/// A SYN-ACK for `tuple` was made on this CPU, in a traced namespace, for the SYN with this number; 0 if that is not known.
#[inline(always)]
pub(crate) fn answered(tuple: &Tuple, to: u64) {
    if let Some(window) = window() {
        window.synack = *tuple;
        window.synack_to = to;
    }
}

/// A sequence number as something that is never 0.
#[inline(always)]
fn numbered(sequence: u32) -> u64 {
    1 << 32 | u64::from(sequence)
}

/// The last SYN-ACK that left on this CPU was one that is sent again: it answers no SYN that is still to be freed.
#[inline(always)]
pub(super) fn sent_again() {
    if let Some(window) = window() {
        window.synack.server_port = 0;
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

/// `consume_skb(struct sk_buff *skb, void *location)`: of a SYN that a listener has dealt with, or an ICMP error.
#[btf_tracepoint(function = "consume_skb")]
pub(crate) fn consume_skb(ctx: BtfTracePointContext) -> i32 {
    let place = place(&ctx);
    if matters(place) {
        twin::first(pair::CONSUME, number(&ctx), || consumed(&ctx, place?));
    }
    0
}

/// Its twin.
#[btf_tracepoint(function = "consume_skb")]
pub(crate) fn consume_skb_again(ctx: BtfTracePointContext) -> i32 {
    let place = place(&ctx);
    if matters(place) {
        twin::second(pair::CONSUME, number(&ctx), || consumed(&ctx, place?));
    }
    0
}

/// What tells a segment from others that come in between. Its sequence number does, and takes no helper call, as its address
/// would to become a number.
#[inline(always)]
fn number(ctx: &BtfTracePointContext) -> u64 {
    match sequence(Typed::argument(ctx, 0)) {
        0 => untyped_argument(ctx, 0).0,
        known => known,
    }
}

/// What is kept of a segment's sequence number, as TCP has taken it from the header; 0 if it is not known where.
#[inline(always)]
fn sequence(skb: Typed) -> u64 {
    skb.read(offset!(skb_sequence)).map_or(0, numbered)
}

/// Whether a twin has to know of the end of a segment there. Where a program can be preempted, it is skipped so often that it must
/// be known of each event whether its twin saw it; elsewhere only an interrupt comes in between, and most events cost less.
#[inline(always)]
fn matters(place: Option<Place>) -> bool {
    place.is_some() || config!(preemptible_tracepoints) != 0
}

/// Where a segment is done with.
#[derive(Clone, Copy)]
enum Place {
    /// `tcp_rcv_state_process`, a listener's among others.
    Listener,
    /// `icmp_rcv`
    Icmp,
    /// `icmpv6_rcv`
    IcmpV6,
}

/// Where, if it matters: nearly everywhere it does not.
#[inline(always)]
fn place(ctx: &BtfTracePointContext) -> Option<Place> {
    let location: u64 = ctx.arg(1);
    let listener = [
        config!(rcv_state_process_start),
        config!(rcv_state_process_end),
    ];
    if lies_in(location, listener) {
        return infers_syn_drops().then_some(Place::Listener);
    }
    if lies_in(location, config!(icmp[0])) {
        return Some(Place::Icmp);
    }
    lies_in(location, config!(icmp[1])).then_some(Place::IcmpV6)
}

#[inline(always)]
fn consumed(ctx: &BtfTracePointContext, place: Place) -> Option<()> {
    match place {
        Place::Listener => return syn_consumed(Typed::argument(ctx, 0)),
        Place::Icmp => icmp::error_received(untyped_argument(ctx, 0).0, 0),
        Place::IcmpV6 => icmp::error_received(untyped_argument(ctx, 0).0, 1),
    };
    Some(())
}

#[inline(always)]
fn syn_consumed(skb: Typed) -> Option<()> {
    if !has_entries() && take_answer(skb)? {
        if folding() {
            stats()?.syns_received += 1;
        }
        return None;
    }
    let header = Header::of(skb)?;
    if !header.is_syn() {
        return None;
    }
    let mut tuple = nobody();
    if header.traced(&mut tuple)? != Side::Client || !folding() {
        return None;
    }
    let Some(namespace) = skb_inum(skb) else {
        stats()?.unattributed += 1;
        return None;
    };
    // The same addresses and ports in another namespace are another attempt.
    if !is_traced_namespace(namespace) {
        return None;
    }
    let window = window()?;
    let answered = is_same(&window.synack, &tuple);
    window.synack.server_port = 0;
    let neighbour = core::mem::take(&mut window.neighbour);
    stats()?.syns_received += 1;
    begin(&tuple, header.sequence);
    if answered {
        return None;
    }
    window.unanswered = tuple;
    window.neighbour = neighbour;
    fold_unanswered(namespace, header.sequence);
    Some(())
}

/// Takes the answer if it is there: the last SYN-ACK that left on this CPU was for this SYN, by its number alone. Nothing else is to be
/// known of it as long as nothing has gone wrong, and it takes no look at its headers. Whether it was there.
#[inline(always)]
fn take_answer(skb: Typed) -> Option<bool> {
    let sequence = sequence(skb);
    let window = window()?;
    if sequence == 0 || window.synack.server_port == 0 || window.synack_to != sequence {
        return Some(false);
    }
    window.synack.server_port = 0;
    window.neighbour = [0; 4];
    Some(true)
}

/// Folds the SYN that the window has as unanswered. A global function, the verifier goes through it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fold_unanswered(namespace: u32, sequence: u32) -> u32 {
    let _ = unanswered(namespace, sequence);
    0
}

#[inline(always)]
fn unanswered(namespace: u32, sequence: u32) -> Option<()> {
    let Window {
        unanswered,
        neighbour,
        tally,
        ..
    } = window()?;
    if waits_for_neighbour(&core::mem::take(neighbour), unanswered) {
        return None;
    }
    let class = why_dropped(unanswered, namespace, tally);
    count_syn_drop(stats()?, class);
    let facts = entry_of(unanswered, sequence, hook::CONSUME)?;
    syn_dropped(facts, class, &tally.queue, tally.full_slots);
    Some(())
}

/// Whether the attempt's SYN-ACK may be what waits for its neighbour's address: an IPv4 address is but the first word of a
/// neighbour's key.
#[inline(always)]
fn waits_for_neighbour(neighbour: &[u32; 4], tuple: &Tuple) -> bool {
    let [a, b, c, d] = words(&tuple.client);
    match [a, b, c] == V4_PREFIX {
        true => d == neighbour[0],
        false => [a, b, c, d] == *neighbour,
    }
}
