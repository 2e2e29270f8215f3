//! The client: shares the attempts out to workers, has a few of them dial at a time, and knows when the
//! last attempt has settled.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    ops::Range,
    os::fd::{AsFd, AsRawFd},
    sync::atomic::Ordering,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, bail};

use super::{
    aliases::Aliases,
    dial::DialConfig,
    outcome::{Outcome, Slab, Stage},
    stats::WorkerRow,
    supervisor::{Ended, Identity, Pool, Said, Worker, WorkerDeath},
    worker::{Role, command, event, now_ns},
};
use crate::options::ClientPlan;

mod gone;

/// How far a client has come, the attempts of workers that are gone included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// Attempts in all.
    pub planned: u64,
    /// Of these, begun.
    pub begun: u64,
    /// Under way.
    pub in_flight: u64,
    /// Established now.
    pub established: u64,
    /// Ended without a connection.
    pub failed: u64,
    /// Stood and were lost, those of a worker that died among them.
    pub lost: u64,
    /// Worker processes now.
    pub workers: u64,
}

/// Where a worker is with its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not told to begin.
    Waiting,
    Dialing,
    /// All begun, not all settled.
    Begun,
    Settled,
}

struct Share {
    attempts: Range<usize>,
    phase: Phase,
    frozen: bool,
}

/// A running client.
pub struct ClientRun {
    plan: ClientPlan,
    slab: Slab,
    pool: Pool,
    aliases: Option<Aliases>,
    /// By worker.
    shares: BTreeMap<u32, Share>,
    /// Shares that no worker has yet.
    queue: VecDeque<Range<usize>>,
    gone: Progress,
    /// At most this many workers dial at a time.
    dialers: usize,
    frozen: bool,
    /// Attempts whose worker there was no process for: fork() failed with EAGAIN.
    no_process: u64,
    started: (Instant, SystemTime, u64),
}

impl ClientRun {
    /// Adds missing addresses (`--dev`), starts the first workers, and lets them begin. With an error,
    /// nothing of it stays.
    pub async fn start(plan: ClientPlan, run_as: Option<Identity>) -> anyhow::Result<Self> {
        let aliases = match &plan.dev {
            Some(dev) => Some(Aliases::add(dev, plan.tuples.sources()).await?),
            None => None,
        };
        plan.check_sources()?;
        let slab = Slab::create(plan.tuples.len()).context("memory for the outcomes")?;
        let len = plan.tuples.len();
        let queue = (0..len)
            .step_by(plan.per_worker as usize)
            .map(|first| first..len.min(first + plan.per_worker as usize))
            .collect();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let mut client = Self {
            pool: Pool::new(plan.workers(), run_as)?,
            slab,
            aliases,
            shares: BTreeMap::new(),
            queue,
            gone: Progress::default(),
            dialers: cpus,
            frozen: false,
            no_process: 0,
            started: (Instant::now(), SystemTime::now(), now_ns()),
            plan,
        };
        client
            .pool
            .stats
            .common()
            .due_ns
            .store(client.started.2, Ordering::Relaxed);
        client.drive()?;
        Ok(client)
    }

    /// As it was validated.
    pub fn plan(&self) -> &ClientPlan {
        &self.plan
    }

    /// What became of each attempt; the index is that of [`ClientPlan::tuples`].
    pub fn slab(&self) -> &Slab {
        &self.slab
    }

    /// When the run began: the zero of the times in [`Outcome`]. The last is CLOCK_MONOTONIC in ns.
    pub fn started(&self) -> (Instant, SystemTime, u64) {
        self.started
    }

    /// Takes away at once what the run has added to the host, where nothing can be waited for.
    pub fn undo(&self) -> impl FnOnce() + Send + use<> {
        let undo = self.aliases.as_ref().map(Aliases::undo);
        move || {
            if let Some(undo) = undo {
                undo();
            }
        }
    }

    /// The workers that ended without being asked to.
    pub fn deaths(&self) -> &[WorkerDeath] {
        &self.pool.deaths
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress {
            planned: self.plan.tuples.len() as u64,
            workers: self.pool.workers.len() as u64,
            ..self.gone
        };
        for worker in self.pool.workers.values() {
            let stats = self.pool.stats.worker(worker.slot);
            progress.begun += stats.begun.get();
            progress.in_flight += stats.connecting.get();
            progress.established += stats.held.get();
            progress.failed += stats.failed.get();
            progress.lost += stats.lost.get();
        }
        progress
    }

    /// Each worker, in the order of their starts.
    pub fn worker_rows(&self) -> Vec<WorkerRow> {
        let row = |(id, worker): (&u32, &Worker)| {
            let stats = self.pool.stats.worker(worker.slot);
            WorkerRow {
                pid: worker.pid,
                doing: match self.shares.get(id).map(|share| share.phase) {
                    Some(Phase::Dialing) => "dials",
                    Some(Phase::Begun) => "settles",
                    Some(Phase::Settled) => "holds",
                    _ => "waits",
                },
                held: stats.held.get(),
                in_flight: stats.connecting.get(),
                lost: stats.failed.get() + stats.lost.get(),
            }
        };
        self.pool.workers.iter().map(row).collect()
    }

    /// Returns when every attempt has settled. Cancel-safe.
    pub async fn settled(&mut self) -> anyhow::Result<()> {
        while !self.queue.is_empty()
            || self
                .shares
                .values()
                .any(|share| share.phase != Phase::Settled)
        {
            let (id, said) = self.pool.next().await;
            self.heard(id, said)?;
            self.drive()?;
        }
        Ok(())
    }

