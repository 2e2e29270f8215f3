//! How long the established attempts took, from the times that the client's workers noted.

use hdrhistogram::Histogram;

use crate::report::record::{Bucket, Latency, Percentile, Step};

/// Which percentiles a record tells.
const PERCENTS: [f64; 7] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99];
/// When Linux sends a SYN or a SYN-ACK again, in s after the first: the SYN-ACK after 1, 3, 7, 15, 31 and 63, the SYN
/// likewise or, from 6.5 on (`tcp_syn_linear_timeouts`), after 1, 2, 3, 4, 5, 7, 11, 19 and 35 (`tcp_retransmit_timer`).
const STEPS_S: [u64; 13] = [0, 1, 2, 3, 4, 5, 7, 11, 15, 19, 31, 35, 63];
/// A timer counts jiffies, and may have begun its first one late: so much earlier than its time it may fire.
const EARLY_US: u64 = 50_000;
/// Digits that a percentile keeps.
const DIGITS: u8 = 3;

/// The times of all attempts of a run, in constant memory.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// `None` until the first: it takes 200 KB.
    histogram: Option<Histogram<u64>>,
    sum_us: u128,
    min_us: u64,
    max_us: u64,
    /// By the power of 2 that is its upper end.
    buckets: [u64; 33],
    steps: [u64; STEPS_S.len()],
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            histogram: None,
            sum_us: 0,
            min_us: u64::MAX,
            max_us: 0,
            buckets: [0; 33],
            steps: [0; STEPS_S.len()],
        }
    }
}

impl Latencies {
    /// An attempt that was established after so many µs, the last try's `settle_us` among them: only within a try the kernel sends
    /// again.
    pub fn note(&mut self, us: u32, settle_us: u32) {
        let new = || Histogram::new_with_max(u32::MAX.into(), DIGITS).ok();
        if self.histogram.is_none() {
            self.histogram = new();
        }
        if let Some(histogram) = &mut self.histogram {
            // Any u32 is below its maximum.
            histogram.saturating_record(us.into());
        }
        let wide = u64::from(us);
        self.sum_us += u128::from(us);
        self.min_us = self.min_us.min(wide);
        self.max_us = self.max_us.max(wide);
        // The lowest n with us <= 2^n.
        let bucket = 32 - us.saturating_sub(1).leading_zeros();
        self.buckets[bucket as usize] += 1;
        let waited = |from: &u64| (from * 1_000_000).saturating_sub(EARLY_US) <= settle_us.into();
        let step = STEPS_S.partition_point(waited);
        self.steps[step - 1] += 1;
    }

    /// What a record tells of them; nothing without any.
    pub fn close(&self) -> Option<Latency> {
        let histogram = self.histogram.as_ref()?;
        let count: u64 = self.buckets.iter().sum();
        let percentiles = PERCENTS.iter().map(|percent| Percentile {
            percent: *percent,
            at_most_us: histogram
                .value_at_quantile(percent / 100.0)
                .clamp(self.min_us, self.max_us),
        });
        let filled = |count: &u64| *count > 0;
        let first = self.buckets.iter().position(filled)?;
        let last = self.buckets.iter().rposition(filled)?;
        let buckets = (first..=last).map(|power| Bucket {
            at_most_us: 1 << power,
            count: self.buckets[power],
        });
        let steps = STEPS_S.iter().zip(self.steps);
        let steps = steps.filter(|(_, count)| *count > 0);
        Some(Latency {
            count,
            min_us: self.min_us,
            mean_us: u64::try_from(self.sum_us / u128::from(count.max(1))).unwrap_or(u64::MAX),
            sum_us: u64::try_from(self.sum_us).unwrap_or(u64::MAX),
            max_us: self.max_us,
            percentiles: percentiles.collect(),
            buckets: buckets.collect(),
            steps: steps
                .map(|(&from_s, count)| Step { from_s, count })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_attempt_is_in_one_bucket_and_one_step() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.close(), None);
        let all = [
            0,
            1,
            2,
            3,
            64,
            65,
            949_999,
            950_000,
            1_000_000,
            2_949_999,
            3_000_000,
            u32::MAX,
        ];
        all.into_iter().for_each(|us| latencies.note(us, us));
        let latency = latencies.close().unwrap();
        assert_eq!(latency.count, all.len() as u64);
        assert_eq!((latency.min_us, latency.max_us), (0, u32::MAX.into()));
        let buckets: Vec<_> = (latency.buckets.iter().filter(|one| one.count > 0))
            .map(|one| (one.at_most_us, one.count))
            .collect();
        assert_eq!(
            buckets,
            [
                (1, 2),
                (2, 1),
                (4, 1),
                (64, 1),
                (128, 1),
                (1 << 20, 3),
                (1 << 22, 2),
                (1 << 32, 1)
            ]
        );
        let steps: Vec<_> = (latency.steps.iter())
            .map(|one| (one.from_s, one.count))
            .collect();
        assert_eq!(steps, [(0, 7), (1, 2), (2, 1), (3, 1), (63, 1)]);
    }

    #[test]
    fn percentiles_are_to_three_digits_and_within_what_was_seen() {
        let mut latencies = Latencies::default();
        (1..=10_000).for_each(|us| latencies.note(us * 100, us * 100));
        let latency = latencies.close().unwrap();
        assert_eq!(latency.mean_us, 500_050);
        for (found, wanted) in latency
            .percentiles
            .iter()
            .zip([500_000, 750_000, 900_000, 950_000])
        {
            assert!(
                found.at_most_us.abs_diff(wanted) <= wanted / 500,
                "{found:?}"
            );
        }
        assert!(
            latency
                .percentiles
                .iter()
                .all(|one| one.at_most_us <= latency.max_us)
        );
    }
}
