//! The client's view: our own client recorded what became of every attempt; facts and census say why.

use c1m_common::{
    fact::{Facts, drop_flag, segment},
    state::{ESTABLISHED, SYN_SENT},
};

use super::{
    Attempt, Context, ServerEnd, Verdict,
    rules::{
        dropped_unseen, expired, is_icmp, met_icmp, refused_answer, rejected_by_rule, server_gone,
        trouble, trouble_of_ack,
    },
};
use crate::{causes::Cause, load::outcome::Stage};

/// The verdict on one attempt of our client.
pub fn judge_client(attempt: &Attempt<'_>, context: &Context<'_>) -> Verdict {
    let errno = i32::from(attempt.outcome.errno);
    match attempt.outcome.stage {
        Stage::Planned => Verdict::NotAttempted,
        // Whatever became of it later, nobody else was ever at its other end.
        Stage::Established | Stage::Lost | Stage::Closed if attempt.to_itself => {
            Verdict::Lost(Cause::SelfConnect)
        }
        Stage::Socket | Stage::Unstarted => Verdict::Lost(socket_failed(errno, context)),
        Stage::Bind => Verdict::Lost(bind_failed(errno, context)),
        Stage::Connect if !comes_from_the_network(errno) => {
            Verdict::Lost(connect_failed(errno, attempt.outcome.port, context))
        }
        Stage::Connect | Stage::Failed | Stage::GaveUp | Stage::InFlight => {
            Verdict::Lost(unanswered(attempt, context))
        }
        Stage::Established => established(attempt, context),
        // The kernel knows better: it went from SYN_SENT, and what woke the client was its end.
        Stage::Lost
            if attempt
                .facts
                .is_some_and(|facts| facts.client.from == SYN_SENT) =>
        {
            Verdict::Lost(unanswered(attempt, context))
        }
        Stage::Lost => Verdict::Lost(lost_later(attempt, context)),
        Stage::Closed => Verdict::Closed(recovered(attempt.facts, context)),
        Stage::WorkerDied => Verdict::Lost(worker_died(attempt, context)),
    }
}

/// Its worker died. What had dropped its SYN until then decided, as for one that is given up; or, where the server never had the
/// connection, what its listener had refused.
fn worker_died(attempt: &Attempt<'_>, context: &Context<'_>) -> Cause {
    let dropped = attempt.facts.and_then(|facts| match facts.client.from {
        SYN_SENT => trouble(facts, context),
        _ if refused_by_listener(facts) => trouble_of_ack(facts, context),
        _ => None,
    });
    dropped.map_or(Cause::ClientExited, |trouble| trouble.cause)
}

/// Whether a listener refused the final ACK, and the server's end never was established. A drop on the way may belong to the later
/// life of a connection that stood.
fn refused_by_listener(facts: &Facts) -> bool {
    let freed = &facts.skb_drops[segment::ACK];
    let refused = facts.ack_refusals.iter().any(|&count| count > 0)
        || freed.count > 0 && freed.flags & drop_flag::RX_LISTENER != 0;
    refused && facts.server_established_ns == 0 && facts.server.from != ESTABLISHED
}

/// Errors that connect() may return at once, but that an answer or silence made.
pub fn comes_from_the_network(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED | libc::ECONNRESET | libc::ETIMEDOUT
    )
}

fn socket_failed(errno: i32, context: &Context<'_>) -> Cause {
    match errno {
        libc::EMFILE => Cause::Emfile,
        libc::ENFILE => Cause::Enfile,
        libc::ENOMEM | libc::ENOBUFS => Cause::NoMemory,
        libc::EACCES | libc::EPERM => Cause::Denied,
        // Of fork() alone: nothing tells which limit of tasks it was.
        libc::EAGAIN => Cause::NotObservable,
        _ => context.sight.unexplained(),
    }
}

fn bind_failed(errno: i32, context: &Context<'_>) -> Cause {
    match errno {
        libc::EADDRNOTAVAIL => Cause::SourceNotLocal,
        libc::EADDRINUSE => Cause::BindConflict,
        libc::EACCES | libc::EPERM => Cause::Denied,
        libc::ENOMEM | libc::ENOBUFS => Cause::NoMemory,
        _ => context.sight.unexplained(),
    }
}

