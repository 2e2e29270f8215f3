//! The client's view: outcomes of our own client, joined by tuple with facts and census.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use c1m_common::{config::changed, fact::Facts, tuple::Tuple};

use super::{
    Case, Ledger,
    census::{Socket, mapped},
    server::server_end,
};
use crate::{
    causes::Cause,
    load::{
        outcome::{Slab, Speed, Stage},
        tuples::Tuples,
    },
    trace::read::Snapshot,
    verdict::{Attempt, Context, ServerEnd, Sight, Verdict, judge_client},
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
pub struct ServerEnds {
    ends: Vec<ServerEnd>,
    /// Another server may have the same port at another address, and a client with the same sources.
    target: (IpAddr, u16),
}

impl ServerEnds {
    /// None found yet, of `len` attempts to `target`.
    pub fn new(len: usize, target: SocketAddr) -> Self {
        Self {
            ends: vec![ServerEnd::Absent; len],
            target: (target.ip().to_canonical(), target.port()),
        }
    }

    /// The end of the attempt that a server's socket belongs to.
    fn of(&mut self, index: &Index<'_>, tuple: &Tuple) -> Option<&mut ServerEnd> {
        let to = target(tuple);
        if (to.ip(), to.port()) != self.target {
            return None;
        }
        self.ends.get_mut(index.of(source(tuple))?)
    }

    /// A socket of the census.
    pub fn note(&mut self, index: &Index<'_>, socket: &Socket) {
        if let Some(end) = self.of(index, &socket.tuple) {
            *end = server_end(socket);
        }
    }

    /// Whether the server's end of every attempt was found, accepted.
    pub fn are_complete(&self) -> bool {
        self.ends.iter().all(|end| *end == ServerEnd::Accepted)
    }

    /// Whether the server's end of no attempt was found, in whatever state.
    pub fn are_absent(&self) -> bool {
        self.ends.iter().all(|end| *end == ServerEnd::Absent)
    }

    /// What changed first since the run's end tells how it was then, whatever the census found.
    pub fn settle(&mut self, index: &Index<'_>, changed: &HashMap<Tuple, u32>) {
        for (tuple, what) in changed {
            let Some(end) = self.of(index, tuple) else {
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
    /// The sources of those whose server's end has another tuple.
    pub translated: &'a HashSet<SocketAddr>,
}

impl Run<'_> {
    /// What can be known of an attempt: of a translated one no more than what its client's end tells, for drops and the server's
    /// end are looked for by its tuple.
    fn sight(&self, source: &SocketAddr, all: Sight) -> Sight {
        match self.translated.contains(source) {
            true => Sight {
                server_end: false,
                drops: false,
                ..all
            },
            false => all,
        }
    }
}

/// Looks the facts of one attempt up where they were folded.
pub type LookUp<'a> = &'a dyn Fn(&Tuple) -> anyhow::Result<Option<Facts>>;

/// Judges and books every attempt of our client, and tells how fast they came. Facts that the snapshot left unread are
/// looked up. Errors: they cannot be.
pub fn book(
    run: &Run<'_>,
    ends: &ServerEnds,
    snapshot: &Snapshot,
    look_up: LookUp<'_>,
    context: &Context<'_>,
) -> anyhow::Result<(Ledger, Speed)> {
    let Run {
        tuples,
        target,
        slab,
        ..
    } = *run;
    let told = Told::new(run, snapshot);
    let mut ledger = Ledger::of_client(run.epoch_ns);
    let mut speed = Speed::default();
    for index in 0..slab.len() {
        let outcome = slab.get(index);
        if outcome.stage == Stage::Planned {
            continue;
        }
        speed.note(&outcome);
        if outcome.is_established() {
            let (connect_us, settle_us) = (outcome.connect_us(), outcome.settle_us);
            ledger.latencies.note(connect_us, settle_us);
        }
        let mut source = tuples.source(index);
        if outcome.port != 0 {
            source.set_port(outcome.port);
        }
        let (source, facts) = told.of(index, source, &outcome);
        let looked_up = match snapshot.unread {
            true => look_up(&tuple(source, target))?,
            false => None,
        };
        let facts = looked_up.as_ref().or(facts);
        let attempt = Attempt {
            outcome,
            facts,
            server: ends.ends[index],
            to_itself: source == target,
        };
        let case = Case {
            source,
            target,
            outcome: Some(outcome),
            facts,
        };
        ledger.attempted += 1;
        let context = &Context {
            sight: run.sight(&source, context.sight),
            ..*context
        };
        match judge_client(&attempt, context) {
            Verdict::NotAttempted => ledger.attempted -= 1,
            Verdict::Standing(trouble) => {
                ledger.standing += 1;
                ledger.shares.note(&case, |tally| tally.standing += 1);
                stands(&mut ledger, trouble, &case, context);
            }
            Verdict::Closed(trouble) => {
                ledger.closed += 1;
                ledger.shares.note(&case, |tally| tally.closed += 1);
                stands(&mut ledger, trouble, &case, context);
            }
            Verdict::Lost(cause) => ledger.lose(cause, &case, context.names),
        }
    }
    Ok((ledger, speed))
}

/// Books what an attempt met that stands, or stood.
fn stands(ledger: &mut Ledger, trouble: Option<Cause>, case: &Case<'_>, context: &Context<'_>) {
    match trouble {
        Some(cause) => ledger.recover(cause, case, context.names),
        None => ledger.note_refused(case, context.names),
    }
}

/// The tuple of an attempt from `source` to `target`.
pub fn tuple(source: SocketAddr, target: SocketAddr) -> Tuple {
    Tuple {
        client: mapped(source.ip()),
        server: mapped(target.ip()),
        client_port: source.port(),
        server_port: target.port(),
        pad: 0,
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

mod told;

use told::Told;

#[cfg(test)]
mod tests;
