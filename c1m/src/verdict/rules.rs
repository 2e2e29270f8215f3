//! Rules that both views share: what a drop means, and how a server's end went.

use c1m_common::{
    fact::{End, Facts, SkbDrop, ack_refusal, drop_flag, end_flag, last_drop, segment, syn_drop},
    state::{CLOSE, ESTABLISHED, FIN_WAIT1, SYN_SENT},
};

use ack::{ack_freed, child_failed, queue_full};
use way::{netfilter, on_the_way};

use super::Context;
use crate::causes::Cause;

mod ack;
mod way;

/// What the last thing that was dropped of an attempt tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The cause, if the attempt ends with it.
    pub cause: Cause,
    /// Which segment it was, as [`segment`] counts them.
    pub segment: usize,
}

/// The trouble that the last drop of `facts` was; none if nothing was dropped.
pub fn trouble(facts: &Facts, context: &Context<'_>) -> Option<Trouble> {
    let last = decisive(facts, context);
    if last == last_drop::NONE {
        return None;
    }
    if last >= last_drop::ACK {
        let cause = match usize::from(last - last_drop::ACK) {
            ack_refusal::QUEUE_FULL => queue_full(facts, context),
            ack_refusal::QUEUE_FULL_COOKIE => Cause::AcceptQueueFullCookie,
            // What asks for the child is within what checks: without it, a full queue looks like a check that failed.
            ack_refusal::CHECK if !context.sight.acks => Cause::NotObservable,
            ack_refusal::CHECK | ack_refusal::DEFERRED => Cause::AckRejected,
            _ => child_failed(context),
        };
        let segment = segment::ACK;
        return Some(Trouble { cause, segment });
    }
    if last >= last_drop::SKB {
        let segment = usize::from(last - last_drop::SKB);
        let drop = facts.skb_drops.get(segment)?;
        // Whom it was not for has seen it and let it go: what became of it, that does not tell.
        if context.names.drop_reason_name(drop) == "OTHERHOST" {
            return None;
        }
        let cause = match segment {
            _ if another_unseen(facts, segment, drop, context) => Cause::NotObservable,
            // It met the child that TCP Fast Open had made of an earlier one: a duplicate.
            segment::SYN if context.names.drop_reason_name(drop) == "TCP_FASTOPEN" => return None,
            segment::SYN => syn_freed(drop, context),
            segment::SYNACK if answers_older(facts, drop, context) => Cause::StaleEstablished,
            segment::SYNACK => synack_freed(drop, context),
            _ if is_stray(drop, context) => return disowned(facts, drop, context),
            _ => ack_freed(drop, facts, context),
        };
        return Some(Trouble { cause, segment });
    }
    let class = usize::from(last - last_drop::LISTENER);
    // A drop whose condition had passed before it could be read is told by the others of the same attempt.
    let known = (0..syn_drop::UNKNOWN).filter(|&class| facts.syn_drops[class] > 0);
    let class = match class {
        syn_drop::UNKNOWN => known.max_by_key(|&class| facts.syn_drops[class])?,
        class => class,
    };
    let cause = match class {
        syn_drop::ACCEPT_QUEUE_FULL => Cause::AcceptQueueFullSyn,
        syn_drop::SYN_QUEUE_FULL => Cause::SynBacklogFull,
        syn_drop::LAST_QUARTER => Cause::SynBacklogLastQuarter,
        syn_drop::NO_REQUEST => Cause::NoRequestMemory,
        _ => return None,
    };
    Some(Trouble {
        cause,
        segment: segment::SYN,
    })
}

/// The trouble of an attempt whose client is established: what became of its final ACKs decides, and not what was dropped
/// since of SYN-ACKs, which only ask for another. None if none of its ACKs is known to have been dropped.
pub(super) fn trouble_of_ack(facts: &Facts, context: &Context<'_>) -> Option<Trouble> {
    let of_ack = |trouble: &Trouble| trouble.segment == segment::ACK;
    // One that came as far as the listener was dropped by nothing else.
    let last = match refused_most(facts) {
        _ if trouble(facts, context).is_some_and(|last| of_ack(&last)) => facts.last_drop,
        Some(refusal) => refusal,
        None if facts.skb_drops[segment::ACK].count > 0 => last_drop::SKB + segment::ACK as u8,
        None => return None,
    };
    let as_last = Facts {
        last_drop: last,
        ..*facts
    };
    trouble(&as_last, context).filter(of_ack)
}

