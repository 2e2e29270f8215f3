//! What the workers count, in a page that they share with their supervisor: it outlives a worker that is
//! killed, and reading it costs the workers nothing.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use super::shared::Shared;

/// A number that one process alone changes and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// One more. A plain load and store, because only one process writes.
    pub fn up(&self) {
        self.set(self.get() + 1);
    }

    /// One less, but never below 0.
    pub fn down(&self) {
        self.set(self.get().saturating_sub(1));
    }
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not there yet.
    #[default]
    Starting = 0,
    /// A server's worker that takes connections.
    Accepting = 1,
    /// A server's worker that has as many as it may or can have, and holds them.
    Full = 2,
    /// A server's worker that waits for the host to have file handles or memory again.
    Paused = 3,
}

/// One worker's counters.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct WorkerStats {
    state: Counter,
    /// Server: connections accepted.
    pub accepted: Counter,
    /// Server: connections held now. Client: connections established now.
    pub held: Counter,
    /// Server: ended by the peer's FIN.
    pub closed_fin: Counter,
    /// Server: ended by the peer's RST (or another error of the connection).
    pub closed_rst: Counter,
    /// accept4() or socket() said EMFILE.
    pub emfile: Counter,
    /// accept4() or socket() said ENFILE.
    pub enfile: Counter,
    /// How often epoll had no room to watch a connection: it is held, but its end goes unseen; a client's that is not up yet is
    /// given up.
    pub unwatched: Counter,
    /// Client: attempts begun for the first time.
    pub begun: Counter,
    /// Client: attempts under way.
    pub connecting: Counter,
    /// Client: attempts that ended without a connection, for good.
    pub failed: Counter,
    /// Client: connections that stood and were lost.
    pub lost: Counter,
}

impl WorkerStats {
    /// What it is doing.
    pub fn state(&self) -> State {
        match self.state.get() {
            1 => State::Accepting,
            2 => State::Full,
            3 => State::Paused,
            _ => State::Starting,
        }
    }

    /// Tells what it is doing.
    pub fn set_state(&self, state: State) {
        self.state.set(state as u64);
    }

    /// Back to zero, for the next worker in this slot.
    pub fn clear(&self) {
        let Self {
            state,
            accepted,
            held,
            closed_fin,
            closed_rst,
            emfile,
            enfile,
            unwatched,
            begun,
            connecting,
            failed,
            lost,
        } = self;
        for counter in [
            state, accepted, held, closed_fin, closed_rst, emfile, enfile, unwatched, begun,
            connecting, failed, lost,
        ] {
            counter.set(0);
        }
    }
}

/// A worker process, for people to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerRow {
    /// Its process id.
    pub pid: u32,
    /// What it is doing.
    pub doing: &'static str,
    /// Connections that it holds.
    pub held: u64,
    /// Attempts that it has under way.
    pub in_flight: u64,
    /// What it failed to open, and lost.
    pub lost: u64,
}

/// What the workers of a client share among themselves.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Common {
    /// Attempts under way, all workers together; see [`super::window`] for why it may be negative.
    pub in_flight: AtomicI64,
    /// When the next attempt is due, CLOCK_MONOTONIC in ns (see [`super::pace`]).
    pub due_ns: AtomicU64,
}

/// The shared page: [`Common`], then one [`WorkerStats`] for each slot.
#[derive(Debug)]
pub struct Stats {
    shared: Shared,
    slots: usize,
}

impl Stats {
    /// A page for `slots` workers, all zero.
    pub fn create(slots: usize) -> io::Result<Self> {
        let shared = Shared::create("c1m-stats", Self::bytes(slots))?;
        Ok(Self { shared, slots })
    }

    /// The page behind an inherited fd. Errors if it is not as large as `slots` workers need.
    pub fn open(fd: OwnedFd, slots: usize) -> io::Result<Self> {
        let shared = Shared::open(fd, Self::bytes(slots))?;
        Ok(Self { shared, slots })
    }

    fn bytes(slots: usize) -> usize {
        size_of::<Common>() + slots * size_of::<WorkerStats>()
    }

    /// How many workers it has room for.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// What the workers share among themselves.
    pub fn common(&self) -> &Common {
        // SAFETY: the mapping is page-aligned, at least this long and lives as long as `self`; every
        // process reads and writes it through atomics only.
        unsafe { &*self.shared.as_ptr().cast() }
    }

    /// The counters of the worker in `slot`.
    pub fn worker(&self, slot: usize) -> &WorkerStats {
        assert!(slot < self.slots, "worker {slot} of {}", self.slots);
        // SAFETY: as above; `Common` and `WorkerStats` have the same alignment.
        unsafe {
            let first = self.shared.as_ptr().add(size_of::<Common>());
            &*first.cast::<WorkerStats>().add(slot)
        }
    }
}

const _: () = assert!(size_of::<Common>().is_multiple_of(align_of::<WorkerStats>()));

impl AsFd for Stats {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn another_mapping_sees_each_worker_apart() {
        let stats = Stats::create(3).unwrap();
        let fd = || stats.as_fd().try_clone_to_owned().unwrap();
        let other = Stats::open(fd(), 3).unwrap();
        stats.worker(2).held.up();
        stats.worker(2).set_state(State::Full);
        stats.common().in_flight.store(7, Ordering::Relaxed);
        assert_eq!(other.worker(2).held.get(), 1);
        assert_eq!(other.worker(2).state(), State::Full);
        assert_eq!(other.worker(1).held.get(), 0);
        assert_eq!(other.common().in_flight.load(Ordering::Relaxed), 7);
        other.worker(2).clear();
        assert_eq!(stats.worker(2).held.get(), 0);
        assert!(Stats::open(fd(), 4).is_err());
    }
}
