//! The server's view: what was attempted is what the kernel counted at the server's end.
//!
//! Connections without trouble have no entry of their own: they are counted when they become established,
//! when they are closed, and by the census. These are three independent counts, so the sum proves them.

use std::collections::{HashMap, HashSet};

use c1m_common::{
    config::changed,
    fact::Facts,
    state::{ESTABLISHED, SYN_RECV},
    stats::{EndStats, event},
    tuple::Tuple,
};

use super::{
    Case, Ledger, calls,
    census::{Side, Socket},
    client::{source, target},
};
use crate::{
    causes::Cause,
    trace::read::Snapshot,
    verdict::{
        Context, Counted, Ends, ServerEnd, ServerVerdict, judge_elsewhere, judge_server,
        judge_unsent, was_given_up,
    },
};

/// What a socket of the census is to its attempt.
pub fn server_end(socket: &Socket) -> ServerEnd {
    match (socket.state, socket.inode) {
        (ESTABLISHED, 0) => ServerEnd::Queued,
        (ESTABLISHED, _) => ServerEnd::Accepted,
        (SYN_RECV, _) => ServerEnd::Request,
        _ => ServerEnd::Closing,
    }
}

/// Who was established at the server's end at one moment, although the census takes a while.
#[derive(Debug, Default)]
pub struct Standing {
    /// Established and accepted.
    pub accepted: u64,
    /// Established, not accepted.
    pub queued: Vec<Tuple>,
    /// The ends of the tuples that were asked for.
    pub ends: HashMap<Tuple, ServerEnd>,
    /// Of those with an entry, those whose client is established.
    pub clients: HashSet<Tuple>,
}

/// Which sockets a census of the server's end looks at more closely.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Those with an entry.
    pub snapshot: &'a Snapshot,
    /// What changed since the moment in question.
    pub changed: &'a HashMap<Tuple, u32>,
}

impl Standing {
    /// A socket of the census. What was established only after the moment does not count.
    pub fn note(&mut self, socket: &Socket, asked: &Asked<'_>) {
        // Who is connected to itself has no server.
        if is_to_itself(&socket.tuple) {
            return;
        }
        let end = server_end(socket);
        // What changed first since the moment tells how it was then, whatever has the tuple by now.
        if asked.changed.contains_key(&socket.tuple) {
            return;
        }
        match end {
            ServerEnd::Accepted => self.accepted += 1,
            ServerEnd::Queued => self.queued.push(socket.tuple),
            _ => {}
        }
        if asked.snapshot.facts.contains_key(&socket.tuple) {
            self.ends.insert(socket.tuple, end);
        }
    }

    /// Both ends of a tuple that has an entry, or of an earlier attempt with it.
    fn ends_of(&self, tuple: &Tuple, is_last: bool) -> Ends {
        let now = Some(tuple).filter(|_| is_last);
        let server = now.and_then(|tuple| self.ends.get(tuple));
        Ends {
            server: server.copied().unwrap_or_default(),
            client_stands: now.is_some_and(|tuple| self.clients.contains(tuple)),
            to_itself: is_to_itself(tuple),
        }
    }

    /// After the last socket: what was closed since the moment stood then.
    pub fn settle(&mut self, changed: &HashMap<Tuple, u32>) {
        for (tuple, what) in changed {
            match *what {
                changed::CLOSED => {
                    self.accepted += 1;
                    self.ends.insert(*tuple, ServerEnd::Accepted);
                }
                changed::CLOSED_QUEUED => {
                    self.queued.push(*tuple);
                    self.ends.insert(*tuple, ServerEnd::Queued);
                }
                _ => {}
            }
        }
    }

    /// Of those in the queue only `left` were never accepted.
    pub fn leave_queued(&mut self, left: &HashSet<Tuple>) {
        self.queued.retain(|tuple| {
            let stays = left.contains(tuple);
            if !stays {
                self.accepted += 1;
                if let Some(end) = self.ends.get_mut(tuple) {
                    *end = ServerEnd::Accepted;
                }
            }
            stays
        });
    }
}

/// What there was when the trace began.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// How many stood.
    pub stood: u64,
    /// Attempts that were under way.
    pub begun: &'a HashSet<Tuple>,
}

