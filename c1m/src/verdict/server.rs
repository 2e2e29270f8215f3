//! The server's view: nobody told us what was attempted; the listener's side of each attempt tells.

use c1m_common::{
    fact::{Facts, end_flag},
    state::{ESTABLISHED, SYN_SENT},
};

use super::{
    Context, ServerEnd,
    client::recovered,
    rules::{dropped_unseen, server_gone, trouble},
};
use crate::causes::Cause;

/// What an entry of the kernel side means for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerVerdict {
    /// No attempt of this run: a stray segment of an earlier connection.
    Stray,
    /// It was established, so it is counted there, and nothing but trouble that it got over is added.
    Recovered(Cause),
    /// It was established, so it is counted there; nothing is to be added.
    Counted,
    /// It was established and lost.
    Lost(Cause),
    /// It never was established: one more attempt, lost.
    NeverEstablished(Cause),
}

/// The verdict on the facts of one tuple, seen from the server.
pub fn judge_server(facts: &Facts, server: ServerEnd, context: &Context<'_>) -> ServerVerdict {
    let established = facts.server_established_ns != 0
        || facts.server.from == ESTABLISHED
        || matches!(server, ServerEnd::Accepted | ServerEnd::Queued);
    if established {
        return match server_gone(&facts.server) {
            // The program's own close is its business, unless its end took the connection along.
            Some(Cause::ResetByPeer | Cause::ClosedByServer) => ServerVerdict::Counted,
            Some(cause) => ServerVerdict::Lost(cause),
            None => recovered(Some(facts), context)
                .map_or(ServerVerdict::Counted, ServerVerdict::Recovered),
        };
    }
    if !is_attempt(facts) {
        return ServerVerdict::Stray;
    }
    ServerVerdict::NeverEstablished(never_established(facts, server, context))
}

/// Whether the facts tell of a handshake at all.
fn is_attempt(facts: &Facts) -> bool {
    facts.syn_drops.iter().any(|&count| count > 0)
        || facts.skb_drops.iter().any(|drop| drop.count > 0)
        || facts.syn_retransmits > 0
        || facts.synack_retransmits > 0
        || facts.client.from == SYN_SENT
}

fn never_established(facts: &Facts, server: ServerEnd, context: &Context<'_>) -> Cause {
    if let Some(trouble) = trouble(facts, context) {
        return trouble.cause;
    }
    if dropped_unseen(facts) {
        return Cause::NotObservable;
    }
    if facts.client.icmp_err != 0 {
        return Cause::IcmpError;
    }
    let closed_by_client =
        facts.client.from == SYN_SENT && facts.client.flags & end_flag::LOCAL != 0;
    if closed_by_client {
        return context.sight.by_silence(Cause::GaveUp);
    }
    if facts.synack_retransmits > 0 && server == ServerEnd::Absent {
        return context.sight.by_silence(Cause::RequestExpired);
    }
    if facts.client.from == SYN_SENT && i32::from(facts.client.err) == libc::ETIMEDOUT {
        return context.sight.by_silence(Cause::SynUnanswered);
    }
    context.sight.unexplained()
}
