//! Handshake segments that were freed with a drop reason.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use c1m_common::{
    fact::{QueueState, SkbDrop, ack_refusal, drop_flag, segment as kind, why},
    state::{LISTEN, NEW_SYN_RECV, SYN_SENT, TIME_WAIT},
    stats::{hook, pair},
    tuple::Tuple,
};

use super::{
    event::{Event, decided, is_filtered, speaks, tells_why},
    handshake::answered,
    reason::receiver_flags,
    twin,
};
use crate::{
    fold::{NOBODY, ack_refused, entry, entry_of, entry_of_answer, existing, segment_dropped},
    kernel::{Ptr, Side, is_traced_namespace, skb_inum, sock_inum, sock_state, syn_sequence},
    listeners::{self, NO_QUEUE},
    maps::{FREED, config, folding, offset, stats, window},
    segment::{ACK, FIN, Header, RST, SYN},
};

/// `kfree_skb(struct sk_buff *skb, void *location [, enum skb_drop_reason reason [, struct sock *rx_sk]])`
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub(crate) fn kfree_skb(ctx: RawTracePointContext) -> i32 {
    twin::first(pair::DROP, ctx.arg(0), || freed(&ctx, 0));
    0
}

/// Its twin.
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub(crate) fn kfree_skb_again(ctx: RawTracePointContext) -> i32 {
    twin::second(pair::DROP, ctx.arg(0), || freed(&ctx, 1));
    0
}

/// A handshake segment of a traced port that is being freed.
#[repr(C)]
pub(crate) struct Freed {
    tuple: Tuple,
    /// The event: what is freed, and where.
    skb: u64,
    location: u64,
    /// The socket that it was for, where the kernel says so.
    receiver: u64,
    reason: u32,
    sequence: u32,
    acknowledged: u32,
    source_port: u16,
    /// Of the TCP header.
    flags: u8,
    /// What was decided about it before: one of [`why`](c1m_common::fact::why).
    why: u8,
    /// Whether it brings neither data nor FIN.
    bare: u8,
    /// Whether the listener's end sent it.
    from_server: u8,
    /// Whether the kernel says why it is freed.
    told: u8,
    /// Whether a packet filter dropped it, after the handshake's first two segments.
    filtered: u8,
    /// Whether conntrack had just found its table full.
    conntrack_full: u8,
    pad: [u8; 3],
}

/// What the kernel says of the socket that a segment was for.
struct Receiver {
    flags: u8,
    queue: QueueState,
    /// It is a listener that waits for data (TCP_DEFER_ACCEPT).
    defers: bool,
    /// It is no stream's: a raw or packet socket has a copy of what passes by, and only that is freed.
    has_copy: bool,
}

#[inline(always)]
fn freed(ctx: &RawTracePointContext, slot: u32) -> Option<()> {
    let event = Event::of(ctx);
    let header = Header::of(event.skb)?;
    if header.flags & RST != 0 || header.flags & (SYN | ACK) == 0 {
        return None;
    }
    let window = window()?;
    if window.refused == event.skb.0 {
        // The listener's refusal was told where it happened; the next buffer may lie at the same place.
        window.refused = 0;
        window.decided = 0;
        return None;
    }
    let conntrack_full = core::mem::take(&mut window.conntrack_full);
    // SAFETY: a slot of this CPU's, and of this program's alone.
    let freed = unsafe { &mut *FREED.get_ptr_mut(slot)? };
    freed.tuple = NOBODY;
    let from = header.traced(&mut freed.tuple)?;
    let why = decided(window, &event, &header);
    if why == why::REQUEST && header.is_syn() {
        // The SYN again, of an attempt whose request waits.
        return None;
    }
    let filtered = header.flags & SYN == 0 && why == why::NOT_SEEN && is_filtered(&event);
    // A listener's end answers SYNs with SYN-ACKs; all else that matters comes from the client, but for what a rule
    // makes of it.
    if (from == Side::Server) != header.is_synack() && !filtered || !folding() {
        return None;
    }
    freed.skb = event.skb.0;
    freed.location = event.location;
    freed.receiver = event.receiver.0;
    freed.reason = event.reason;
    freed.sequence = header.sequence;
    freed.acknowledged = header.acknowledged;
    freed.source_port = header.source_port;
    freed.flags = header.flags;
    freed.why = why;
    freed.bare = u8::from(header.flags & FIN == 0 && !header.has_payload());
    freed.from_server = u8::from(from == Side::Server);
    freed.told = u8::from(why != why::NOT_SEEN || tells_why(&event));
    freed.filtered = u8::from(filtered);
    freed.conntrack_full = u8::from(conntrack_full != 0);
    fold_freed(slot);
    Some(())
}

/// Folds what lies in a slot of `FREED`. A global function, the verifier goes through it once, and not for each way to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fold_freed(slot: u32) -> u32 {
    // SAFETY: as in `freed`, which filled it.
    if let Some(freed) = FREED.get_ptr(slot).map(|freed| unsafe { &*freed }) {
        let _ = freed.fold();
    }
    0
}