/// connect() failed before a SYN: without a port of its own, all ports were taken; with one, that one.
fn connect_failed(errno: i32, port: u16, context: &Context<'_>) -> Cause {
    match errno {
        libc::EADDRNOTAVAIL if port == 0 => Cause::PortsExhausted,
        libc::EADDRNOTAVAIL => Cause::TupleBusy,
        // EINVAL is a blackhole route's (`fib_props`).
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL => Cause::NoRoute,
        libc::EACCES | libc::EPERM => Cause::Denied,
        libc::ENOMEM | libc::ENOBUFS => Cause::NoMemory,
        _ => context.sight.unexplained(),
    }
}

/// It never became established.
fn unanswered(attempt: &Attempt<'_>, context: &Context<'_>) -> Cause {
    let sight = &context.sight;
    let errno = i32::from(attempt.outcome.errno);
    let gave_up = matches!(attempt.outcome.stage, Stage::GaveUp | Stage::InFlight);
    // Nothing else sets it.
    if errno == libc::ECONNABORTED {
        return Cause::Destroyed;
    }
    let Some(facts) = attempt.facts else {
        return match errno {
            // Whose port is not known may have facts that are not known to be its own.
            _ if attempt.outcome.port == 0 => sight.unexplained(),
            _ if gave_up => sight.by_silence(Cause::GaveUp),
            libc::ETIMEDOUT => sight.by_silence(Cause::SynUnanswered),
            errno if is_icmp(errno) => sight.by_silence(Cause::IcmpError),
            _ => sight.unexplained(),
        };
    };
    // In SYN_SENT a reset is ECONNREFUSED: with any other it was established, and the client did not come to see it.
    if errno == libc::ECONNRESET && facts.client.from == ESTABLISHED {
        return lost_later(attempt, context);
    }
    let reset = facts.client.resets_received > 0;
    if errno == libc::ECONNREFUSED && reset {
        return refused(facts, context);
    }
    // What decided is the last drop: the error or the time-out only followed from it. A drop after which an
    // ICMP error came is its cause too (no neighbour, a rule that rejects).
    if let Some(trouble) = trouble(facts, context)
        && trouble.segment != segment::ACK
    {
        return trouble.cause;
    }
    if let Some(cause) = refused_answer(facts, context) {
        return cause;
    }
    if dropped_unseen(facts) {
        return Cause::NotObservable;
    }
    if met_icmp(&facts.client, context) {
        return Cause::IcmpError;
    }
    // What was seen may be an older attempt's with this tuple, which its server still tries to answer.
    if errno == libc::ECONNREFUSED && !reset && facts.reused > 0 {
        return sight.elsewhere();
    }
    // The program asked for the error before the kernel ended the attempt (SO_ERROR hands out `sk_err_soft`).
    if is_icmp(errno) && !reset {
        return sight.by_silence(Cause::IcmpError);
    }
    if facts.synack_retransmits > 0 {
        return sight.by_silence(Cause::SynackLost);
    }
    match errno {
        _ if gave_up => sight.by_silence(Cause::GaveUp),
        libc::ETIMEDOUT => sight.by_silence(Cause::SynUnanswered),
        _ => sight.unexplained(),
    }
}

/// A RST answered the SYN: nobody listens, or something on the way said so.
fn refused(facts: &Facts, context: &Context<'_>) -> Cause {
    match trouble(facts, context) {
        Some(trouble) if trouble.segment == segment::SYN => trouble.cause,
        // Our own stack answered for a SYN that no socket was found for.
        _ if facts.server.resets_sent > 0 && facts.server.reset_state == 0 => Cause::Refused,
        // Another host's RST is all that can be seen of it.
        _ if !context.sight.server_end => Cause::Refused,
        // Neither end sent it.
        _ if facts.server.resets_sent == 0 => context.sight.elsewhere(),
        _ => context.sight.unexplained(),
    }
}

/// The client holds it for established: does the server?
fn established(attempt: &Attempt<'_>, context: &Context<'_>) -> Verdict {
    if !context.sight.server_end {
        return Verdict::Standing(recovered(attempt.facts, context));
    }
    match attempt.server {
        ServerEnd::Accepted => Verdict::Standing(recovered(attempt.facts, context)),
        ServerEnd::Queued => Verdict::Lost(Cause::AcceptStarved),
        ServerEnd::Absent | ServerEnd::Request | ServerEnd::Closing => {
            Verdict::Lost(half_open(attempt, context))
        }
    }
}

