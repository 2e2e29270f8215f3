//! A server's worker: accepts, holds, and lets go. One thread, one epoll, 4 bytes per connection.

use std::{
    os::fd::{AsRawFd, OwnedFd, RawFd},
    time::Duration,
};

use rustix::{event::epoll::EventFlags, io::Errno, net::SocketFlags};
use serde::{Deserialize, Serialize};

use super::{
    echo::{self, Echo, Next},
    stats::{State, WorkerStats},
    worker::{COMMANDS, Epoll, LISTENER, command, event, now_ns, read_command, tell},
};

/// Connections accepted before other events get their turn.
const BATCH: usize = 256;
/// How long to wait after ENFILE, ENOMEM or ENOBUFS: nobody tells when the host has room again.
const PAUSE_NS: u64 = 200_000_000;

/// An accept queue that has room for what comes while other programs of this CPU have their turn, 3 ms each.
const PATIENT_BACKLOG: u32 = 1024;

/// What a server's worker has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AcceptConfig {
    /// The inherited listener.
    pub(super) listener_fd: RawFd,
    /// Accept no more than this many at a time; `None`: until EMFILE.
    pub(super) limit: Option<u32>,
    /// Send back what is received.
    pub(super) echo: bool,
    /// Length of the accept queue.
    pub(super) backlog: u32,
}

/// Runs until the supervisor ends it.
pub(super) fn run(
    config: &AcceptConfig,
    listener: OwnedFd,
    stats: &WorkerStats,
    epoll: Epoll,
    room: u64,
) -> anyhow::Result<()> {
    let limit = config.limit.map_or(u64::MAX, u64::from);
    let mut worker = Acceptor {
        listener,
        stats,
        epoll,
        connections: Vec::new(),
        limit,
        crowded: limit.min(room).div_ceil(2),
        tell_at: limit.min(room).div_ceil(2),
        resume_ns: 0,
        echo: config.echo.then(Echo::default),
    };
    if config.backlog >= PATIENT_BACKLOG {
        be_patient();
    }
    worker.resume();
    tell(event::STARTED);
    worker.work()
}

/// A connection that comes no longer takes the CPU from whoever has it (`check_preempt_wakeup_fair`), who is often the one that
/// opens the next: the worker takes what has come at its turn, a queue at a time instead of one by one.
fn be_patient() {
    let priority = libc::sched_param { sched_priority: 0 };
    // Without it all goes as before, only slower.
    // SAFETY: the parameters outlive the call; 0 is this process.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const priority) };
}

struct Acceptor<'a> {
    listener: OwnedFd,
    stats: &'a WorkerStats,
    epoll: Epoll,
    /// By fd number.
    connections: Vec<Option<OwnedFd>>,
    limit: u64,
    /// From this many on, half of what it can hold, it tells that it fills up: another one has to run
    /// before it is full.
    crowded: u64,
    /// When it tells again: how soon the other one is needed depends on what the others hold.
    tell_at: u64,
    /// When [`State::Paused`] ends.
    resume_ns: u64,
    echo: Option<Echo>,
}

