//! What the processes share: a page of counters, one cache line for each of them that writes.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// How many processes can count.
const SLOTS: usize = 1024;

/// One process's counts: it alone writes there.
#[repr(C, align(128))]
pub(crate) struct Slot {
    accepted: AtomicU64,
    connected: AtomicU64,
    failed: AtomicU64,
}

impl Slot {
    /// One more was accepted; likewise below.
    pub(crate) fn accepted(&self) {
        up(&self.accepted);
    }

    pub(crate) fn connected(&self) {
        up(&self.connected);
    }

    pub(crate) fn failed(&self) {
        up(&self.failed);
    }
}

/// A plain load and store: nobody else writes.
fn up(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

#[repr(C, align(128))]
struct Shared {
    phase: AtomicU32,
    /// Slots that are taken.
    taken: AtomicUsize,
    /// Turns of each end that are over.
    turns: [AtomicUsize; 2],
    slots: [Slot; SLOTS],
}

/// One end of the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Accept,
    Dial,
}

const WAIT: u32 = 0;
const GO: u32 = 1;
const STOP: u32 = 2;

/// The shared page.
pub(crate) struct Tally(&'static Shared);

impl Tally {
    pub(crate) fn new() -> Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at a place of the kernel's choice; children share it.
        let page = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                size_of::<Shared>(),
                access,
                MapFlags::SHARED,
            )
        };
        let page = page.context("no memory to count in")?;
        // SAFETY: page-aligned, long enough, zeroed, only atomics inside, and never unmapped.
        Ok(Self(unsafe { &*page.cast() }))
    }

    fn shared(&self) -> &Shared {
        self.0
    }

    /// A slot for the calling process.
    pub(crate) fn slot(&self) -> &Slot {
        let slot = self.shared().taken.fetch_add(1, Ordering::Relaxed);
        &self.shared().slots[slot % SLOTS]
    }

    /// Lets everybody begin.
    pub(crate) fn go(&self) -> Instant {
        let begun = Instant::now();
        self.shared().phase.store(GO, Ordering::Release);
        begun
    }

    /// Tells everybody to end.
    pub(crate) fn stop(&self) {
        self.shared().phase.store(STOP, Ordering::Release);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.shared().phase.load(Ordering::Acquire) == STOP
    }

    /// Waits for the beginning.
    pub(crate) fn wait(&self) {
        while self.shared().phase.load(Ordering::Acquire) == WAIT {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until fewer than `at_a_time` of the turns before this one are under way; 0 for no limit.
    pub(crate) fn wait_for(&self, end: End, turn: usize, at_a_time: usize) {
        let over = &self.shared().turns[end as usize];
        while at_a_time > 0 && turn >= over.load(Ordering::Acquire) + at_a_time {
            if self.is_stopped() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// A turn is over.
    pub(crate) fn end_turn(&self, end: End) {
        self.shared().turns[end as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// Holds what it has until the end.
    pub(crate) fn hold(&self) {
        while !self.is_stopped() {
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn sum(&self, count: impl Fn(&Slot) -> &AtomicU64) -> usize {
        let slots = self.shared().slots.iter();
        slots
            .map(|slot| count(slot).load(Ordering::Relaxed) as usize)
            .sum()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.sum(|slot| &slot.accepted)
    }

    pub(crate) fn connected(&self) -> usize {
        self.sum(|slot| &slot.connected)
    }

    pub(crate) fn failed(&self) -> usize {
        self.sum(|slot| &slot.failed)
    }

    /// Waits until all of `connections` have ended one way or the other, or nothing moves any more: when the last moved.
    pub(crate) fn settle(&self, connections: usize, stalled: Duration) -> Instant {
        let (mut seen, mut moved) = (usize::MAX, Instant::now());
        loop {
            let (connected, accepted) = (self.connected(), self.accepted());
            let settled = connected + self.failed();
            if settled + accepted != seen {
                (seen, moved) = (settled + accepted, Instant::now());
            }
            if (settled == connections && accepted >= connected) || moved.elapsed() > stalled {
                return moved;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}
