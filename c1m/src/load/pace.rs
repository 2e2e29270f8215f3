//! The rate of attempts: when the next one may begin. Pure: the caller brings the time.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// Who wakes up late may catch up on this much, and no more.
const BURST_NS: u64 = 5_000_000;

/// Attempts per second, all workers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    per_s: NonZeroU64,
}

/// Why a notation of a rate means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no rate: write attempts per second, 5000 or 5000/s")]
pub struct NoRate {
    text: String,
}

impl std::str::FromStr for Rate {
    type Err = NoRate;

    fn from_str(text: &str) -> Result<Self, NoRate> {
        let number = text.strip_suffix("/s").unwrap_or(text);
        match number.parse() {
            Ok(per_s) => Ok(Self { per_s }),
            Err(_) => Err(NoRate { text: text.into() }),
        }
    }
}

impl Rate {
    /// Asks for one attempt at `now_ns`, when the next was due at `due_ns`: either it may begin and the
    /// one after it is due at `Ok(…)`, or it has to wait for `Err(…)` ns.
    ///
    /// One word of state, so that processes can share it by compare-and-swap.
    pub fn take(self, due_ns: u64, now_ns: u64) -> Result<u64, u64> {
        let due_ns = due_ns.max(now_ns.saturating_sub(BURST_NS));
        match due_ns.checked_sub(now_ns) {
            None | Some(0) => Ok(due_ns + 1_000_000_000 / self.per_s),
            Some(wait_ns) => Err(wait_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn notations() {
        assert_eq!("5000".parse::<Rate>(), "5000/s".parse());
        for text in ["", "0", "-1", "5k", "5/m", "1.5"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_after_the_other() {
        let rate: Rate = "1000/s".parse().unwrap();
        let start = 7_000_000_000;
        let due = rate.take(start, start).unwrap();
        assert_eq!(due, start + 1_000_000);
        assert_eq!(rate.take(due, start + 400_000), Err(600_000));
        assert_eq!(rate.take(due, due), Ok(start + 2_000_000));
    }

    #[test]
    fn a_late_one_catches_up_on_five_milliseconds_only() {
        let rate: Rate = "1000/s".parse().unwrap();
        let now = 60_000_000_000;
        let (mut due, mut begun) = (1_000_000_000, 0);
        while let Ok(next) = rate.take(due, now) {
            (due, begun) = (next, begun + 1);
        }
        assert_eq!(begun, 6);
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate(per_s in 1u64..200_000, steps in prop::collection::vec(0u64..20_000_000, 1..200)) {
            let rate = Rate { per_s: per_s.try_into().unwrap() };
            let start = 1_000_000_000_000;
            let (mut now, mut due, mut begun) = (start, start, 0u64);
            for step in steps {
                now += step;
                while let Ok(next) = rate.take(due, now) {
                    (due, begun) = (next, begun + 1);
                }
                let allowed = (now - start) / (1_000_000_000 / per_s) + 1;
                prop_assert!(begun <= allowed, "{} of {}", begun, allowed);
            }
        }
    }
}
