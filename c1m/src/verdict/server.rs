//! The server's view: nobody told us what was attempted; the listener's side of each attempt tells.

use c1m_common::{
    fact::{End, Facts, drop_flag, end_flag, segment},
    state::{CLOSE, CLOSE_WAIT, ESTABLISHED, SYN_RECV, SYN_SENT},
    tuple::Tuple,
};

use super::{
    Context, ServerEnd,
    client::recovered,
    rules::{
        client_destroyed, dropped_unseen, expired, is_cookie, is_icmp, met_icmp, refused_answer,
        rejected_by_rule, server_gone, trouble, trouble_of_ack,
    },
};
use crate::causes::Cause;

/// What an entry of the kernel side means for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerVerdict {
    /// No attempt of this run: a stray segment of an earlier connection.
    Stray,
    /// A segment alone, which was damaged on its way: nobody knows whose it was.
    Damaged,
    /// It was established, so it is counted there, and nothing but trouble that it got over is added.
    Recovered(Cause),
    /// It was established, so it is counted there; nothing is to be added.
    Counted,
    /// Its client had closed it before it is counted among the failures of its server.
    ClosedBefore,
    /// It was established and lost; and where it is counted.
    Lost(Cause, Counted),
    /// It never was established: one more attempt, lost.
    NeverEstablished(Cause),
}

/// Among whom an attempt is counted that was established and is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The failures.
    Failed,
    /// Those that a program closed, or its peer.
    Closed,
    /// Those that stand.
    Standing,
}

/// Both ends of a tuple, by the census.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The server's socket.
    pub server: ServerEnd,
    /// Whether the client's is established, as far as it is in sight.
    pub client_stands: bool,
    /// Whether both ends are one: source and target are equal.
    pub to_itself: bool,
}

/// The verdict on the facts of one tuple, seen from the server.
pub fn judge_server(facts: &Facts, ends: Ends, context: &Context<'_>) -> ServerVerdict {
    if ends.to_itself && is_self_connected(facts) {
        return ServerVerdict::NeverEstablished(Cause::SelfConnect);
    }
    let server = ends.server;
    let stands = matches!(server, ServerEnd::Accepted | ServerEnd::Queued);
    let established =
        stands || facts.server_established_ns != 0 || facts.server.from == ESTABLISHED;
    // What the server has under the tuple of an attempt that its client gave up is older than that.
    if established && !(was_given_up(facts) && facts.server_established_ns == 0) {
        let by_client = destroyed(facts, server).or_else(|| timed_out(facts, server));
        if let Some(lost) = by_client.or_else(|| rejected(facts, ends, context)) {
            return lost;
        }
        if server == ServerEnd::Accepted && program_exited(facts) {
            return ServerVerdict::Lost(Cause::ServerExited, Counted::Standing);
        }
        let gone = server_gone(&facts.server, context);
        if matches!(gone, Some(Cause::ServerExited | Cause::ResetByPeer)) && closed_before(facts) {
            return ServerVerdict::ClosedBefore;
        }
        // If one stands, the facts are an earlier one's under the same tuple: it was counted as well, and is lost.
        return match gone {
            // The program's own close is its business, unless it resets its client, or its end took the connection along.
            Some(Cause::ClosedByServer | Cause::NotObservable) => ServerVerdict::Counted,
            Some(Cause::MemoryPressure) if facts.server.err == 0 => ServerVerdict::Counted,
            Some(cause) => ServerVerdict::Lost(cause, Counted::Failed),
            None => recovered(Some(facts), context)
                .map_or(ServerVerdict::Counted, ServerVerdict::Recovered),
        };
    }
    // Its entry was born after its server had closed in order, of an ACK of its later life.
    if (facts.client.from, facts.client.to) == (ESTABLISHED, CLOSE_WAIT) {
        return ServerVerdict::Counted;
    }
    if is_damaged(facts, ends, context) {
        return ServerVerdict::Damaged;
    }
    if !is_attempt(facts, ends, context) {
        return ServerVerdict::Stray;
    }
    ServerVerdict::NeverEstablished(never_established(facts, ends, context))
}

/// Whether the server's program exited, and what carries its MPTCP connection stands yet: that belongs to nobody then.
pub fn program_exited(facts: &Facts) -> bool {
    facts.server.from == 0 && facts.server.flags & end_flag::EXITING != 0
}

/// Whether the client's socket went without an answer, after it had sent a SYN.
pub fn was_given_up(facts: &Facts) -> bool {
    let client = &facts.client;
    client.closed_ns != 0 && (client.from, client.to) == (SYN_SENT, CLOSE)
}

