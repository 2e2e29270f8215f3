//! A client's worker: opens its share of the attempts in a bounded window, watches what it holds, and
//! records every end. One thread, one epoll, 4 bytes per connection besides the outcome.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    os::fd::{OwnedFd, RawFd},
    time::Duration,
};

use rustix::{event::epoll::EventFlags, io::Errno, net::sockopt};
use serde::{Deserialize, Serialize};

use super::{
    open::open,
    outcome::{Outcome, Slab, Stage},
    pace::Rate,
    stats::{Common, WorkerStats},
    tuples::Tuples,
    window::Window,
    worker::{COMMANDS, Epoll, command, event, now_ns, read_command, tell},
};
use crate::cli::Close;

mod orders;

/// Attempts begun before events get their turn.
const BATCH: usize = 64;
/// A failed attempt is tried again this much later.
const RETRY_NS: u64 = 200_000_000;

/// What a client's worker has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DialConfig {
    /// The inherited outcomes, one for each of `tuples`.
    pub(super) slab_fd: RawFd,
    pub(super) tuples: Tuples,
    pub(super) target: SocketAddr,
    /// Its share: the first attempt, and how many.
    pub(super) first: usize,
    pub(super) count: usize,
    /// The start of the run, CLOCK_MONOTONIC.
    pub(super) epoch_ns: u64,
    pub(super) in_flight: u32,
    pub(super) rate: Option<Rate>,
    pub(super) timeout_ns: u64,
    pub(super) retry: u32,
    pub(super) close: Close,
}

/// Runs until the supervisor ends it.
pub(super) fn run(
    config: &DialConfig,
    slab: &Slab,
    common: &Common,
    stats: &WorkerStats,
    epoll: Epoll,
) -> anyhow::Result<()> {
    tell(event::STARTED);
    loop {
        match read_command() {
            command::GO => break,
            command::FREEZE => tell(event::FROZEN),
            command::CLOSE => return Ok(()),
            _ => {}
        }
    }
    let mut worker = Dialer {
        config,
        slab,
        window: Window {
            common,
            stats,
            in_flight: config.in_flight,
            rate: config.rate,
        },
        stats,
        epoll,
        connections: Vec::with_capacity(config.count),
        fresh: 0,
        under_way: VecDeque::new(),
        again: VecDeque::new(),
        settled: 0,
        halted: false,
        now_ns: now_ns(),
    };
    worker.connections.resize_with(config.count, || None);
    worker.work()
}

struct Dialer<'a> {
    config: &'a DialConfig,
    slab: &'a Slab,
    window: Window<'a>,
    stats: &'a WorkerStats,
    epoll: Epoll,
    /// By number within the share.
    connections: Vec<Option<OwnedFd>>,
    /// The next attempt that was never begun.
    fresh: usize,
    /// Attempts under way and when they began, oldest first.
    under_way: VecDeque<(u32, u64)>,
    /// Attempts to be made again and when, soonest first.
    again: VecDeque<(u32, u64)>,
    settled: usize,
    /// Nothing is to begin any more.
    halted: bool,
    now_ns: u64,
}

/// Why no attempt may begin now.
enum Hold {
    /// Nothing to begin.
    Nothing,
    /// For this long.
    Wait(u64),
}

