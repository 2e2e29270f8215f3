//! What a record tells besides its sums: how long connecting took, when the lost were lost, and whose they were.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::Case;
use crate::{
    load::outcome::Stage,
    report::record::{Detail, LossTimes, Point, Share, Timeline},
};

mod latency;

pub use latency::Latencies;

/// How many addresses of a kind a record lists.
const SHARES_MAX: usize = 256;
/// Losses are dated to this many ns.
const GRAIN_NS: u64 = 1_000_000;

/// What the run itself saw while it went on.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// The start of the run, CLOCK_MONOTONIC.
    pub epoch_ns: u64,
    /// How far the points are apart.
    pub interval_ms: u64,
    /// In order.
    pub points: Vec<Point>,
}

/// When the attempts of a cause were lost, to [`GRAIN_NS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How many, by CLOCK_MONOTONIC in units of the grain.
    dated: BTreeMap<u64, u64>,
    /// How many nobody knows the time of.
    pub undated: u64,
}

impl Times {
    /// `count` losses at `at_ns`, CLOCK_MONOTONIC.
    pub fn note(&mut self, at_ns: Option<u64>, count: u64) {
        match at_ns {
            Some(at_ns) => *self.dated.entry(at_ns / GRAIN_NS).or_default() += count,
            None => self.undated += count,
        }
    }

    /// In the intervals that end with each of the points; what comes after the last belongs to it.
    fn close(&self, slug: &str, samples: &Samples) -> LossTimes {
        let mut counts = vec![0; samples.points.len()];
        let last = counts.len().saturating_sub(1);
        for (at, count) in &self.dated {
            let at_ms = (at * GRAIN_NS).saturating_sub(samples.epoch_ns) / 1_000_000;
            let index = samples.points.partition_point(|point| point.at_ms < at_ms);
            if let Some(sum) = counts.get_mut(index.min(last)) {
                *sum += count;
            }
        }
        LossTimes {
            slug: slug.to_owned(),
            counts,
            undated: self.undated,
        }
    }
}

/// When an attempt was lost, CLOCK_MONOTONIC in ns: when its own client met the end, or what the kernel saw last. The
/// zero of the client's times is `epoch_ns`.
pub fn lost_ns(case: &Case<'_>, epoch_ns: u64) -> Option<u64> {
    let seen = case.facts.and_then(|facts| {
        let ends = [facts.server.closed_ns, facts.client.closed_ns];
        let all = ends.into_iter().chain([facts.last_drop_ns, facts.first_ns]);
        all.into_iter().find(|at_ns| *at_ns != 0)
    });
    let Some(outcome) = case.outcome else {
        return seen;
    };
    let settled = u64::from(outcome.started_ms) * 1_000_000 + u64::from(outcome.settle_us) * 1_000;
    let ended = u64::from(outcome.ended_ms) * 1_000_000;
    match outcome.stage {
        Stage::Planned => None,
        Stage::Lost | Stage::WorkerDied => Some(epoch_ns + ended),
        // Half-open: its client knows of no end.
        Stage::Established | Stage::Closed => seen.or(Some(epoch_ns + settled)),
        _ => Some(epoch_ns + settled),
    }
}

/// What became of the attempts of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Standing.
    pub standing: u64,
    /// Closed as asked.
    pub closed: u64,
    /// Lost.
    pub lost: u64,
    /// Recovered; standing or closed besides.
    pub recovered: u64,
}

/// The attempts by address.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// By the client's address.
    sources: BTreeMap<IpAddr, Tally>,
    /// By the server's.
    listeners: BTreeMap<SocketAddr, Tally>,
    /// Whether every attempt was booked here, and not those alone that met trouble.
    pub are_whole: bool,
}

impl Shares {
    /// Books something of an attempt under both its addresses.
    pub fn note(&mut self, case: &Case<'_>, book: impl Fn(&mut Tally)) {
        book(self.sources.entry(case.source.ip()).or_default());
        book(self.listeners.entry(case.target).or_default());
    }

    /// The lists of a record, most losses first, and how many addresses found no place in them.
    fn close(&self) -> (Vec<Share>, Vec<Share>, u64) {
        let whole = |number: u64| self.are_whole.then_some(number);
        let list = |tallies: Vec<(String, Tally)>| {
            let mut tallies = tallies;
            // Stable: equal ones stay in the order of their addresses.
            tallies.sort_by_key(|(_, tally)| std::cmp::Reverse((tally.lost, tally.recovered)));
            let left = tallies.len().saturating_sub(SHARES_MAX);
            let shares = tallies.into_iter().take(SHARES_MAX);
            let shares = shares.map(|(name, tally)| Share {
                name,
                attempted: whole(tally.standing + tally.closed + tally.lost),
                standing: whole(tally.standing),
                closed: whole(tally.closed),
                lost: tally.lost,
                recovered: tally.recovered,
            });
            (shares.collect::<Vec<_>>(), left as u64)
        };
        let named = |(name, tally): (&IpAddr, &Tally)| (name.to_string(), *tally);
        let (sources, more_sources) = list(self.sources.iter().map(named).collect());
        let named = |(name, tally): (&SocketAddr, &Tally)| (name.to_string(), *tally);
        let (listeners, more_listeners) = list(self.listeners.iter().map(named).collect());
        (sources, listeners, more_sources + more_listeners)
    }
}

/// The detail of a record; `times` has when the attempts of each cause were lost.
pub fn close<'a>(
    samples: &Samples,
    latencies: &Latencies,
    shares: &Shares,
    times: impl Iterator<Item = (&'a str, &'a Times)>,
) -> Detail {
    let (sources, listeners, shares_unlisted) = shares.close();
    let timeline = (!samples.points.is_empty()).then(|| Timeline {
        interval_ms: samples.interval_ms,
        points: samples.points.clone(),
        losses: times
            .map(|(slug, times)| times.close(slug, samples))
            .collect(),
    });
    Detail {
        latency: latencies.close(),
        timeline,
        sources,
        listeners,
        shares_unlisted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_fall_into_the_interval_that_ends_after_them() {
        let point = |at_ms| Point {
            at_ms,
            ..Point::default()
        };
        let samples = Samples {
            epoch_ns: 5_000_000_000,
            interval_ms: 1_000,
            points: vec![point(1_000), point(2_000), point(2_400)],
        };
        let mut times = Times::default();
        for (at_ns, count) in [
            (Some(4_900_000_000), 1),
            (Some(5_999_999_999), 2),
            (Some(6_000_999_999), 0),
            (Some(6_100_000_000), 4),
            (Some(9_000_000_000), 8),
            (None, 16),
        ] {
            times.note(at_ns, count);
        }
        let closed = times.close("refused", &samples);
        assert_eq!(closed.counts, [3, 4, 8]);
        assert_eq!(closed.undated, 16);
        assert_eq!(times.close("refused", &Samples::default()).counts, [0; 0]);
    }
}
