//! Which facts are whose.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    ops::Range,
    ptr,
};

use c1m_common::{fact::Facts, tuple::Tuple};

use super::{Run, source, tuple};
use crate::{
    load::outcome::{Outcome, Stage},
    trace::read::Snapshot,
    verdict::comes_from_the_network,
};

/// What the kernel side tells of the attempts.
pub(super) struct Told<'a> {
    run: &'a Run<'a>,
    last: &'a HashMap<Tuple, Facts>,
    /// Ports of the kernel's choice are taken again by other attempts: all of those with an entry, by tuple.
    every: HashMap<Tuple, Vec<&'a Facts>>,
    /// Those of attempts that never learnt their port, by attempt, with the port.
    portless: HashMap<usize, (u16, &'a Facts)>,
}

/// How much later than an attempt its socket may be closed.
const CLOSING_NS: u64 = 2_000_000;

impl<'a> Told<'a> {
    pub(super) fn new(run: &'a Run<'a>, snapshot: &'a Snapshot) -> Self {
        let mut told = Self {
            run,
            last: &snapshot.facts,
            every: HashMap::new(),
            portless: HashMap::new(),
        };
        if run.tuples.kernel_ports() {
            let earlier = snapshot
                .generations
                .iter()
                .map(|(tuple, facts)| (tuple, facts));
            for (tuple, facts) in earlier.chain(&snapshot.facts) {
                told.every.entry(*tuple).or_default().push(facts);
            }
            told.find_portless();
        }
        told
    }

    /// An attempt that was refused while connect() ran never learns which port it had: the kernel has let go of it. The
    /// attempts of one source, in the order of time, have what nobody else has, in the same order.
    fn find_portless(&mut self) {
        let Run { slab, tuples, .. } = *self.run;
        let outcomes = (0..slab.len()).map(|index| (index, slab.get(index)));
        let (known, mut unknown): (Vec<_>, Vec<_>) = outcomes
            .filter(|(_, outcome)| outcome.port != 0 || is_refused(outcome))
            .partition(|(_, outcome)| outcome.port != 0);
        if unknown.is_empty() {
            return;
        }
        let of_known = known.into_iter().filter_map(|(index, outcome)| {
            let from = SocketAddr::new(tuples.source(index).ip(), outcome.port);
            self.of_known(from, &outcome).map(ptr::from_ref)
        });
        let claimed: HashSet<*const Facts> = of_known.collect();
        let mut free: HashMap<IpAddr, Vec<(u16, &Facts)>> = HashMap::new();
        for (tuple, entries) in &self.every {
            let from = source(tuple);
            let entries = entries.iter().filter(|facts| {
                from.port() != 0 && !claimed.contains(&ptr::from_ref::<Facts>(facts))
            });
            let of_source = free.entry(from.ip()).or_default();
            of_source.extend(entries.map(|facts| (from.port(), *facts)));
        }
        // The first at the end, to be popped.
        for of_source in free.values_mut() {
            of_source.sort_by_key(|(_, facts)| Reverse(facts.first_ns));
        }
        unknown.sort_by_key(|(index, outcome)| (outcome.started_ms, *index));
        for (index, outcome) in unknown {
            let lifetime = self.lifetime(&outcome);
            let Some(of_source) = free.get_mut(&tuples.source(index).ip()) else {
                continue;
            };
            while let Some(&(port, facts)) = of_source.last()
                && facts.first_ns < lifetime.end
            {
                of_source.pop();
                if facts.first_ns >= lifetime.start {
                    self.portless.insert(index, (port, facts));
                    break;
                }
            }
        }
    }

    /// The facts of one attempt, and where it came from.
    pub(super) fn of(
        &self,
        index: usize,
        from: SocketAddr,
        outcome: &Outcome,
    ) -> (SocketAddr, Option<&'a Facts>) {
        if self.last.is_empty() {
            return (from, None);
        }
        if !self.run.tuples.kernel_ports() {
            return (from, self.last.get(&tuple(from, self.run.target)));
        }
        match self.portless.get(&index) {
            Some(&(port, facts)) => (SocketAddr::new(from.ip(), port), Some(facts)),
            None => (from, self.of_known(from, outcome)),
        }
    }

    fn of_known(&self, from: SocketAddr, outcome: &Outcome) -> Option<&'a Facts> {
        let lifetime = self.lifetime(outcome);
        let entries = self.every.get(&tuple(from, self.run.target))?.iter();
        let in_time = entries.filter(|facts| lifetime.contains(&facts.first_ns));
        in_time.min_by_key(|facts| facts.first_ns).copied()
    }

    /// When the entry of an attempt may have been born, CLOCK_MONOTONIC.
    fn lifetime(&self, outcome: &Outcome) -> Range<u64> {
        let time = |ms: u32| self.run.epoch_ns + u64::from(ms) * 1_000_000;
        let began = time(outcome.started_ms);
        let ended = match outcome.stage {
            Stage::InFlight | Stage::Established => u64::MAX,
            Stage::Lost | Stage::Closed | Stage::WorkerDied => time(outcome.ended_ms) + CLOSING_NS,
            _ => began + u64::from(outcome.settle_us) * 1_000 + CLOSING_NS,
        };
        began..ended
    }
}

/// Whether an answer to its SYN ended it.
fn is_refused(outcome: &Outcome) -> bool {
    match outcome.stage {
        Stage::Connect => comes_from_the_network(outcome.errno.into()),
        Stage::Failed => true,
        _ => false,
    }
}