/// What decided: the last drop, but for what a listener says of an ACK whose request or syncookie is no more. That one went
/// because the listener had refused it before.
fn decisive(facts: &Facts, context: &Context<'_>) -> u8 {
    let ack = segment::ACK;
    let is_last = facts.last_drop == last_drop::SKB + ack as u8;
    match refused_most(facts) {
        Some(refusal) if is_last && is_cookie(&facts.skb_drops[ack], context) => refusal,
        _ => facts.last_drop,
    }
}

/// What the listener refused ACKs for most often, as [`last_drop`] has it.
fn refused_most(facts: &Facts) -> Option<u8> {
    let refusals = (0..ack_refusal::COUNT).filter(|&kind| facts.ack_refusals[kind] > 0);
    let most = refusals.max_by_key(|&kind| facts.ack_refusals[kind])?;
    Some(last_drop::ACK + most as u8)
}

/// Whether the listener may have dropped another segment of this kind, and this kernel does not show it: more were sent
/// than are known to have been dropped on the way.
fn another_unseen(facts: &Facts, segment: usize, drop: &SkbDrop, context: &Context<'_>) -> bool {
    let again = match segment {
        segment::SYN if !context.sight.syns => facts.syn_retransmits,
        // A client answers each SYN-ACK, until the answer to one of its ACKs resets it.
        segment::ACK if !context.sight.acks && !was_answered(facts, drop, context) => {
            facts.synack_retransmits
        }
        _ => return false,
    };
    let arrived = u32::from(facts.server_established_ns != 0);
    let at_listener = drop.flags & (drop_flag::RX_LISTENER | drop_flag::RX_REQUEST) != 0;
    !at_listener && drop.count + arrived < 1 + u32::from(again)
}

/// Whether a segment met nobody, and its sender was told so.
fn was_answered(facts: &Facts, drop: &SkbDrop, context: &Context<'_>) -> bool {
    facts.client.resets_received > 0 && context.names.drop_reason_name(drop) == "NO_SOCKET"
}

/// Whether something dropped a SYN of the attempt and no condition was seen, ever.
pub(super) fn dropped_unseen(facts: &Facts) -> bool {
    // A request that is being answered tells that they were duplicates.
    let freed = facts.syns_freed_unseen > 0 && facts.synack_retransmits == 0;
    freed || dropped_unseen_by_listener(facts)
}

fn dropped_unseen_by_listener(facts: &Facts) -> bool {
    facts.last_drop == last_drop::LISTENER + syn_drop::UNKNOWN as u8
        && facts.syn_drops[..syn_drop::UNKNOWN]
            .iter()
            .all(|&count| count == 0)
}

fn syn_freed(drop: &SkbDrop, context: &Context<'_>) -> Cause {
    if drop.flags & drop_flag::RX_TIME_WAIT != 0 {
        return Cause::TimeWaitHit;
    }
    match context.names.drop_reason_name(drop) {
        "NO_SOCKET" => Cause::Refused,
        // Told by the answer alone, which may come from TIME_WAIT as well: on another host, or where nothing tells that.
        "TCP_INVALID_SYN"
            if drop.location == 0 && !(context.sight.server_end && context.sight.drop_reasons) =>
        {
            Cause::NotObservable
        }
        "TCP_INVALID_SYN" => Cause::StaleEstablished,
        // A request of an earlier SYN, with another number, does not take it for its own (`tcp_check_req`).
        "TCP_OVERWINDOW" | "TCP_RFC7323_PAWS" | "TCP_CHECK_REQ" => Cause::StaleEstablished,
        // All else that the function frees a SYN for was looked for.
        "TCP_DISCARDED" if context.sight.drop_reasons => Cause::BadSegment,
        "TCP_DISCARDED" => Cause::NotObservable,
        _ => on_the_way(drop, context),
    }
}

/// The client's own check of the SYN-ACK, or whatever was in its way.
fn synack_freed(drop: &SkbDrop, context: &Context<'_>) -> Cause {
    match context.names.drop_reason_name(drop) {
        "TCP_INVALID_ACK_SEQUENCE" | "TCP_RFC7323_PAWS" => Cause::SynackRejected,
        _ => Cause::SynackLost,
    }
}

