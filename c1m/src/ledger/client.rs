//! The client's view: outcomes of our own client, joined by tuple with facts and census.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use c1m_common::{config::changed, fact::Facts, tuple::Tuple, tuple::mapped_v4};

use super::{Case, Ledger, census::Socket, server::server_end};
use crate::{
    load::{
        outcome::{Outcome, Slab, Speed, Stage},
        tuples::Tuples,
    },
    trace::read::Snapshot,
    verdict::{Attempt, Context, ServerEnd, Verdict, judge_client},
};

/// From a source address to the attempt that has it.
///
/// With explicit ports it is computed; with ports of the kernel's choice it is looked up.
pub struct Index<'a> {
    tuples: &'a Tuples,
    by_port: HashMap<SocketAddr, u32>,
}

impl<'a> Index<'a> {
    /// The index of a run whose outcomes no longer change.
    pub fn new(tuples: &'a Tuples, slab: &Slab) -> Self {
        let mut by_port = HashMap::new();
        if tuples.kernel_ports() {
            for index in 0..slab.len() {
                let port = slab.get(index).port;
                // An earlier attempt that failed may have had the same port: who stands has it now.
                let stands = slab.get(index).stage == Stage::Established;
                let source = SocketAddr::new(tuples.source(index).ip(), port);
                if port != 0 && (stands || !by_port.contains_key(&source)) {
                    by_port.insert(source, index as u32);
                }
            }
        }
        Self { tuples, by_port }
    }

    /// The attempt from `source`.
    pub fn of(&self, source: SocketAddr) -> Option<usize> {
        if self.tuples.kernel_ports() {
            return self.by_port.get(&source).map(|&index| index as usize);
        }
        self.tuples.index(source)
    }
}

/// The server's ends of a run's attempts, by attempt.
pub struct ServerEnds(Vec<ServerEnd>);

impl ServerEnds {
    /// None found yet.
    pub fn new(len: usize) -> Self {
        Self(vec![ServerEnd::Absent; len])
    }

    /// A socket of the census.
    pub fn note(&mut self, index: &Index<'_>, socket: &Socket) {
        if let Some(at) = index.of(source(&socket.tuple))
            && let Some(end) = self.0.get_mut(at)
        {
            *end = server_end(socket);
        }
    }

    /// What changed first since the run's end tells how it was then, whatever the census found.
    pub fn settle(&mut self, index: &Index<'_>, changed: &HashMap<Tuple, u32>) {
        for (tuple, what) in changed {
            let Some(end) = index.of(source(tuple)).and_then(|at| self.0.get_mut(at)) else {
                continue;
            };
            *end = match *what {
                changed::CLOSED => ServerEnd::Accepted,
                changed::CLOSED_QUEUED => ServerEnd::Queued,
                // Its final ACK was under way when the client stopped counting.
                _ if matches!(end, ServerEnd::Absent | ServerEnd::Request) => ServerEnd::Accepted,
                _ => *end,
            };
        }
    }
}

/// What our client did.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Where its attempts came from.
    pub tuples: &'a Tuples,
    /// Where they went.
    pub target: SocketAddr,
    /// What it recorded of them.
    pub slab: &'a Slab,
    /// The zero of the times in there, CLOCK_MONOTONIC.
    pub epoch_ns: u64,
}

