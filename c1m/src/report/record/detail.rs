//! What a record tells besides its sums, as far as the run could tell it: how long connecting took, the time line,
//! and who the attempts belong to. Optional in schema 1: older records have none of it.

use serde::{Deserialize, Serialize};

use super::Record;

/// The parts that not every run has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// How long connecting took; only our own client knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// The run over time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// By the client's address, most losses first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Share>,
    /// By the server's address and port, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<Share>,
    /// How many sources and listeners are not in these lists.
    #[serde(default)]
    pub shares_unlisted: u64,
}

impl Detail {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Where its sums are not those of the record, in words; nothing is right.
    pub fn contradictions(&self, record: &Record) -> Vec<String> {
        let mut wrong = Vec::new();
        let sum = |counts: &mut dyn Iterator<Item = u64>| counts.map(u128::from).sum::<u128>();
        let mut compare = |what: &str, here: u128, there: u64| {
            if here != u128::from(there) {
                wrong.push(format!("{what} adds up to {here}, not {there}"));
            }
        };
        for losses in self.timeline.iter().flat_map(|line| &line.losses) {
            let row = record.causes.iter().find(|row| row.slug == losses.slug);
            let times = losses.counts.iter().copied().chain([losses.undated]);
            let what = format!("the time line of {}", losses.slug);
            compare(&what, sum(&mut { times }), row.map_or(0, |row| row.count));
        }
        for (what, shares) in [("sources", &self.sources), ("listeners", &self.listeners)] {
            let whole = shares.iter().all(|share| share.attempted.is_some());
            if shares.is_empty() || !whole || self.shares_unlisted > 0 {
                continue;
            }
            let attempted = &mut shares.iter().filter_map(|share| share.attempted);
            compare(
                &format!("attempted by {what}"),
                sum(attempted),
                record.attempted,
            );
            let lost = &mut shares.iter().map(|share| share.lost);
            compare(&format!("lost by {what}"), sum(lost), record.lost);
        }
        if let Some(latency) = &self.latency {
            let buckets = &mut latency.buckets.iter().map(|one| one.count);
            compare("the distribution of latency", sum(buckets), latency.count);
            let steps = &mut latency.steps.iter().map(|one| one.count);
            compare("the steps of latency", sum(steps), latency.count);
        }
        wrong
    }
}

/// How long the established attempts took, from connect() to ESTABLISHED as the client's program learnt it; of an
/// attempt that was made again, from its first try.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// The shortest, in µs.
    pub min_us: u64,
    /// Their mean, in µs.
    pub mean_us: u64,
    /// Their sum, in µs: while the run lasts.
    #[serde(skip)]
    pub sum_us: u64,
    /// The longest, in µs.
    pub max_us: u64,
    /// p50 to p99.99, to three digits.
    pub percentiles: Vec<Percentile>,
    /// How many took longer than the bucket before and at most this long; none is empty at either end.
    pub buckets: Vec<Bucket>,
    /// How many had to wait for which retransmit.
    pub steps: Vec<Step>,
}

/// So many percent were established after at most this time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentile {
    /// Above 0, at most 100.
    pub percent: f64,
    /// In µs.
    pub at_most_us: u64,
}

/// A bucket of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its upper end, in µs.
    pub at_most_us: u64,
    /// How many are in it.
    pub count: u64,
}

/// Attempts that were established between one time of a retransmit and the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The time of the retransmit, in s; 0 for none. An attempt counts from 50 ms before, for the kernel's timers
    /// count in jiffies.
    pub from_s: u64,
    /// How many.
    pub count: u64,
}

/// What went on, at the ends of equal intervals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// How far the points are apart, in ms.
    pub interval_ms: u64,
    /// From the start of the run to the freeze.
    pub points: Vec<Point>,
    /// When the lost were lost, a row for each cause.
    pub losses: Vec<LossTimes>,
}

/// One moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// From the start of the run, in ms.
    pub at_ms: u64,
    /// Attempts begun so far, as far as counters tell.
    pub attempted: u64,
    /// Established at that moment, as this end sees it: a half-open one is among them.
    pub established: u64,
    /// Failed or lost so far, as this end sees it.
    pub failed: u64,
    /// Connections in the accept queues of the listeners: the most since the last point, of those moments that were
    /// looked at.
    pub accept_queue_max: u64,
}

/// When the attempts of one cause were lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossTimes {
    /// The cause's slug.
    pub slug: String,
    /// How many in the interval that ends with each point, as many numbers as there are points.
    pub counts: Vec<u64>,
    /// How many nobody knows the time of.
    pub undated: u64,
}

/// The attempts of one address. What this end cannot tell by address is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The address, with its port if it is the server's.
    pub name: String,
    /// Attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempted: Option<u64>,
    /// Standing at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<u64>,
    /// Closed as the run asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<u64>,
    /// Lost.
    pub lost: u64,
    /// Recovered; counted as standing or closed besides.
    pub recovered: u64,
}