/// Whether the client's program had closed its end before the server's left ESTABLISHED, which did not learn of it: seen, or told by
/// a FIN that a rule dropped.
fn closed_before(facts: &Facts) -> bool {
    let (client, server) = (&facts.client, &facts.server);
    let seen = client.from == ESTABLISHED
        && client.flags & end_flag::LOCAL != 0
        && client.closed_ns != 0
        && client.closed_ns < server.closed_ns;
    seen || facts.filtered.closed != 0
}

/// Whether somebody destroyed the client's end of a connection that stood, and its server was reset, or does not know.
fn destroyed(facts: &Facts, server: ServerEnd) -> Option<ServerVerdict> {
    if !client_destroyed(&facts.client) || facts.client.from != ESTABLISHED {
        return None;
    }
    let end = &facts.server;
    let reset = end.closed_ns != 0 && i32::from(end.err) == libc::ECONNRESET;
    let counted = match server {
        ServerEnd::Accepted if end.closed_ns == 0 => Counted::Standing,
        ServerEnd::Accepted | ServerEnd::Queued => return None,
        _ if !reset => return None,
        // It waited in the accept queue.
        _ if end.flags & end_flag::NO_SOCKET != 0 => Counted::Failed,
        _ => Counted::Closed,
    };
    Some(ServerVerdict::Lost(Cause::Destroyed, counted))
}

/// Whether the client's end of a connection that stood heard nothing any more and gave up, and its server does not know, or was told
/// by a RST (`tcp_keepalive_timer`). A time-out that met ICMP errors before tells them instead (`tcp_write_err`).
fn timed_out(facts: &Facts, server: ServerEnd) -> Option<ServerVerdict> {
    let (client, end) = (&facts.client, &facts.server);
    let gave_up = (client.from, client.to) == (ESTABLISHED, CLOSE)
        && client.closed_ns != 0
        && client.flags & end_flag::LOCAL == 0
        && (i32::from(client.err) == libc::ETIMEDOUT || is_icmp(client.err.into()));
    let reset = end.closed_ns != 0
        && end.from == ESTABLISHED
        && i32::from(end.err) == libc::ECONNRESET
        && end.flags & end_flag::NO_SOCKET == 0;
    let counted = match server {
        _ if !gave_up => return None,
        ServerEnd::Accepted if end.closed_ns == 0 => Counted::Standing,
        ServerEnd::Accepted | ServerEnd::Queued => return None,
        _ if reset => Counted::Closed,
        _ => return None,
    };
    Some(ServerVerdict::Lost(Cause::TimedOut, counted))
}

/// Whether a rule of the packet filter ended one end of a connection that stood, by a reset that the other did not
/// send. The other end does not know of it.
fn rejected(facts: &Facts, ends: Ends, context: &Context<'_>) -> Option<ServerVerdict> {
    // A client out of sight may have sent the reset itself.
    let sees_client = ends.client_stands || facts.client.closed_ns != 0;
    let was_reset = |end: &End| {
        end.closed_ns != 0 && end.from == ESTABLISHED && i32::from(end.err) == libc::ECONNRESET
    };
    let counted = match ends.server {
        ServerEnd::Queued => return None,
        ServerEnd::Accepted if facts.server.closed_ns != 0 => return None,
        ServerEnd::Accepted if was_reset(&facts.client) && facts.server.resets_sent == 0 => {
            Counted::Standing
        }
        _ if !was_reset(&facts.server) || facts.client.resets_sent > 0 || !sees_client => {
            return None;
        }
        // It waited in the accept queue.
        _ if facts.server.flags & end_flag::NO_SOCKET != 0 => Counted::Failed,
        _ => Counted::Closed,
    };
    rejected_by_rule(facts, context).map(|cause| ServerVerdict::Lost(cause, counted))
}

/// Whether a socket whose source is its target met its own SYN, and took it for a simultaneous open. It leaves
/// SYN_SENT for SYN_RECV then, and becomes established.
fn is_self_connected(facts: &Facts) -> bool {
    facts.client.to == SYN_RECV || facts.client_established_ns != 0
}

/// The cause of connects that ended before their SYN (`inet_hash_connect`): no port, or not this one.
pub fn judge_unsent(tuple: &Tuple) -> Cause {
    match tuple.client_port {
        0 => Cause::PortsExhausted,
        _ => Cause::TupleBusy,
    }
}