impl Freed {
    #[inline(always)]
    fn fold(&self) -> Option<()> {
        let owner = Ptr(Ptr(self.skb).read::<u64>(offset!(skb_sk))?);
        let Some(namespace) = self.namespace(owner) else {
            stats()?.unattributed += 1;
            return None;
        };
        if !is_traced_namespace(namespace) {
            return None;
        }
        let receiver = receiver(Ptr(self.receiver));
        if receiver.has_copy {
            return None;
        }
        let mut drop = self.as_told();
        drop.flags |= receiver.flags;
        // On the way out the segment belongs to its sender's socket; on the way in early demux may have given
        // it to the receiver's.
        if !owner.is_null() && owner.read::<u16>(offset!(skc_num)) == Some(self.source_port) {
            drop.flags |= drop_flag::OUTPUT;
        }
        if self.conntrack_full != 0 {
            drop.flags |= drop_flag::CONNTRACK_FULL;
        }
        if self.filtered != 0 {
            let facts = entry(&self.tuple, hook::DROP)?;
            let closed =
                self.flags & FIN != 0 && self.from_server == 0 && facts.server.closed_ns == 0;
            facts.filtered = SkbDrop {
                count: facts.filtered.count + 1,
                closed: facts.filtered.closed | u8::from(closed),
                ..drop
            };
            if self.from_server != 0 {
                return None;
            }
        }
        self.by_kind(&drop, &receiver)
    }

    /// What the kernel says of it, or `why` where it says nothing.
    #[inline(always)]
    fn as_told(&self) -> SkbDrop {
        let (reason, flags) = if !speaks(self.reason) {
            (
                self.why.into(),
                drop_flag::NO_REASON | receiver_flags(self.why),
            )
        } else if self.reason > 0xffff {
            (u16::MAX, 0)
        } else {
            (self.reason as u16, 0)
        };
        SkbDrop {
            location: self.location,
            count: 0,
            reason,
            flags,
            closed: 0,
        }
    }

    #[inline(always)]
    fn by_kind(&self, drop: &SkbDrop, receiver: &Receiver) -> Option<()> {
        let told = self.told != 0;
        match self.flags & (SYN | ACK | FIN) {
            SYN => syn_freed(&self.tuple, self.sequence, drop, told),
            SYN_ACK => {
                answered(&self.tuple, 0);
                // A connecting socket knows its own SYN; one that is refused may acknowledge another.
                let to = Ptr(self.receiver);
                let sequence = match sock_state(to) {
                    Some(SYN_SENT) => syn_sequence(to)?,
                    _ => self.acknowledged.wrapping_sub(1),
                };
                synack_freed(&self.tuple, sequence, drop, told)
            }
            _ => {
                let ack = Ack {
                    syn_sequence: self.sequence.wrapping_sub(1),
                    bare: self.bare != 0,
                };
                ack_freed(&self.tuple, drop, told, receiver, &ack)
            }
        }
    }

    #[inline(always)]
    fn namespace(&self, owner: Ptr) -> Option<u32> {
        let receiver = Ptr(self.receiver);
        if !receiver.is_null() {
            return sock_inum(receiver);
        }
        if !owner.is_null() {
            return sock_inum(owner);
        }
        skb_inum(Ptr(self.skb))
    }
}

const SYN_ACK: u8 = SYN | ACK;
const SOCK_STREAM: u16 = 1;

#[inline(always)]
fn receiver(sk: Ptr) -> Receiver {
    let mut receiver = Receiver {
        flags: 0,
        queue: NO_QUEUE,
        defers: false,
        has_copy: false,
    };
    match sock_state(sk) {
        None => {}
        Some(LISTEN) => {
            receiver.flags = drop_flag::RX_LISTENER;
            receiver.queue.listeners = 1;
            receiver.defers = sk.read::<u8>(offset!(reqsk_defer_accept)).unwrap_or(0) != 0;
            if listeners::queue(sk, &mut receiver.queue) == Some(true) {
                receiver.flags |= drop_flag::ACCEPT_QUEUE_FULL;
            }
        }
        Some(TIME_WAIT) => receiver.flags = drop_flag::RX_TIME_WAIT,
        Some(SYN_SENT) => {}
        Some(NEW_SYN_RECV) => receiver.flags = drop_flag::RX_REQUEST,
        Some(_) => {
            receiver.flags = drop_flag::RX_OTHER;
            let kind: Option<u16> = sk.read(offset!(sk_type));
            receiver.has_copy = kind.is_some_and(|kind| kind != SOCK_STREAM);
        }
    }
    receiver
}

