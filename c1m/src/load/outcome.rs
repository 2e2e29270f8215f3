//! What became of each attempt, as the client's workers record it: a slab in shared memory, so that it
//! outlives a worker that is killed.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::shared::Shared;

/// How far an attempt came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Stage {
    /// Not tried yet: it counts as attempted only from [`Stage::Socket`] on.
    #[default]
    Planned = 0,
    /// socket() failed.
    Socket = 1,
    /// bind() failed.
    Bind = 2,
    /// connect() failed at once.
    Connect = 3,
    /// connect() is under way.
    InFlight = 4,
    /// connect() failed later, with the errno of SO_ERROR.
    Failed = 5,
    /// The client's own timeout ended it in SYN_SENT.
    GaveUp = 6,
    /// It stands, as far as the client knows.
    Established = 7,
    /// It stood and was lost: errno, or 0 for the peer's FIN.
    Lost = 8,
    /// It stood and was closed as the run asked.
    Closed = 9,
    /// It stood or was under way when the client's own worker died; its supervisor wrote this.
    WorkerDied = 10,
    /// No worker could be started for it; its supervisor wrote this.
    Unstarted = 11,
}

impl Stage {
    /// All, by their numbers.
    pub const ALL: [Self; 12] = {
        use Stage::*;
        [
            Planned,
            Socket,
            Bind,
            Connect,
            InFlight,
            Failed,
            GaveUp,
            Established,
            Lost,
            Closed,
            WorkerDied,
            Unstarted,
        ]
    };

    /// From its number; anything unknown reads as `Planned` (the slab is shared memory).
    pub fn from_u8(stage: u8) -> Self {
        let known = Self::ALL.get(usize::from(stage));
        known.copied().unwrap_or_default()
    }
}

/// One attempt's outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How far it came.
    pub stage: Stage,
    /// How often it was tried: 1, plus `--retry`.
    pub tries: u8,
    /// The errno of the failure, 0 for none.
    pub errno: u16,
    /// The source port in use; 0 while the kernel has not chosen one.
    pub port: u16,
    /// When the last try began, from the start of the run, in ms.
    pub started_ms: u32,
    /// How long the last try took to settle, in µs.
    pub settle_us: u32,
    /// When an established connection ended, from the start of the run, in ms.
    pub ended_ms: u32,
    /// When the first try began, from the start of the run, in ms.
    pub first_ms: u32,
}

impl Outcome {
    /// Whether it ever was established, as far as the client knows.
    pub fn is_established(&self) -> bool {
        match self.stage {
            Stage::Established | Stage::Lost | Stage::Closed => true,
            // One that was under way had not settled.
            Stage::WorkerDied => self.settle_us > 0,
            _ => false,
        }
    }

    /// How long it took from its first try to its last one's end, in µs; at most what the type holds.
    pub fn connect_us(&self) -> u32 {
        let tried_ms = self.started_ms.saturating_sub(self.first_ms);
        tried_ms.saturating_mul(1000).saturating_add(self.settle_us)
    }
}

/// How fast the attempts became established.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speed {
    /// How many ever were established.
    pub established: u64,
    /// When the first attempt began, and when the last one settled, in µs; `None` without any.
    span_us: Option<(u64, u64)>,
}

impl Speed {
    /// An attempt that was tried.
    pub fn note(&mut self, outcome: &Outcome) {
        self.established += u64::from(outcome.is_established());
        let began_us = u64::from(outcome.first_ms) * 1000;
        let settled_us = u64::from(outcome.started_ms) * 1000 + u64::from(outcome.settle_us);
        let (first_us, last_us) = self.span_us.unwrap_or((began_us, settled_us));
        self.span_us = Some((first_us.min(began_us), last_us.max(settled_us)));
    }

    /// When the last one settled, from the start of the run; 0 without any.
    pub fn settled(&self) -> Duration {
        Duration::from_micros(self.span_us.unwrap_or_default().1)
    }

    /// From the beginning of the first attempt to the moment when the last one settled, in s; 0 without any.
    pub fn establish_s(&self) -> f64 {
        let (first_us, last_us) = self.span_us.unwrap_or_default();
        (last_us - first_us) as f64 / 1e6
    }
}

const WORDS: usize = 3;

/// All outcomes of a run, in shared memory (a memfd).
#[derive(Debug)]
pub struct Slab {
    shared: Shared,
    len: usize,
}