    /// Supervises the workers for this long. Cancel-safe.
    pub async fn wait(&mut self, hold: Duration) -> anyhow::Result<()> {
        let end = tokio::time::sleep(hold);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                (id, said) = self.pool.next() => self.heard(id, said)?,
            }
            self.drive()?;
        }
    }

    /// Begins nothing any more: what is under way goes on.
    pub fn halt(&mut self) {
        self.frozen = true;
        for worker in self.pool.workers.values() {
            worker.tell(command::HALT);
        }
    }

    /// Stops all workers where they are: nothing begins any more, and no outcome changes after this has
    /// returned. The sockets stay open.
    pub async fn freeze(&mut self) -> anyhow::Result<()> {
        self.frozen = true;
        for worker in self.pool.workers.values() {
            worker.tell(command::FREEZE);
            worker.wake();
        }
        while self.shares.values().any(|share| !share.frozen) {
            let (id, said) = self.pool.next().await;
            self.heard(id, said)?;
        }
        Ok(())
    }

    /// Closes the connections as `--close` says, ends the workers, and takes the addresses back that it
    /// added.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.pool.end().await;
        match self.aliases.take() {
            Some(aliases) => aliases.remove().await,
            None => Ok(()),
        }
    }

    /// Keeps `dialers` workers dialing, and the next one started and waiting.
    fn drive(&mut self) -> anyhow::Result<()> {
        if self.frozen {
            return Ok(());
        }
        let count = |shares: &BTreeMap<u32, Share>, phase| {
            shares.values().filter(|share| share.phase == phase).count()
        };
        let mut free = self
            .dialers
            .saturating_sub(count(&self.shares, Phase::Dialing));
        for (id, share) in &mut self.shares {
            let worker = self.pool.workers.get(id).filter(|worker| worker.started);
            if let (true, Phase::Waiting, Some(worker)) = (free > 0, share.phase, worker) {
                worker.tell(command::GO);
                share.phase = Phase::Dialing;
                free -= 1;
            }
        }
        while count(&self.shares, Phase::Dialing) + count(&self.shares, Phase::Waiting)
            <= self.dialers
        {
            let Some(attempts) = self.queue.pop_front() else {
                break;
            };
            if let Err(error) = self.spawn(attempts.clone()) {
                let met = error.downcast_ref().and_then(io::Error::raw_os_error);
                match met {
                    Some(errno @ (libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN)) => {
                        self.cannot_start(attempts, errno);
                    }
                    _ => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn spawn(&mut self, attempts: Range<usize>) -> anyhow::Result<()> {
        let slot = self
            .pool
            .free_slot()
            .context("no slot for another worker")?;
        let plan = &self.plan;
        let role = Role::Client(DialConfig {
            slab_fd: self.slab.as_fd().as_raw_fd(),
            tuples: plan.tuples,
            target: plan.target,
            first: attempts.start,
            count: attempts.len(),
            epoch_ns: self.started.2,
            in_flight: plan.in_flight,
            rate: plan.rate,
            timeout_ns: u64::try_from(plan.timeout.as_nanos()).unwrap_or(u64::MAX),
            retry: plan.retry,
            close: plan.close,
        });
        let id = self.pool.spawn(slot, role, self.slab.as_fd())?;
        let share = Share {
            attempts,
            phase: Phase::Waiting,
            frozen: false,
        };
        self.shares.insert(id, share);
        Ok(())
    }

    fn heard(&mut self, id: u32, said: Said) -> anyhow::Result<()> {
        let share = self.shares.get_mut(&id);
        match (said, share) {
            (Said::Event(event::STARTED), _) => {
                if let Some(worker) = self.pool.workers.get_mut(&id) {
                    worker.started = true;
                }
            }
            (Said::Event(event::BEGUN), Some(share)) => share.phase = Phase::Begun,
            (Said::Event(event::SETTLED), Some(share)) => share.phase = Phase::Settled,
            (Said::Event(event::FROZEN), Some(share)) => share.frozen = true,
            (Said::Event(_), _) => {}
            (Said::Ended(ended), _) => self.died(id, ended)?,
        }
        Ok(())
    }

    /// What a dead worker had begun went with it; what it had not begun, another worker gets.
    fn died(&mut self, id: u32, ended: Ended) -> anyhow::Result<()> {
        let (Some(worker), Some(share)) =
            (self.pool.bury(id, ended, false), self.shares.remove(&id))
        else {
            return Ok(());
        };
        if !worker.started {
            // A process takes more files than a connection.
            if self.no_file()[1] > 0 {
                self.cannot_start(share.attempts, libc::ENFILE);
                return Ok(());
            }
            let any_started = self.pool.workers.values().any(|worker| worker.started);
            if !any_started && self.gone.begun == 0 {
                bail!("worker {} {ended} at its start", worker.pid);
            }
            self.abandon(share.attempts, self.now_ms());
            return Ok(());
        }
        let ended_ms = self.now_ms();
        let mut rest = share.attempts.end..share.attempts.end;
        for index in share.attempts.clone() {
            match self.slab.get(index).stage {
                Stage::Established | Stage::InFlight => self.lose(index, ended_ms),
                Stage::Lost => self.gone.lost += 1,
                // They are begun in order: so is everything after it.
                Stage::Planned => {
                    rest = index..share.attempts.end;
                    break;
                }
                _ => self.gone.failed += 1,
            }
        }
        let stats = self.pool.stats.worker(worker.slot);
        let places = stats.connecting.get() as i64;
        let in_flight = &self.pool.stats.common().in_flight;
        in_flight.fetch_sub(places, Ordering::Relaxed);
        self.gone.begun += (rest.start - share.attempts.start) as u64;
        stats.clear();
        if rest.start > share.attempts.start || share.phase == Phase::Waiting {
            if !rest.is_empty() {
                self.queue.push_front(rest);
            }
        } else {
            self.abandon(rest, ended_ms);
        }
        Ok(())
    }
}
