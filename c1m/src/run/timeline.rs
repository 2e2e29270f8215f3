//! The time line: a look at the run every now and then, and no more points than a page can show.

use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior};

use crate::{
    ledger::detail::{Latencies, Samples},
    load::worker::now_ns,
    metrics::Metrics,
    report::record::Point,
    watch::{Watch, moment::Moment},
};

/// How often the metrics get new latencies.
const LATENCY_PERIOD: Duration = Duration::from_secs(5);
/// How far the points are apart at first.
const TICK_MS: u64 = 20;
/// It looks at least this often.
const TICK_MS_MAX: u64 = 1_000;
/// A record has at most this many points: when they are all taken, every second one goes, the rest are twice as far
/// apart, and so are its looks.
const POINTS_MAX: usize = 400;
/// On a slow machine looking takes no more than one part in so many of a run's time.
const LOOK_SHARE: u64 = 20;

/// The points so far.
pub(super) struct Sampler {
    epoch_ns: u64,
    ticks: Interval,
    /// When the present look began.
    begun: Instant,
    /// How long a look takes, averaged over the last ones.
    look_us: u64,
    points: Points,
    metrics: Option<Metrics>,
    /// When the metrics got the last latencies.
    latency_at: Option<Instant>,
}

impl Sampler {
    /// None yet, of a run that began at `epoch_ns`, CLOCK_MONOTONIC; `metrics` are told what it sees.
    pub(super) fn new(epoch_ns: u64, metrics: Option<Metrics>) -> Self {
        Self {
            epoch_ns,
            ticks: ticks(TICK_MS),
            begun: Instant::now(),
            look_us: 0,
            points: Points::default(),
            metrics,
            latency_at: None,
        }
    }

    /// The same, of a run that begins now.
    pub(super) fn from_now(metrics: Option<Metrics>) -> Self {
        Self::new(now_ns(), metrics)
    }

    /// Tells the metrics how long connecting took, now and then: `latencies` goes through all attempts.
    pub(super) fn note_latency(&mut self, latencies: impl FnOnce() -> Latencies) {
        let due = self
            .latency_at
            .is_none_or(|at| at.elapsed() >= LATENCY_PERIOD);
        if let (Some(metrics), true) = (&self.metrics, due) {
            metrics.latency(latencies().close());
            self.latency_at = Some(Instant::now());
        }
    }

    /// Returns when it is time to look. Cancel-safe.
    pub(super) async fn due(&mut self) {
        self.ticks.tick().await;
        self.begun = Instant::now();
    }

    /// What was seen.
    pub(super) fn note(&mut self, moment: &Moment, watch: &Watch) {
        self.tell(moment, watch);
        self.points.add(self.at_ms(), moment, false);
        let took_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.look_us = (self.look_us * 7).saturating_add(took_us) / 8;
        let period_ms = period_ms(self.points.interval_ms, self.look_us);
        if self.ticks.period() != Duration::from_millis(period_ms) {
            self.ticks = ticks(period_ms);
            self.ticks.reset();
        }
    }

    /// The same at the end of the run: the last point, whatever the interval.
    pub(super) fn end(&mut self, moment: &Moment, watch: &Watch) {
        self.tell(moment, watch);
        self.points.add(self.at_ms(), moment, true);
    }

    fn tell(&self, moment: &Moment, watch: &Watch) {
        if let Some(metrics) = &self.metrics {
            metrics.look(moment, watch.live_stats());
        }
    }

    fn at_ms(&self) -> u64 {
        now_ns().saturating_sub(self.epoch_ns) / 1_000_000
    }

    /// For the record.
    pub(super) fn samples(&self) -> Samples {
        Samples {
            epoch_ns: self.epoch_ns,
            interval_ms: self.points.interval_ms,
            points: self.points.list.clone(),
        }
    }
}

/// How far apart looks are that take `look_us` each, where points are to be `interval_ms` apart.
fn period_ms(interval_ms: u64, look_us: u64) -> u64 {
    let affordable_ms = look_us.saturating_mul(LOOK_SHARE) / 1_000;
    interval_ms.max(affordable_ms).min(TICK_MS_MAX)
}

fn ticks(period_ms: u64) -> Interval {
    let mut ticks = tokio::time::interval(Duration::from_millis(period_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Points at about equal distances.
struct Points {
    interval_ms: u64,
    list: Vec<Point>,
    /// The most that waited to be accepted since the last point.
    queue_max: u64,
}

impl Default for Points {
    fn default() -> Self {
        Self {
            interval_ms: TICK_MS,
            list: Vec::new(),
            queue_max: 0,
        }
    }
}

impl Points {
    fn add(&mut self, at_ms: u64, moment: &Moment, is_last: bool) {
        self.queue_max = self.queue_max.max(moment.accept_queue);
        let last_ms = self.list.last().map(|point| point.at_ms);
        // A tick that comes a little early must not cost a point.
        let due = last_ms.is_none_or(|last| at_ms + TICK_MS / 2 >= last + self.interval_ms);
        if !due && !is_last {
            return;
        }
        self.list.push(Point {
            at_ms,
            attempted: moment.attempted,
            established: moment.established,
            failed: moment.failed,
            accept_queue_max: std::mem::take(&mut self.queue_max),
        });
        if self.list.len() >= POINTS_MAX && !is_last {
            self.halve();
        }
    }

    /// Each second point stays, and has the longer queue of both.
    fn halve(&mut self) {
        self.interval_ms *= 2;
        self.list = self
            .list
            .chunks_exact(2)
            .map(|pair| Point {
                accept_queue_max: pair[0].accept_queue_max.max(pair[1].accept_queue_max),
                ..pair[1]
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_take_long_are_rare() {
        assert_eq!(period_ms(TICK_MS, 100), TICK_MS);
        assert_eq!(period_ms(TICK_MS, 5_000), 100);
        assert_eq!(period_ms(TICK_MS, u64::MAX), TICK_MS_MAX);
        assert_eq!(period_ms(320, 5_000), 320);
    }

    #[test]
    fn a_long_run_keeps_few_points_and_its_deepest_queue() {
        let mut points = Points::default();
        for tick in 0..10_000_u64 {
            let moment = Moment {
                attempted: tick,
                accept_queue: if tick == 4_321 { 77 } else { 3 },
                ..Moment::default()
            };
            points.add(tick * TICK_MS, &moment, tick == 9_999);
        }
        assert!(
            (POINTS_MAX / 2..=POINTS_MAX).contains(&points.list.len()),
            "{}",
            points.list.len()
        );
        assert_eq!(points.interval_ms, 32 * TICK_MS);
        assert!(points.list.is_sorted_by_key(|point| point.at_ms));
        assert_eq!(points.list.last().map(|point| point.attempted), Some(9_999));
        let deep = points
            .list
            .iter()
            .filter(|point| point.accept_queue_max == 77);
        assert_eq!(deep.count(), 1);
    }
}