impl Slab {
    /// Room for `len` attempts, all [`Stage::Planned`]. Untouched pages take no memory.
    pub fn create(len: usize) -> io::Result<Self> {
        let shared = Shared::create("c1m-outcomes", Self::bytes(len))?;
        Ok(Self { shared, len })
    }

    /// The slab behind an inherited fd. Errors if it is not as large as `len` attempts need.
    pub fn open(fd: OwnedFd, len: usize) -> io::Result<Self> {
        let shared = Shared::open(fd, Self::bytes(len))?;
        Ok(Self { shared, len })
    }

    fn bytes(len: usize) -> usize {
        len.max(1) * WORDS * size_of::<AtomicU64>()
    }

    /// How many attempts it has room for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has room for none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn words(&self, index: usize) -> &[AtomicU64; WORDS] {
        assert!(index < self.len, "attempt {index} of {}", self.len);
        // SAFETY: the mapping is page-aligned, `bytes(len)` long and lives as long as `self`; every
        // process reads and writes it through atomics only.
        unsafe { &*self.shared.as_ptr().cast::<[AtomicU64; WORDS]>().add(index) }
    }

    /// What is known of attempt `index`.
    pub fn get(&self, index: usize) -> Outcome {
        let [a, b, c] = self
            .words(index)
            .each_ref()
            .map(|word| word.load(Ordering::Acquire));
        Outcome {
            stage: Stage::from_u8(a as u8),
            tries: (a >> 8) as u8,
            errno: (a >> 16) as u16,
            port: (a >> 32) as u16,
            started_ms: b as u32,
            settle_us: (b >> 32) as u32,
            ended_ms: c as u32,
            first_ms: (c >> 32) as u32,
        }
    }

    /// Records what became of attempt `index`; one worker alone writes each attempt.
    pub fn set(&self, index: usize, outcome: Outcome) {
        let Outcome {
            stage,
            tries,
            errno,
            port,
            started_ms,
            settle_us,
            ended_ms,
            first_ms,
        } = outcome;
        let [a, b, c] = self.words(index);
        c.store(
            u64::from(ended_ms) | u64::from(first_ms) << 32,
            Ordering::Relaxed,
        );
        b.store(
            u64::from(started_ms) | u64::from(settle_us) << 32,
            Ordering::Relaxed,
        );
        let first =
            stage as u64 | u64::from(tries) << 8 | u64::from(errno) << 16 | u64::from(port) << 32;
        a.store(first, Ordering::Release);
    }
}

impl AsFd for Slab {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_slab_gives_back_what_was_set_through_another_mapping() {
        let slab = Slab::create(3).unwrap();
        let set = Outcome {
            stage: Stage::Failed,
            tries: 2,
            errno: 111,
            port: 65_535,
            started_ms: u32::MAX,
            settle_us: 7,
            ended_ms: 9,
            first_ms: 11,
        };
        slab.set(2, set);
        let other = Slab::open(slab.as_fd().try_clone_to_owned().unwrap(), 3).unwrap();
        assert_eq!(other.get(2), set);
        assert_eq!(other.get(0), Outcome::default());
        assert!(Slab::open(slab.as_fd().try_clone_to_owned().unwrap(), 4).is_err());
    }

    #[test]
    fn speed_spans_from_the_first_begun_to_the_last_settled() {
        let mut speed = Speed::default();
        assert_eq!(speed.establish_s(), 0.0);
        for (stage, first_ms, started_ms, settle_us) in [
            (Stage::Established, 2_000, 2_000, 100_000),
            (Stage::Failed, 1_000, 1_000, 3_000_000),
            (Stage::Closed, 3_000, 3_000, 500_000),
            (Stage::WorkerDied, 3_000, 3_000, 1),
            (Stage::WorkerDied, 3_000, 3_000, 0),
        ] {
            speed.note(&Outcome {
                stage,
                first_ms,
                started_ms,
                settle_us,
                ..Outcome::default()
            });
        }
        assert_eq!(speed.established, 3);
        assert_eq!(speed.establish_s(), 3.0);
        let again = Outcome {
            stage: Stage::Established,
            started_ms: 7_000,
            settle_us: 1_000,
            first_ms: 500,
            ..Outcome::default()
        };
        assert_eq!(again.connect_us(), 6_501_000);
        speed.note(&again);
        assert_eq!(speed.establish_s(), 6.501);
    }
}