/// The client says established, the server has nothing.
fn half_open(attempt: &Attempt<'_>, context: &Context<'_>) -> Cause {
    // A request that waits for its final ACK, which the client has sent: it failed a check that was not seen, or went on
    // the way between the ends.
    let unexplained = match attempt.server {
        ServerEnd::Request if !context.sight.ack_checks => Cause::NotObservable,
        ServerEnd::Request => context.sight.elsewhere(),
        _ => context.sight.unexplained(),
    };
    let Some(facts) = attempt.facts else {
        // The request of a listener that is closed goes with its timer's next look, and tells nobody.
        let unseen = context.sight.listener_closed && !context.sight.request_timers;
        return match unseen && attempt.server == ServerEnd::Absent {
            true => Cause::NotObservable,
            false => unexplained,
        };
    };
    // The server's end was reset, and not by the client's.
    let reset = facts.server.from == ESTABLISHED
        && i32::from(facts.server.err) == libc::ECONNRESET
        && facts.client.resets_sent == 0;
    if reset && let Some(cause) = rejected_by_rule(facts, context) {
        return cause;
    }
    if let Some(cause) = server_gone(&facts.server, context) {
        return cause;
    }
    if facts.server_established_ns != 0 {
        return context.sight.unexplained();
    }
    match trouble_of_ack(facts, context) {
        Some(trouble) => trouble.cause,
        _ if attempt.server == ServerEnd::Absent => expired(facts, context).unwrap_or(unexplained),
        _ => unexplained,
    }
}

/// It was established for the client, and then came a FIN (errno 0) or an error.
fn lost_later(attempt: &Attempt<'_>, context: &Context<'_>) -> Cause {
    let sight = &context.sight;
    let errno = i32::from(attempt.outcome.errno);
    if let Some(facts) = attempt.facts {
        if let Some(cause) = server_gone(&facts.server, context) {
            return cause;
        }
        // The server's end stands, and sent no reset.
        let stands = matches!(attempt.server, ServerEnd::Accepted | ServerEnd::Queued);
        if stands
            && errno == libc::ECONNRESET
            && facts.server.resets_sent == 0
            && let Some(cause) = rejected_by_rule(facts, context)
        {
            return cause;
        }
        // It never was established at the server: the ACK that was refused decided.
        if facts.server_established_ns == 0
            && let Some(trouble) = trouble_of_ack(facts, context)
        {
            return trouble.cause;
        }
        // The server forgot the request before anything told it that the client stands.
        if facts.server_established_ns == 0
            && let Some(cause) = expired(facts, context)
        {
            return cause;
        }
    }
    match errno {
        libc::ETIMEDOUT => Cause::TimedOut,
        libc::ECONNABORTED => Cause::Destroyed,
        // What came is the peer's own doing, whoever it was; if it was on this host, its socket would have
        // told more.
        0 if !sight.server_end => Cause::ClosedByServer,
        libc::ECONNRESET if !sight.server_end => Cause::ResetByPeer,
        libc::ECONNRESET => sight.elsewhere(),
        _ => sight.unexplained(),
    }
}

/// The trouble that an attempt got over.
pub(super) fn recovered(facts: Option<&Facts>, context: &Context<'_>) -> Option<Cause> {
    let facts = facts?;
    // An entry that was born after its connection stood tells of its later life.
    let established_ns = match context.sight.server_end {
        true => facts.server_established_ns,
        false => facts.client_established_ns,
    };
    if established_ns == 0 {
        return None;
    }
    if let Some(trouble) = trouble(facts, context) {
        // A SYN-ACK is freed, too, when it comes twice to a client that needs but one.
        let twice = trouble.segment == segment::SYNACK && facts.syn_retransmits == 0;
        return (!twice).then_some(trouble.cause);
    }
    if let Some(cause) = refused_answer(facts, context) {
        return Some(cause);
    }
    (facts.syn_retransmits > 0).then_some(match dropped_unseen(facts) {
        true => Cause::NotObservable,
        false => Cause::SynUnanswered,
    })
}
