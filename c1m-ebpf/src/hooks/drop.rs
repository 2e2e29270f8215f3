//! Handshake segments that were freed with a drop reason.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use c1m_common::{
    fact::{QueueState, SkbDrop, drop_flag, segment as kind},
    state::{LISTEN, NEW_SYN_RECV, SYN_SENT, TIME_WAIT},
    stats::hook,
    tuple::Tuple,
};

use super::handshake::answered;
use crate::{
    fold::{NOBODY, entry, entry_of, existing, segment_dropped},
    kernel::{Ptr, Side, is_traced_namespace, skb_inum, sock_inum, sock_state, syn_sequence},
    listeners::{self, NO_QUEUE},
    maps::{config, folding, offset, stats},
    segment::{ACK, FIN, Header, RST, SYN},
};

/// `kfree_skb(struct sk_buff *skb, void *location [, enum skb_drop_reason reason [, struct sock *rx_sk]])`
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub(crate) fn kfree_skb(ctx: RawTracePointContext) -> i32 {
    let mut event = Event {
        skb: Ptr(ctx.arg(0)),
        location: ctx.arg(1),
        reason: config!(reason_not_specified),
        receiver: Ptr(0),
    };
    if config!(kfree_skb_args) >= 3 {
        event.reason = ctx.arg::<u64>(2) as u32;
    }
    if config!(kfree_skb_args) >= 4 {
        event.receiver = Ptr(ctx.arg(3));
    }
    let _ = freed(&event);
    0
}

struct Event {
    skb: Ptr,
    location: u64,
    reason: u32,
    receiver: Ptr,
}

/// What the kernel says of the socket that a segment was for.
struct Receiver {
    flags: u8,
    queue: QueueState,
}

#[inline(always)]
fn freed(event: &Event) -> Option<()> {
    let header = Header::of(event.skb)?;
    if header.flags & RST != 0 || header.flags & (SYN | ACK) == 0 {
        return None;
    }
    let mut tuple = NOBODY;
    let from = header.traced(&mut tuple)?;
    // A listener's end answers SYNs with SYN-ACKs; all else that matters comes from the client.
    if (from == Side::Server) != header.is_synack() || !folding() {
        return None;
    }
    let owner = Ptr(event.skb.read::<u64>(offset!(skb_sk))?);
    let Some(namespace) = namespace(event, owner) else {
        stats()?.unattributed += 1;
        return None;
    };
    if !is_traced_namespace(namespace) {
        return None;
    }
    let receiver = receiver(event.receiver);
    let mut flags = receiver.flags;
    // On the way out the segment belongs to its sender's socket; on the way in early demux may have given
    // it to the receiver's.
    if !owner.is_null() && owner.read::<u16>(offset!(skc_num)) == Some(header.source_port) {
        flags |= drop_flag::OUTPUT;
    }
    if config!(kfree_skb_args) < 3 {
        flags |= drop_flag::NO_REASON;
    }
    let drop = SkbDrop {
        location: event.location,
        count: 0,
        reason: if event.reason > 0xffff {
            u16::MAX
        } else {
            event.reason as u16
        },
        flags,
        pad: 0,
    };
    if header.is_syn() {
        syn_freed(&tuple, header.sequence, &drop, event.reason)
    } else if header.is_synack() {
        answered(&tuple);
        // A client that is established already needs no second SYN-ACK: it answers it and frees it.
        if event.reason == config!(reason_not_specified) || flags & drop_flag::RX_OTHER != 0 {
            return None;
        }
        // A connecting socket knows its own SYN; one that is refused may acknowledge another.
        let sequence = match sock_state(event.receiver) {
            Some(SYN_SENT) => syn_sequence(event.receiver)?,
            _ => header.acknowledged.wrapping_sub(1),
        };
        let facts = entry_of(&tuple, sequence, hook::DROP)?;
        segment_dropped(facts, kind::SYNACK, &drop);
        Some(())
    } else {
        let ack = Ack {
            syn_sequence: header.sequence.wrapping_sub(1),
            bare: header.flags & FIN == 0 && !header.has_payload(),
        };
        ack_freed(&tuple, &drop, event.reason, &receiver, &ack)
    }
}