/// Whether a SYN-ACK that the client rejects for what it acknowledges is a stale request's, which is answered again: the SYN
/// of the attempt itself is out of its window.
fn answers_older(facts: &Facts, drop: &SkbDrop, context: &Context<'_>) -> bool {
    let met = &facts.skb_drops[segment::SYN];
    context.names.drop_reason_name(drop) == "TCP_INVALID_ACK_SEQUENCE"
        && match met.count {
            0 => refused_answer(facts, context) == Some(Cause::StaleEstablished),
            _ => syn_freed(met, context) == Cause::StaleEstablished,
        }
}

/// What a client's answers to its SYN were, if it refused them, and nothing tells why they came. An ACK alone is TIME_WAIT's, a
/// connection's or a request's of an earlier life, of which the first two are told by how the SYN was freed, and kernels before
/// 6.15 free the third's without a reason (`tcp_check_req`).
pub(super) fn refused_answer(facts: &Facts, context: &Context<'_>) -> Option<Cause> {
    let is = |flag| facts.client.flags & flag != 0;
    let sight = &context.sight;
    if is(end_flag::CHALLENGED) {
        let told = sight.server_end && sight.drop_reasons && !dropped_unseen(facts);
        return Some(match told {
            true => Cause::StaleEstablished,
            false => Cause::NotObservable,
        });
    }
    is(end_flag::REFUSED_SYNACK).then_some(Cause::SynackRejected)
}

/// Whether a listener refused an ACK as if it brought a syncookie that is not valid: without one that was, it
/// is an ACK of a connection that is long gone.
fn is_stray(drop: &SkbDrop, context: &Context<'_>) -> bool {
    is_cookie(drop, context) && !context.sight.cookies_failed
}

/// The trouble of a final ACK that no listener knew what to do with: its request went with the listener that had it.
/// None if nothing says so, or if the request may have expired before.
fn disowned(facts: &Facts, drop: &SkbDrop, context: &Context<'_>) -> Option<Trouble> {
    let sight = &context.sight;
    let expired = match sight.request_timers {
        true => facts.requests_expired > 0,
        false => u64::from(facts.synack_retransmits) >= sight.synack_retries.min(FEWEST_RETRIES),
    };
    let met_client = facts.client.resets_received > 0 || facts.client.from == ESTABLISHED;
    (sight.listener_closed && !expired && met_client && drop.count > 0).then_some(Trouble {
        cause: Cause::ListenerGone,
        segment: segment::ACK,
    })
}

/// However full its listener's queue is, a request expires after no fewer SYN-ACKs sent again, unless the host wants fewer of
/// all (`reqsk_timer_handler`).
const FEWEST_RETRIES: u64 = 2;

/// Whether a listener took an ACK for one with a syncookie, and refused it.
pub(super) fn is_cookie(drop: &SkbDrop, context: &Context<'_>) -> bool {
    drop.flags & drop_flag::RX_LISTENER != 0 && context.names.drop_reason_name(drop) == "TCP_FLAGS"
}

/// Whether `errno`, met in SYN_SENT, is one that an ICMP error makes (`icmp_err_convert`, `tab_unreach`).
/// ECONNREFUSED is that of a RST as well.
pub(super) fn is_icmp(errno: i32) -> bool {
    matches!(
        errno,
        libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENOPROTOOPT
            | libc::ECONNREFUSED
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EPROTO
            | libc::EACCES
    )
}

/// Whether the client's end tells of an ICMP error in SYN_SENT. From 6.10 on `tcp_done_with_error` leaves the state
/// before it reports the error, so the state's change tells; a time-out that met ICMP errors before has theirs, too
/// (`tcp_write_err`).
pub(super) fn met_icmp(client: &End, context: &Context<'_>) -> bool {
    // It got over it.
    if client.from == ESTABLISHED {
        return false;
    }
    let err = i32::from(client.err);
    let by_reset = err == libc::ECONNREFUSED
        && (client.resets_received > 0 || !context.sight.sees_every_reset());
    client.icmp_err != 0 || client.from == SYN_SENT && is_icmp(err) && !by_reset
}