impl Dialer<'_> {
    fn work(&mut self) -> anyhow::Result<()> {
        let (mut told_begun, mut told_settled) = (false, false);
        loop {
            // First, because what is given up may have to be tried again, which decides how long to wait.
            self.give_up();
            let hold = (0..BATCH).find_map(|_| self.begin().err());
            if !told_begun && self.fresh == self.config.count {
                told_begun = true;
                tell(event::BEGUN);
            }
            if !told_settled && self.settled == self.config.count {
                told_settled = true;
                tell(event::SETTLED);
            }
            self.epoll.wait(self.patience(hold))?;
            self.now_ns = now_ns();
            if let (_, true) = self.attend_all()
                && !self.obey()
            {
                return Ok(());
            }
        }
    }

    /// How long nothing has to be done.
    fn patience(&self, hold: Option<Hold>) -> Option<Duration> {
        let begin = match hold {
            None => Some(0),
            Some(Hold::Wait(ns)) => Some(ns),
            Some(Hold::Nothing) => None,
        };
        let oldest = self.under_way.front().map(|&(_, began)| {
            began
                .saturating_add(self.config.timeout_ns)
                .saturating_sub(self.now_ns)
        });
        begin
            .into_iter()
            .chain(oldest)
            .min()
            .map(Duration::from_nanos)
    }

    /// All events of the last wait: how many were about connections, and whether there is a command.
    fn attend_all(&mut self) -> (usize, bool) {
        let (mut number, mut commands) = (0, 0);
        while let Some((data, flags)) = self.epoll.event(number) {
            number += 1;
            match data {
                COMMANDS => commands += 1,
                local => self.attend(local as u32, flags),
            }
        }
        (number - commands, commands > 0)
    }

    /// Begins the next attempt, or says why not.
    fn begin(&mut self) -> Result<(), Hold> {
        if self.halted {
            return Err(Hold::Nothing);
        }
        let again = self.again.front().copied();
        let (local, is_fresh) = if self.fresh < self.config.count {
            (self.fresh as u32, true)
        } else {
            let (local, due_ns) = again.ok_or(Hold::Nothing)?;
            match due_ns.saturating_sub(self.now_ns) {
                0 => (local, false),
                ns => return Err(Hold::Wait(ns)),
            }
        };
        self.window.enter(self.now_ns).map_err(Hold::Wait)?;
        if is_fresh {
            self.fresh += 1;
            self.stats.begun.up();
        } else {
            self.again.pop_front();
        }
        self.dial(local);
        Ok(())
    }

    /// One try of one attempt, up to where the kernel answers.
    fn dial(&mut self, local: u32) {
        let index = self.config.first + local as usize;
        let source = self.config.tuples.source(index);
        let (before, started_ms) = (self.slab.get(index), self.since_start_ms());
        let outcome = Outcome {
            stage: Stage::InFlight,
            tries: before.tries.saturating_add(1),
            port: source.port(),
            started_ms,
            first_ms: match before.tries {
                0 => started_ms,
                _ => before.first_ms,
            },
            ..Outcome::default()
        };
        self.slab.set(index, outcome);
        let began = self.now_ns;
        let tried = open(source, self.config.target);
        // The clock is read once per attempt: the end of one is the beginning of the next.
        self.now_ns = now_ns();
        let (socket, port, up) = match tried {
            Ok(opened) => opened,
            Err((stage, errno)) => {
                match errno {
                    Errno::MFILE if stage == Stage::Socket => self.stats.emfile.up(),
                    Errno::NFILE if stage == Stage::Socket => self.stats.enfile.up(),
                    _ => {}
                }
                return self.failed(local, outcome, began, stage, errno);
            }
        };
        let outcome = Outcome { port, ..outcome };
        let wanted = match up {
            true => EventFlags::RDHUP | EventFlags::ET,
            // Edge-triggered: once it stands it can be written to for good, and tells no more of it.
            false => EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET,
        };
        let watched = self.epoll.add(&socket, local.into(), wanted);
        if let Err(errno) = watched {
            self.stats.unwatched.up();
            if !up {
                return self.failed(local, outcome, began, Stage::Failed, errno);
            }
        }
        self.connections[local as usize] = Some(socket);
        if up {
            self.established(local, outcome, began);
        } else {
            self.slab.set(index, outcome);
            self.under_way.push_back((local, began));
        }
    }

    fn established(&mut self, local: u32, outcome: Outcome, began: u64) {
        let index = self.config.first + local as usize;
        let outcome = Outcome {
            stage: Stage::Established,
            settle_us: self.since_us(began),
            ..outcome
        };
        self.slab.set(index, outcome);
        self.stats.held.up();
        self.settled += 1;
        self.window.leave();
    }

    /// The end of a try without a connection. The socket, if there was one, is closed.
    fn failed(
        &mut self,
        local: u32,
        outcome: Outcome,
        began: u64,
        stage: Stage,
        errno: impl Into<Option<Errno>>,
    ) {
        let index = self.config.first + local as usize;
        let outcome = Outcome {
            stage,
            errno: errno.into().map_or(0, |errno| errno.raw_os_error() as u16),
            settle_us: self.since_us(began),
            ..outcome
        };
        self.slab.set(index, outcome);
        self.connections[local as usize] = None;
        if u32::from(outcome.tries) <= self.config.retry {
            self.again.push_back((local, self.now_ns + RETRY_NS));
        } else {
            self.settled += 1;
            self.stats.failed.up();
        }
        self.window.leave();
    }

    fn since_us(&self, began: u64) -> u32 {
        u32::try_from(self.now_ns.saturating_sub(began) / 1000).unwrap_or(u32::MAX)
    }

    fn since_start_ms(&self) -> u32 {
        (self.now_ns.saturating_sub(self.config.epoch_ns) / 1_000_000) as u32
    }

    /// The kernel has news of a connection: it stands, it failed, or it was lost.
    fn attend(&mut self, local: u32, flags: EventFlags) {
        let Some(Some(socket)) = self.connections.get(local as usize) else {
            return;
        };
        let index = self.config.first + local as usize;
        let outcome = self.slab.get(index);
        let error = if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            sockopt::socket_error(socket).ok().and_then(Result::err)
        } else {
            None
        };
        if outcome.stage == Stage::InFlight {
            // Near the front, because what began first mostly settles first.
            let position = self.under_way.iter().position(|&(other, _)| other == local);
            let entry = position.and_then(|position| self.under_way.remove(position));
            let began = entry.map_or(self.now_ns, |(_, began)| began);
            match error {
                // In SYN_SENT a reset means ECONNREFUSED: these two say that it had stood.
                None | Some(Errno::CONNRESET | Errno::PIPE) => {
                    self.established(local, outcome, began);
                }
                Some(errno) => {
                    return self.failed(local, outcome, began, Stage::Failed, errno);
                }
            }
        }
        if error.is_some() || flags.intersects(EventFlags::RDHUP | EventFlags::HUP) {
            self.lost(local, error);
        }
    }

    fn lost(&mut self, local: u32, error: Option<Errno>) {
        let index = self.config.first + local as usize;
        let outcome = Outcome {
            stage: Stage::Lost,
            errno: error.map_or(0, |errno| errno.raw_os_error() as u16),
            ended_ms: self.since_start_ms(),
            ..self.slab.get(index)
        };
        self.slab.set(index, outcome);
        self.connections[local as usize] = None;
        self.stats.held.down();
        self.stats.lost.up();
    }

    /// Ends the attempts that took longer than `--timeout`. What has happened already comes first: it may be their answers.
    fn give_up(&mut self) {
        let is_over = |began: u64| began.saturating_add(self.config.timeout_ns) <= self.now_ns;
        if !self
            .under_way
            .front()
            .is_some_and(|&(_, began)| is_over(began))
        {
            return;
        }
        self.take_in();
        while let Some(&(local, began)) = self.under_way.front() {
            if began.saturating_add(self.config.timeout_ns) > self.now_ns {
                return;
            }
            self.under_way.pop_front();
            let outcome = self.slab.get(self.config.first + local as usize);
            // The decision is the client's own: no errno, of which none is 0.
            self.failed(local, outcome, began, Stage::GaveUp, None);
        }
    }
}