impl Acceptor<'_> {
    fn work(&mut self) -> anyhow::Result<()> {
        loop {
            let pause = (self.stats.state() == State::Paused)
                .then(|| Duration::from_nanos(self.resume_ns.saturating_sub(now_ns())));
            self.epoll.wait(pause)?;
            let mut number = 0;
            while let Some((data, flags)) = self.epoll.event(number) {
                number += 1;
                match data {
                    COMMANDS => {
                        if !self.obey() {
                            return Ok(());
                        }
                    }
                    LISTENER => self.accept(),
                    fd => self.attend(fd as usize, flags),
                }
            }
            if self.stats.state() == State::Paused && now_ns() >= self.resume_ns {
                self.resume();
            }
        }
    }

    /// Whether to go on.
    fn obey(&mut self) -> bool {
        match read_command() {
            command::LOOK => {
                self.accept();
                true
            }
            command::RETIRE => {
                // With a listener of its own, connections may wait in its queue.
                self.accept();
                let empty = self.stats.held.get() == 0;
                if !empty {
                    tell(event::KEPT);
                }
                !empty
            }
            command => command != command::CLOSE,
        }
    }

    fn accept(&mut self) {
        if self.stats.state() != State::Accepting {
            return;
        }
        for _ in 0..BATCH {
            if self.stats.held.get() >= self.limit {
                return self.stop(State::Full);
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(connection) => self.hold(connection),
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE) => {
                    self.stats.emfile.up();
                    return self.stop(State::Full);
                }
                Err(Errno::NFILE) => {
                    self.stats.enfile.up();
                    return self.stop(State::Paused);
                }
                // What accept(2) says of the connection alone: it is gone, go on with the next.
                Err(
                    Errno::CONNABORTED
                    | Errno::INTR
                    | Errno::PROTO
                    | Errno::NETDOWN
                    | Errno::HOSTDOWN
                    | Errno::NOPROTOOPT
                    | Errno::NONET
                    | Errno::HOSTUNREACH
                    | Errno::NETUNREACH
                    | Errno::OPNOTSUPP
                    | Errno::PERM,
                ) => {}
                // ENOMEM, ENOBUFS and what nobody foresaw: neither exit nor spin.
                Err(_) => return self.stop(State::Paused),
            }
        }
    }

    fn hold(&mut self, connection: OwnedFd) {
        let fd = connection.as_raw_fd();
        let slot = fd as usize;
        self.stats.held.up();
        self.stats.accepted.up();
        let wanted = match self.echo {
            Some(_) => echo::IDLE,
            None => EventFlags::RDHUP | EventFlags::ET,
        };
        if self.epoll.add(&connection, slot as u64, wanted).is_err() {
            self.stats.unwatched.up();
        }
        if self.connections.len() <= slot {
            self.connections.resize_with(slot + 1, || None);
        }
        self.connections[slot] = Some(connection);
        if self.stats.held.get() >= self.tell_at {
            self.tell_at = self.stats.held.get() + (self.crowded / 4).max(1);
            tell(event::CROWDED);
        }
    }

    /// Something happened to a connection: its end, or data for the echo.
    fn attend(&mut self, slot: usize, flags: EventFlags) {
        let Some(Some(connection)) = self.connections.get(slot) else {
            return;
        };
        let reset = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let mut over = reset || flags.contains(EventFlags::RDHUP);
        if let (Some(echo), false) = (&mut self.echo, reset) {
            over = match echo.attend(connection) {
                Next::Over => true,
                Next::Same => false,
                Next::Watch(wanted) => {
                    let fd = connection.as_raw_fd() as u64;
                    self.epoll.modify(connection, fd, wanted).is_err()
                }
            };
        }
        if !over {
            return;
        }
        if let Some(echo) = &mut self.echo {
            echo.forget(slot as RawFd);
        }
        self.connections[slot] = None;
        self.stats.held.down();
        if reset {
            self.stats.closed_rst.up();
        } else {
            self.stats.closed_fin.up();
        }
        if self.stats.held.get() < self.crowded / 2 {
            self.tell_at = self.crowded;
        }
        if self.stats.state() == State::Full {
            self.resume();
        }
    }

    /// Takes the listener up. Only one of the workers that listen is woken for a connection; adding it
    /// brings what already waits.
    fn resume(&mut self) {
        let wanted = EventFlags::IN | EventFlags::EXCLUSIVE;
        match self.epoll.add(&self.listener, LISTENER, wanted) {
            Ok(()) => self.stats.set_state(State::Accepting),
            Err(_) => self.pause(),
        }
    }

    /// Takes the listener out of the epoll, so that connections that wait there make no noise here.
    fn stop(&mut self, state: State) {
        // It is there unless this worker already stopped, and then there is nothing to do.
        let _ = self.epoll.delete(&self.listener);
        match state {
            State::Paused => self.pause(),
            state => self.stats.set_state(state),
        }
        tell(event::STOPPED);
    }

    fn pause(&mut self) {
        self.resume_ns = now_ns() + PAUSE_NS;
        self.stats.set_state(State::Paused);
    }
}
