//! What the end of a final ACK means.

use c1m_common::fact::{Facts, SkbDrop, drop_flag};

use super::{super::Context, way::on_the_way};
use crate::causes::Cause;

/// What a final ACK was freed for.
pub(super) fn ack_freed(drop: &SkbDrop, facts: &Facts, context: &Context<'_>) -> Cause {
    let reason = context.names.drop_reason_name(drop);
    if matches!(
        reason,
        "TCP_RFC7323_PAWS" | "TCP_RFC7323_TSECR" | "TCP_OVERWINDOW" | "TCP_CHECK_REQ"
    ) {
        return Cause::AckRejected;
    }
    if drop.flags & drop_flag::RX_LISTENER == 0 {
        return match reason {
            "NO_SOCKET" => Cause::ListenerGone,
            _ => on_the_way(drop, context),
        };
    }
    // The queue is read just after it was found full: one accept may have come in between.
    let queue = &facts.queue;
    let full = drop.flags & drop_flag::ACCEPT_QUEUE_FULL != 0
        || queue.accept_limit > 0 && queue.accept_queue >= queue.accept_limit;
    // Kernels that name the socket but not yet this reason (6.11, 6.12) give none at all when `tcp_check_req` finds no
    // room. A full queue at that moment tells it from the others without one.
    let nameless = context.names.drop_reason("TCP_LISTEN_OVERFLOW").is_none()
        && drop.flags & (drop_flag::ACCEPT_QUEUE_FULL | drop_flag::NO_REASON)
            == drop_flag::ACCEPT_QUEUE_FULL;
    let reason = match reason {
        "NOT_SPECIFIED" if nameless => "TCP_LISTEN_OVERFLOW",
        told => told,
    };
    match (reason, full) {
        ("TCP_LISTEN_OVERFLOW", true) => queue_full(facts, context),
        ("NO_SOCKET", true) => Cause::AcceptQueueFullCookie,
        ("TCP_FLAGS", _) if facts.server.resets_sent > 0 => Cause::CookieInvalid,
        ("TCP_LISTEN_OVERFLOW" | "NO_SOCKET", false) => child_failed(context),
        _ => on_the_way(drop, context),
    }
}

/// The verdict where a listener gave no child, and its queue had room when it was read just after: unless the host counted more
/// overflows than are known, for then this may be one, whose queue was accepted in between.
pub(super) fn child_failed(context: &Context<'_>) -> Cause {
    match context.sight.overflows_unseen {
        true => Cause::NotObservable,
        false => Cause::ChildFailed,
    }
}

/// A final ACK that met a full accept queue. A RST answers it only where the host wants that: else one that was sent answered
/// what the client sent later, when its request was no more.
pub(super) fn queue_full(facts: &Facts, context: &Context<'_>) -> Cause {
    match facts.server.resets_sent > 0 && !context.sight.never_aborts {
        true => Cause::AcceptQueueFullReset,
        false => Cause::AcceptQueueFullAck,
    }
}
