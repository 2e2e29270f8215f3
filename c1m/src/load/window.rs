//! `--in-flight` and `--rate`, kept by all workers of a client together in the memory that they share.

use std::sync::atomic::Ordering;

use super::{
    pace::Rate,
    stats::{Common, WorkerStats},
};

/// How long to wait while other workers have the whole window: nobody tells when it has room again.
const WAIT_NS: u64 = 2_000_000;

/// A worker's way into the window.
pub(super) struct Window<'a> {
    pub(super) common: &'a Common,
    pub(super) stats: &'a WorkerStats,
    /// Attempts under way at a time.
    pub(super) in_flight: u32,
    pub(super) rate: Option<Rate>,
}

impl Window<'_> {
    /// Takes a place for one attempt, or says how many ns to wait before asking again.
    pub(super) fn enter(&self, now_ns: u64) -> Result<(), u64> {
        // The worker's own count goes up first and down last. If it is killed in between, the supervisor
        // gives back one too many: the sum may become negative, but the window never closes for good.
        self.stats.connecting.up();
        let others = self.common.in_flight.fetch_add(1, Ordering::Relaxed);
        let admitted = if others < i64::from(self.in_flight) {
            self.take_turn(now_ns)
        } else {
            Err(WAIT_NS)
        };
        if admitted.is_err() {
            self.leave();
        }
        admitted
    }

    /// Gives the place back.
    pub(super) fn leave(&self) {
        self.common.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.stats.connecting.down();
    }

    fn take_turn(&self, now_ns: u64) -> Result<(), u64> {
        let Some(rate) = self.rate else {
            return Ok(());
        };
        let due = &self.common.due_ns;
        let mut due_ns = due.load(Ordering::Relaxed);
        loop {
            let next = rate.take(due_ns, now_ns)?;
            match due.compare_exchange_weak(due_ns, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => due_ns = changed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::load::stats::Stats;

    #[test]
    fn all_workers_share_the_window_and_one_given_back_too_many_does_not_close_it() {
        let stats = Stats::create(2).unwrap();
        let of = |slot| Window {
            common: stats.common(),
            stats: stats.worker(slot),
            in_flight: 2,
            rate: None,
        };
        let (one, other) = (of(0), of(1));
        assert_eq!([one.enter(0), other.enter(0)], [Ok(()), Ok(())]);
        assert_eq!([one.enter(0), other.enter(0)], [Err(WAIT_NS), Err(WAIT_NS)]);
        one.leave();
        assert_eq!(other.enter(0), Ok(()));
        assert_eq!(stats.worker(1).connecting.get(), 2);
        // As after the death of a worker that was between its two counts.
        stats.common().in_flight.fetch_sub(1, Ordering::Relaxed);
        other.leave();
        other.leave();
        assert_eq!(stats.common().in_flight.load(Ordering::Relaxed), -1);
        assert_eq!(one.enter(0), Ok(()));
    }

    #[test]
    fn waiting_for_a_turn_takes_no_place() {
        let stats = Stats::create(1).unwrap();
        let window = Window {
            common: stats.common(),
            stats: stats.worker(0),
            in_flight: 9,
            rate: Some("1000".parse().unwrap()),
        };
        let now = 1_000_000_000;
        stats.common().due_ns.store(now, Ordering::Relaxed);
        assert_eq!(window.enter(now), Ok(()));
        assert_eq!(window.enter(now), Err(1_000_000));
        assert_eq!(stats.common().in_flight.load(Ordering::Relaxed), 1);
    }
}