/// Whether all that is known of an attempt is one segment that failed its checksum: its addresses and numbers may be anybody's.
fn is_damaged(facts: &Facts, ends: Ends, context: &Context<'_>) -> bool {
    let mut freed = facts.skb_drops.iter().filter(|drop| drop.count > 0);
    let (Some(one), None) = (freed.next(), freed.next()) else {
        return false;
    };
    let is_unseen = |end: &End| {
        end.closed_ns == 0
            && (end.from, end.flags) == (0, 0)
            && (end.resets_sent, end.resets_received, end.icmp_err) == (0, 0, 0)
    };
    let is_silent = facts.syn_retransmits == 0
        && facts.synack_retransmits == 0
        && facts.requests_expired == 0
        && facts.requests_orphaned == 0
        && facts.syns_freed_unseen == 0
        && facts.filtered.count == 0
        && facts.syn_drops.iter().all(|&count| count == 0)
        && facts.ack_refusals.iter().all(|&count| count == 0);
    let is_alone = ends.server == ServerEnd::Absent
        && !ends.client_stands
        && facts.client_established_ns == 0
        && facts.server_established_ns == 0;
    let reason = context.names.drop_reason_name(one);
    let by_checksum = one.count == 1 && matches!(reason, "TCP_CSUM" | "IP_CSUM");
    by_checksum && is_silent && is_alone && is_unseen(&facts.client) && is_unseen(&facts.server)
}

/// Whether the facts tell of a handshake at all.
fn is_attempt(facts: &Facts, ends: Ends, context: &Context<'_>) -> bool {
    let freed = |kind: usize| facts.skb_drops[kind].count > 0;
    facts.syn_drops.iter().any(|&count| count > 0)
        || facts.requests_expired > 0
        || facts.requests_orphaned > 0
        || freed(segment::SYN)
        || freed(segment::SYNACK)
        || facts.syn_retransmits > 0
        || facts.synack_retransmits > 0
        || facts.client.from == SYN_SENT
        || facts.ack_refusals.iter().any(|&count| count > 0)
        || freed(segment::ACK) && is_final_ack(facts, ends, context)
}

/// Whether an ACK that was freed, and nothing else was seen of its attempt, was a handshake's. Any other ACK of a
/// connection may be dropped as well, the last of all even after both ends are gone.
fn is_final_ack(facts: &Facts, ends: Ends, context: &Context<'_>) -> bool {
    if trouble(facts, context).is_none() {
        return false;
    }
    let drop = &facts.skb_drops[segment::ACK];
    let by_cookie = is_cookie(drop, context);
    let full = drop.flags & drop_flag::RX_LISTENER != 0 && !by_cookie;
    // A client that takes the listener's RST is seen to leave ESTABLISHED, unless it has closed before, or its server has: then
    // its ACK was a last one.
    let half_open = ends.client_stands
        || facts.client.from == ESTABLISHED
        || !by_cookie && facts.client.resets_received > 0;
    // One that is on its way out stood.
    full || half_open && ends.server != ServerEnd::Closing || ends.server == ServerEnd::Request
}

fn never_established(facts: &Facts, ends: Ends, context: &Context<'_>) -> Cause {
    if client_destroyed(&facts.client) {
        return Cause::Destroyed;
    }
    if (ends.client_stands || facts.client.from == ESTABLISHED)
        && let Some(trouble) = trouble_of_ack(facts, context)
    {
        return trouble.cause;
    }
    if let Some(trouble) = trouble(facts, context) {
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
    // Another host's RST is all that can be seen of it.
    if !context.sight.server_end
        && facts.client.from == SYN_SENT
        && i32::from(facts.client.err) == libc::ECONNREFUSED
        && facts.client.resets_received > 0
    {
        return Cause::Refused;
    }
    let closed_by_client =
        facts.client.from == SYN_SENT && facts.client.flags & end_flag::LOCAL != 0;
    if closed_by_client && facts.client.flags & end_flag::EXITING != 0 {
        return context.sight.by_silence(Cause::ClientExited);
    }
    if closed_by_client {
        return context.sight.by_silence(Cause::GaveUp);
    }
    if ends.server == ServerEnd::Absent
        && let Some(cause) = expired(facts, context)
    {
        return cause;
    }
    let client_left = facts.client != End::default() || facts.client_established_ns != 0;
    // It still waits for an ACK, and nothing was seen of who should send it, or of what became of it.
    if ends.server == ServerEnd::Request && (!client_left || ends.client_stands) {
        return context.sight.elsewhere();
    }
    // It still sends its SYN.
    if ends.server == ServerEnd::Absent
        && facts.syn_retransmits > 0
        && !client_left
        && !ends.client_stands
    {
        return context.sight.by_silence(Cause::GaveUp);
    }
    if facts.client.from == SYN_SENT && i32::from(facts.client.err) == libc::ETIMEDOUT {
        return context.sight.by_silence(Cause::SynUnanswered);
    }
    context.sight.unexplained()
}