/// Judges and books every attempt of our client, and tells how fast they came.
pub fn book(
    run: &Run<'_>,
    ends: &ServerEnds,
    snapshot: &Snapshot,
    context: &Context<'_>,
) -> (Ledger, Speed) {
    let Run {
        tuples,
        target,
        slab,
        ..
    } = *run;
    let told = Told::new(run, snapshot);
    let mut ledger = Ledger::default();
    let mut speed = Speed::default();
    for index in 0..slab.len() {
        let outcome = slab.get(index);
        if outcome.stage == Stage::Planned {
            continue;
        }
        speed.note(&outcome);
        let source = SocketAddr::new(
            tuples.source(index).ip(),
            if outcome.port != 0 {
                outcome.port
            } else {
                tuples.source(index).port()
            },
        );
        let facts = told.of(source, &outcome);
        let attempt = Attempt {
            outcome,
            facts,
            server: ends.0[index],
            to_itself: source == target,
        };
        let case = Case {
            source,
            target,
            outcome: Some(outcome),
            facts,
        };
        ledger.attempted += 1;
        match judge_client(&attempt, context) {
            Verdict::NotAttempted => ledger.attempted -= 1,
            Verdict::Standing(trouble) => {
                ledger.standing += 1;
                if let Some(cause) = trouble {
                    ledger.recover(cause, &case, context.names);
                }
            }
            Verdict::Closed(trouble) => {
                ledger.closed += 1;
                if let Some(cause) = trouble {
                    ledger.recover(cause, &case, context.names);
                }
            }
            Verdict::Lost(cause) => ledger.lose(cause, &case, context.names),
        }
    }
    (ledger, speed)
}

/// What the kernel side tells of the attempts.
struct Told<'a> {
    run: &'a Run<'a>,
    last: &'a HashMap<Tuple, Facts>,
    /// Ports of the kernel's choice are taken again by other attempts: all of those with an entry, by tuple.
    every: HashMap<Tuple, Vec<&'a Facts>>,
}

/// How much later than an attempt its socket may be closed.
const CLOSING_NS: u64 = 2_000_000;

impl<'a> Told<'a> {
    fn new(run: &'a Run<'a>, snapshot: &'a Snapshot) -> Self {
        let mut every = HashMap::<_, Vec<_>>::new();
        if run.tuples.kernel_ports() {
            let earlier = snapshot
                .generations
                .iter()
                .map(|(tuple, facts)| (tuple, facts));
            for (tuple, facts) in earlier.chain(&snapshot.facts) {
                every.entry(*tuple).or_default().push(facts);
            }
        }
        Self {
            run,
            last: &snapshot.facts,
            every,
        }
    }

    /// The facts of one attempt.
    fn of(&self, source: SocketAddr, outcome: &Outcome) -> Option<&'a Facts> {
        if self.last.is_empty() {
            return None;
        }
        let tuple = tuple(source, self.run.target);
        if !self.run.tuples.kernel_ports() {
            return self.last.get(&tuple);
        }
        let time = |ms: u32| self.run.epoch_ns + u64::from(ms) * 1_000_000;
        let began = time(outcome.started_ms);
        let ended = match outcome.stage {
            Stage::InFlight | Stage::Established => u64::MAX,
            Stage::Lost | Stage::Closed | Stage::WorkerDied => time(outcome.ended_ms) + CLOSING_NS,
            _ => began + u64::from(outcome.settle_us) * 1_000 + CLOSING_NS,
        };
        let in_time = |facts: &&&Facts| (began..ended).contains(&facts.first_ns);
        let facts = self.every.get(&tuple)?.iter().filter(in_time);
        facts.min_by_key(|facts| facts.first_ns).copied()
    }
}

/// The tuple of an attempt from `source` to `target`.
pub fn tuple(source: SocketAddr, target: SocketAddr) -> Tuple {
    Tuple {
        client: bytes(source.ip()),
        server: bytes(target.ip()),
        client_port: source.port(),
        server_port: target.port(),
        pad: 0,
    }
}

fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => mapped_v4(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The client's address and port of a tuple.
pub fn source(tuple: &Tuple) -> SocketAddr {
    SocketAddr::new(
        Ipv6Addr::from(tuple.client).to_canonical(),
        tuple.client_port,
    )
}

/// The server's likewise.
pub fn target(tuple: &Tuple) -> SocketAddr {
    SocketAddr::new(
        Ipv6Addr::from(tuple.server).to_canonical(),
        tuple.server_port,
    )
}

#[cfg(test)]
mod tests;