/// Books what the kernel alone tells of, by the ends that are `counted`: the servers', or the clients' where no server's is in
/// sight.
pub fn book(
    counted: Side,
    before: Before<'_>,
    standing: &Standing,
    snapshot: &Snapshot,
    context: &Context<'_>,
) -> Ledger {
    let stats = &snapshot.stats.ends[counted as usize];
    let judge = match counted {
        Side::Server => judge_server,
        Side::Client => judge_elsewhere,
    };
    let mut ledger = Ledger {
        attempted: stats.established + before.stood,
        before: before.stood,
        standing: standing.accepted,
        closed: closed(counted, stats),
        ..Ledger::default()
    };
    let queued: HashSet<&Tuple> = standing.queued.iter().collect();
    for tuple in &standing.queued {
        let case = case(tuple, snapshot.facts.get(tuple));
        ledger.lose(Cause::AcceptStarved, &case, context.names);
    }
    let (mut failed, mut half_seen, mut given_up, mut damaged) = (0, 0, 0, 0);
    for (tuple, facts, is_last) in entries(snapshot) {
        given_up += u64::from(was_given_up(facts));
        let ends = standing.ends_of(tuple, is_last);
        let case = case(tuple, Some(facts));
        if is_last {
            unsent(&mut ledger, tuple, &case, context);
        }
        match judge(facts, ends, context) {
            ServerVerdict::Stray | ServerVerdict::Counted => {}
            ServerVerdict::Damaged => damaged += 1,
            ServerVerdict::ClosedBefore => {
                failed += 1;
                ledger.closed += 1;
            }
            ServerVerdict::Recovered(_) if is_last && queued.contains(tuple) => {}
            ServerVerdict::Recovered(cause) => ledger.recover(cause, &case, context.names),
            ServerVerdict::Lost(cause, counted) => {
                match counted {
                    Counted::Failed => failed += 1,
                    Counted::Closed => ledger.closed -= 1,
                    Counted::Standing => ledger.standing -= 1,
                }
                ledger.lose(cause, &case, context.names);
            }
            // Of an attempt that is older than the trace, silence tells nothing.
            ServerVerdict::NeverEstablished(
                Cause::Unexplained | Cause::GaveUp | Cause::SynUnanswered | Cause::RequestExpired,
            ) if facts.reused == 0 && before.begun.contains(tuple) => half_seen += 1,
            ServerVerdict::NeverEstablished(cause) => {
                ledger.attempted += 1;
                ledger.lose(cause, &case, context.names);
            }
        }
    }
    let unclear = [half_seen, damaged];
    ledger
        .notes
        .extend(notes(counted, unclear, before.stood, standing, snapshot));
    calls::book(&mut ledger, snapshot, context);
    let unanswered = snapshot.stats.ends[0].unanswered.saturating_sub(given_up);
    ledger.attempted += unanswered;
    let lost = failures(counted, stats).saturating_sub(failed) + unanswered;
    ledger.lose_unnamed(Cause::EvidenceLost, lost, "no entry");
    ledger
}

/// Books the connects under this tuple that ended before their SYN.
fn unsent(ledger: &mut Ledger, tuple: &Tuple, case: &Case<'_>, context: &Context<'_>) {
    let unsent = u64::from(case.facts.map_or(0, |facts| facts.unsent));
    if unsent > 0 {
        ledger.attempted += unsent;
        ledger.lose_often(judge_unsent(tuple), unsent, case, context.names);
    }
}

/// What the table does not tell: of attempts that are older than the trace, of damaged segments, of MPTCP, and of servers that are
/// elsewhere.
fn notes(
    counted: Side,
    [half_seen, damaged]: [u64; 2],
    stood: u64,
    standing: &Standing,
    snapshot: &Snapshot,
) -> impl Iterator<Item = String> {
    let stats = &snapshot.stats;
    let [clients, servers] = [0, 1].map(|end| stats.ends[end].established);
    let elsewhere = match (counted, servers + stood) {
        (Side::Client, _) => clients,
        (Side::Server, 0) => clients.saturating_sub(half_open(standing, snapshot)),
        _ => 0,
    };
    let by_worker = stats.events[event::MPTCP_CLOSED];
    let half_seen = (half_seen > 0).then(|| {
        let when = "that were under way when the trace began, and failed, are not counted";
        format!("{half_seen} attempts {when}")
    });
    let by_worker = (by_worker > 0).then(|| {
        let who = "by their program, or with the listener that they waited at";
        format!("{by_worker} MPTCP connections were closed: whether {who}, cannot be told")
    });
    let elsewhere = (elsewhere > 0).then(|| {
        let why = "their server's end is not in a namespace that is traced (--netns), or has another port behind NAT (--port)";
        match counted {
            Side::Client => format!("told by the clients' ends alone: {why}"),
            Side::Server => format!(
                "{elsewhere} connections were established by clients here, and {why}: they are not in the table"
            ),
        }
    });
    let damaged = (damaged > 0).then(|| {
        let what = "failed their checksum, and nothing else is known of whom they name: they are no attempts";
        format!("{damaged} segments {what}")
    });
    [half_seen, damaged, by_worker, elsewhere]
        .into_iter()
        .flatten()
}

/// How many with an entry were established at the client's end.
fn half_open(standing: &Standing, snapshot: &Snapshot) -> u64 {
    let is = |(tuple, facts, is_last): &(&Tuple, &Facts, bool)| {
        facts.client_established_ns != 0
            || facts.client.from == ESTABLISHED
            || *is_last && standing.clients.contains(*tuple)
    };
    entries(snapshot).filter(is).count() as u64
}

/// Every entry, and whether it is the last of its tuple.
fn entries(snapshot: &Snapshot) -> impl Iterator<Item = (&Tuple, &Facts, bool)> {
    let last = snapshot.facts.iter();
    let earlier = snapshot.generations.iter();
    last.map(|(tuple, facts)| (tuple, facts, true))
        .chain(earlier.map(|(tuple, facts)| (tuple, facts, false)))
}

/// Whether a tuple's source is its target.
fn is_to_itself(tuple: &Tuple) -> bool {
    source(tuple) == target(tuple)
}

/// An attempt of which only the kernel told.
fn case<'a>(tuple: &Tuple, facts: Option<&'a Facts>) -> Case<'a> {
    Case {
        source: source(tuple),
        target: target(tuple),
        outcome: None,
        facts,
    }
}

/// Every failure of a connection that stood, also one whose entry found no room. A client that aborts, or ends, does as it likes.
pub fn failures(counted: Side, stats: &EndStats) -> u64 {
    let failed: u64 = stats.failed.iter().sum();
    failed
        + match counted {
            Side::Server => stats.exited + stats.aborted_locally,
            Side::Client => stats.reset_by_peer,
        }
}

/// Closed by either program in its lifetime, as it is its business to. A server that aborts resets its client.
fn closed(counted: Side, stats: &EndStats) -> u64 {
    stats.closed_locally
        + stats.closed_by_peer
        + match counted {
            Side::Server => stats.reset_by_peer,
            Side::Client => stats.exited + stats.aborted_locally,
        }
}