#[inline(always)]
fn namespace(event: &Event, owner: Ptr) -> Option<u32> {
    if !event.receiver.is_null() {
        return sock_inum(event.receiver);
    }
    if !owner.is_null() {
        return sock_inum(owner);
    }
    skb_inum(event.skb)
}

#[inline(always)]
fn receiver(sk: Ptr) -> Receiver {
    let mut receiver = Receiver {
        flags: 0,
        queue: NO_QUEUE,
    };
    match sock_state(sk) {
        None => {}
        Some(LISTEN) => {
            receiver.flags = drop_flag::RX_LISTENER;
            receiver.queue.listeners = 1;
            if listeners::queue(sk, &mut receiver.queue) == Some(true) {
                receiver.flags |= drop_flag::ACCEPT_QUEUE_FULL;
            }
        }
        Some(TIME_WAIT) => receiver.flags = drop_flag::RX_TIME_WAIT,
        Some(SYN_SENT) => {}
        Some(NEW_SYN_RECV) => receiver.flags = drop_flag::RX_REQUEST,
        Some(_) => receiver.flags = drop_flag::RX_OTHER,
    }
    receiver
}

/// A SYN without a reason at its listener is a duplicate of one that is being answered, not a drop.
#[inline(always)]
fn syn_freed(tuple: &Tuple, sequence: u32, drop: &SkbDrop, reason: u32) -> Option<()> {
    if reason == config!(reason_not_specified)
        && config!(kfree_skb_args) >= 3
        && drop.flags & (drop_flag::RX_LISTENER | drop_flag::RX_REQUEST) != 0
    {
        return None;
    }
    segment_dropped(entry_of(tuple, sequence, hook::DROP)?, kind::SYN, drop);
    Some(())
}

/// A client's segment with ACK.
struct Ack {
    /// The sequence number that the SYN must have had, if this is the first after it.
    syn_sequence: u32,
    /// Without data and without FIN.
    bare: bool,
}

/// Most freed ACKs are everyday life: told is one for a listener or a request, or one that never came to a
/// socket because something on the way dropped it.
#[inline(always)]
fn ack_freed(
    tuple: &Tuple,
    drop: &SkbDrop,
    reason: u32,
    receiver: &Receiver,
    ack: &Ack,
) -> Option<()> {
    let for_listener = drop.flags & (drop_flag::RX_LISTENER | drop_flag::RX_REQUEST) != 0;
    let full = drop.flags & drop_flag::ACCEPT_QUEUE_FULL != 0;
    let unspecified = reason == config!(reason_not_specified);
    if drop.flags & (drop_flag::RX_OTHER | drop_flag::RX_TIME_WAIT) != 0 {
        return None;
    }
    if unspecified && !(for_listener && full) {
        return None;
    }
    if !for_listener && !ack.bare {
        return None;
    }
    let facts = if !for_listener && reason == config!(reason_no_socket) {
        // After a connection's end, stray ACKs are usual; the reset that answers them has its own hook.
        existing(tuple)?
    } else {
        entry(tuple, hook::DROP)?
    };
    if facts.generation == 0 {
        facts.generation = ack.syn_sequence;
    } else if facts.generation != ack.syn_sequence {
        // Not the handshake's: later in the life of the connection, or of an earlier one.
        return None;
    }
    if for_listener && full {
        let by_cookie = reason != config!(reason_listen_overflow);
        stats()?.ack_overflows[usize::from(by_cookie)] += 1;
    }
    if receiver.queue.listeners != 0 {
        facts.queue = receiver.queue;
    }
    segment_dropped(facts, kind::ACK, drop);
    Some(())
}
