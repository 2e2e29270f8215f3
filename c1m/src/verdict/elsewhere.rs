//! The view of clients that are not ours, and whose servers are elsewhere: their own ends are all that is counted.

use c1m_common::{
    fact::{End, Facts, end_flag},
    state::{CLOSE, ESTABLISHED},
};

use super::{
    Context,
    client::recovered,
    rules::client_destroyed,
    server::{Counted, Ends, ServerVerdict, judge_server},
};
use crate::causes::Cause;

/// The verdict on the facts of one tuple, seen from its client.
pub fn judge_elsewhere(facts: &Facts, ends: Ends, context: &Context<'_>) -> ServerVerdict {
    let client = &facts.client;
    let left = client.closed_ns != 0 && client.from == ESTABLISHED;
    if !(left || ends.client_stands || facts.client_established_ns != 0) {
        return judge_server(facts, ends, context);
    }
    if ends.to_itself {
        // It took itself for its peer, and counts as established.
        let counted = match left {
            true => Counted::Closed,
            false => Counted::Standing,
        };
        return ServerVerdict::Lost(Cause::SelfConnect, counted);
    }
    match gone(client).filter(|_| left) {
        Some(cause) => ServerVerdict::Lost(cause, Counted::Failed),
        None => {
            recovered(Some(facts), context).map_or(ServerVerdict::Counted, ServerVerdict::Recovered)
        }
    }
}

/// Why a client's established socket went, if neither program closed it in order.
fn gone(client: &End) -> Option<Cause> {
    if client_destroyed(client) {
        return Some(Cause::Destroyed);
    }
    if client.to != CLOSE || client.flags & end_flag::LOCAL != 0 {
        return None;
    }
    Some(match i32::from(client.err) {
        libc::ECONNRESET => Cause::ResetByPeer,
        // A time-out that met ICMP errors before tells them instead (`tcp_write_err`).
        _ => Cause::TimedOut,
    })
}