/// Whether the client's end was destroyed (`tcp_abort`).
pub(super) fn client_destroyed(client: &End) -> bool {
    client.closed_ns != 0 && client.to == CLOSE && i32::from(client.err) == libc::ECONNABORTED
}

/// Whether the server gave up the request of an attempt that it knows nothing of any more: seen in its timer, or the
/// SYN-ACKs that it sent again were not followed by anything.
pub(super) fn expired(facts: &Facts, context: &Context<'_>) -> Option<Cause> {
    match (facts.requests_expired, facts.synack_retransmits) {
        _ if facts.requests_orphaned > 0 => Some(Cause::ListenerGone),
        // Its ACK did come. A rule that rejects a SYN-ACK resets the request.
        (0, _) if came_too_late(facts, context) => Some(Cause::SynackLost),
        (0, 0) => None,
        // Too few: a RST of the client's ended it, or a SYN-ACK that could not leave, or its queue was half full.
        (0, again) if u64::from(again) < context.sight.synack_retries => Some(Cause::NotObservable),
        // The request of a listener that is closed goes with the timer's next look, and tells nobody.
        (0, _) if context.sight.listener_closed && !context.sight.request_timers => {
            Some(Cause::NotObservable)
        }
        (0, _) => Some(context.sight.by_silence(Cause::RequestExpired)),
        _ => Some(Cause::RequestExpired),
    }
}

/// Whether an ACK came to a listener that had no request for it any more, and a rule had dropped a SYN-ACK.
fn came_too_late(facts: &Facts, context: &Context<'_>) -> bool {
    let ack = &facts.skb_drops[segment::ACK];
    let stray = ack.count > 0 && is_stray(ack, context);
    stray && is_filtered(&facts.skb_drops[segment::SYNACK], context)
}

fn is_filtered(drop: &SkbDrop, context: &Context<'_>) -> bool {
    drop.count > 0 && context.names.drop_reason_name(drop) == "NETFILTER_DROP"
}

/// The packet filter's part in a reset that neither end sent: a rule rejects what belongs to a connection that
/// stands, or a SYN-ACK that was sent again.
pub(super) fn rejected_by_rule(facts: &Facts, context: &Context<'_>) -> Option<Cause> {
    let drops = [&facts.filtered, &facts.skb_drops[segment::SYNACK]];
    let by_rule = drops.into_iter().find(|drop| is_filtered(drop, context))?;
    Some(netfilter(by_rule, context))
}

/// Why the server's established socket went, if its end tells of more than an everyday close.
pub(super) fn server_gone(end: &End, context: &Context<'_>) -> Option<Cause> {
    if end.closed_ns == 0 || end.from != ESTABLISHED {
        return None;
    }
    let is = |flag| end.flags & flag != 0;
    let out_of_memory = is(end_flag::OUT_OF_MEMORY)
        || context.names.reset_reason_name(end.reset_reason) == "TCP_ABORT_ON_MEMORY";
    let cause = match (
        i32::from(end.err),
        is(end_flag::NO_SOCKET),
        is(end_flag::LOCAL),
    ) {
        (libc::ETIMEDOUT, ..) => Cause::TimedOut,
        (libc::ECONNABORTED, ..) => Cause::Destroyed,
        (libc::ECONNRESET, true, _) => Cause::ResetQueued,
        (_, true, true) => Cause::ListenerClosed,
        (_, false, true) if is(end_flag::EXITING) => Cause::ServerExited,
        (_, false, true) if end.to == CLOSE => Cause::ResetByPeer,
        // The kernel could not keep it for as long as an orderly close takes.
        (_, false, true) if out_of_memory => Cause::MemoryPressure,
        // Perhaps: nothing here tells this reset from the answer to what came after an orderly close.
        (_, false, true)
            if !context.sight.out_of_memory
                && (end.to, end.reset_state) == (FIN_WAIT1, CLOSE)
                && end.resets_sent > 0 =>
        {
            Cause::NotObservable
        }
        (_, false, true) => Cause::ClosedByServer,
        // A time-out that met ICMP errors before tells them instead (`tcp_write_err`).
        (err, _, false) if err != 0 && err != libc::ECONNRESET => Cause::TimedOut,
        _ => return None,
    };
    Some(cause)
}

#[cfg(test)]
mod tests;