#[inline(always)]
fn synack_freed(tuple: &Tuple, sequence: u32, drop: &SkbDrop, told: bool) -> Option<()> {
    // A client that is established already needs no second SYN-ACK: it answers it and frees it, by this reason
    // (`tcp_validate_incoming`) where the kernel does not name the receiver.
    let twice = drop.flags & drop_flag::RX_OTHER != 0
        || drop.flags & drop_flag::NO_REASON == 0
            && u32::from(drop.reason) == config!(reason_invalid_syn);
    // It came too late: what decided was that its client had gone.
    if !told || twice || is_without_socket(drop) {
        return None;
    }
    let facts = entry_of_answer(tuple, sequence, hook::DROP)?;
    segment_dropped(facts, kind::SYNACK, drop);
    Some(())
}

/// Whether no socket was found for the segment.
#[inline(always)]
fn is_without_socket(drop: &SkbDrop) -> bool {
    let reason = match drop.flags & drop_flag::NO_REASON {
        0 => config!(reason_no_socket),
        _ => why::NO_SOCKET.into(),
    };
    u32::from(drop.reason) == reason
}

/// A SYN without a reason at its listener is a duplicate of one that is being answered, not a drop. Where the kernel
/// names no receiver, it may be either.
#[inline(always)]
fn syn_freed(tuple: &Tuple, sequence: u32, drop: &SkbDrop, told: bool) -> Option<()> {
    if !told && drop.flags & (drop_flag::RX_LISTENER | drop_flag::RX_REQUEST) != 0 {
        return None;
    }
    let facts = entry_of(tuple, sequence, hook::DROP)?;
    if !told && config!(kfree_skb_args) < 4 {
        facts.syns_freed_unseen = facts.syns_freed_unseen.saturating_add(1);
    } else {
        segment_dropped(facts, kind::SYN, drop);
    }
    Some(())
}

/// Whether a listener freed an ACK because its accept queue had no room. Kernels that name it but not yet this reason give none:
/// there the queue tells it from others without one.
#[inline(always)]
fn is_overflow(drop: &SkbDrop) -> bool {
    let reason = u32::from(drop.reason);
    let told = drop.flags & drop_flag::NO_REASON == 0;
    if told && (reason == config!(reason_listen_overflow) || reason == config!(reason_no_socket)) {
        return true;
    }
    let nameless = !told || reason == config!(reason_not_specified);
    nameless && drop.flags & drop_flag::ACCEPT_QUEUE_FULL != 0
}

/// The most data that a SYN-ACK has room for: its window is not scaled.
const REQUEST_WINDOW_MAX: u32 = 65_535;

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
    told: bool,
    receiver: &Receiver,
    ack: &Ack,
) -> Option<()> {
    let for_listener = drop.flags & (drop_flag::RX_LISTENER | drop_flag::RX_REQUEST) != 0;
    let full = drop.flags & drop_flag::ACCEPT_QUEUE_FULL != 0;
    if drop.flags & (drop_flag::RX_OTHER | drop_flag::RX_TIME_WAIT) != 0 {
        return None;
    }
    if !told && !full && receiver.defers && ack.bare {
        let facts = entry_of_answer(tuple, ack.syn_sequence, hook::DROP)?;
        ack_refused(facts, ack_refusal::DEFERRED, &receiver.queue);
        return None;
    }
    if !(told || for_listener && full) {
        return None;
    }
    if !for_listener && !ack.bare {
        return None;
    }
    let facts = if !for_listener && is_without_socket(drop) {
        // After a connection's end, stray ACKs are usual; the reset that answers them has its own hook.
        existing(tuple)?
    } else {
        entry(tuple, hook::DROP)?
    };
    let overflows = for_listener && is_overflow(drop);
    if facts.generation == 0 {
        facts.generation = ack.syn_sequence;
    }
    // A client that has sent data answers a SYN-ACK by a later number, within what that had room for.
    let sent_before = ack.syn_sequence.wrapping_sub(facts.generation);
    if sent_before != 0 && !(overflows && sent_before <= REQUEST_WINDOW_MAX) {
        // Not the handshake's: later in the life of the connection, or of an earlier one.
        return None;
    }
    // A listener says the same to an ACK whose request is gone as to one without a valid syncookie: what was dropped before
    // decided, on the way or because the queue was full.
    let earlier = &facts.skb_drops[kind::ACK];
    let on_the_way = earlier.flags & (drop_flag::RX_LISTENER | drop_flag::RX_REQUEST) == 0;
    let is_decided = earlier.count > 0 && (on_the_way || is_overflow(earlier));
    if is_decided && !overflows && drop.flags & drop_flag::RX_LISTENER != 0 {
        return None;
    }
    if overflows && full {
        let by_cookie = u32::from(drop.reason) != config!(reason_listen_overflow);
        stats()?.ack_overflows[usize::from(by_cookie)] += 1;
    }
    if receiver.queue.listeners != 0 {
        facts.queue = receiver.queue;
    }
    segment_dropped(facts, kind::ACK, drop);
    Some(())
}
