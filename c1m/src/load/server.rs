//! The server: one listening socket (or one per worker), and workers that come and go with the demand.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::{
    accept::AcceptConfig,
    stats::{State, WorkerRow, WorkerStats},
    supervisor::{Ended, Identity, Pool, Said, Worker, WorkerDeath},
    worker::{BASE_FDS, Role, command, event},
};
use crate::{cli::Listeners, options::ServerPlan, stderr::say};

/// What a server's workers have counted together, the gone ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ServerTotals {
    /// Worker processes now.
    pub workers: u64,
    /// Of these, at their limit: they hold, and accept no more.
    pub full: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections held now.
    pub held: u64,
    /// Ended by the peer's FIN.
    pub closed_fin: u64,
    /// Ended by the peer's RST.
    pub closed_rst: u64,
    /// Gone with workers that died.
    pub died: u64,
    /// accept4() said EMFILE.
    pub emfile: u64,
    /// accept4() said ENFILE.
    pub enfile: u64,
    /// Held, but not watched: epoll had no room (fs.epoll.max_user_watches).
    pub unwatched: u64,
}

impl ServerTotals {
    fn add(&mut self, stats: &WorkerStats) {
        self.accepted += stats.accepted.get();
        self.closed_fin += stats.closed_fin.get();
        self.closed_rst += stats.closed_rst.get();
        self.emfile += stats.emfile.get();
        self.enfile += stats.enfile.get();
        self.unwatched += stats.unwatched.get();
    }
}

/// How long after a worker could not be started another one is tried.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A running server.
pub struct ServerRun {
    plan: ServerPlan,
    pool: Pool,
    /// The shared listener, or with `--listeners reuseport` the one that keeps the port.
    socket: OwnedFd,
    address: SocketAddr,
    /// What workers counted that are gone.
    gone: ServerTotals,
    /// By worker: since when it is empty, and whether it has been asked to retire.
    empty: std::collections::BTreeMap<u32, (Instant, bool)>,
    /// How many workers have died and were not replaced yet.
    to_replace: usize,
    /// No worker is started before this time.
    not_before: Instant,
}

impl ServerRun {
    /// Listens and starts the first worker; returns when it accepts.
    pub async fn start(plan: ServerPlan, run_as: Option<Identity>) -> anyhow::Result<Self> {
        let shared = plan.listeners == Listeners::Shared;
        let socket = bind(plan.listen, !shared)?;
        if shared {
            listen(&socket, plan.backlog)?;
        }
        let address = rustix::net::getsockname(&socket)?.try_into()?;
        let pool = Pool::new(plan.workers_max as usize, run_as)?;
        let mut server = Self {
            plan,
            pool,
            socket,
            address,
            gone: ServerTotals::default(),
            empty: Default::default(),
            to_replace: 0,
            not_before: Instant::now(),
        };
        let first = server.spawn()?;
        loop {
            match server.pool.next().await {
                (_, Said::Event(event::STARTED)) => break,
                (_, Said::Ended(ended)) => anyhow::bail!("the first worker {ended} at its start"),
                _ => {}
            }
        }
        server.started(first);
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As it was validated.
    pub fn plan(&self) -> &ServerPlan {
        &self.plan
    }

    /// Starts, replaces and retires workers, until it is cancelled. Cancel-safe. An error ends it only
    /// if nothing can be supervised any more.
    pub async fn supervise(&mut self) -> anyhow::Result<()> {
        let period =
            (self.plan.retire_after / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                (id, said) = self.pool.next() => self.heard(id, said),
                _ = tick.tick() => self.retire(),
            }
            self.grow();
        }
    }

    fn heard(&mut self, id: u32, said: Said) {
        match said {
            Said::Event(event::STARTED) => self.started(id),
            // What it left in the queue woke nobody else.
            Said::Event(event::STOPPED) => self.look(),
            Said::Event(event::KEPT) => {
                self.empty.remove(&id);
            }
            Said::Event(_) => {}
            Said::Ended(ended) => self.ended(id, ended),
        }
    }

    fn started(&mut self, id: u32) {
        if let Some(worker) = self.pool.workers.get_mut(&id) {
            worker.started = true;
        }
    }

    fn ended(&mut self, id: u32, ended: Ended) {
        let asked = self.empty.remove(&id).is_some_and(|(_, asked)| asked);
        let Some(worker) = self.pool.bury(id, ended, asked) else {
            return;
        };
        let stats = self.pool.stats.worker(worker.slot);
        self.gone.add(stats);
        self.gone.died += stats.held.get();
        stats.clear();
        if !asked {
            self.to_replace += 1;
            if !worker.started {
                // One that can't even start is not worth trying again at once.
                self.not_before = Instant::now() + AGAIN_AFTER;
            }
            self.look();
        }
    }

    /// Has the workers that accept look at the listener.
    fn look(&self) {
        for worker in self.accepting() {
            worker.tell(command::LOOK);
        }
    }

    fn accepting(&self) -> impl Iterator<Item = &Worker> {
        let workers = self.pool.workers.values();
        workers.filter(|worker| self.stats(worker).state() == State::Accepting)
    }

    fn stats(&self, worker: &Worker) -> &WorkerStats {
        self.pool.stats.worker(worker.slot)
    }

    /// How many connections a worker can hold.
    fn capacity(&self) -> u64 {
        let room = self.plan.nofile.saturating_sub(BASE_FDS);
        self.plan
            .per_worker
            .map_or(room, |limit| room.min(limit.into()))
    }

    /// Starts a worker if the running ones have room for half of one left, or if one has died; one at a
    /// time. That early because on a busy machine a start can take as long as filling the other half.
    fn grow(&mut self) {
        let starting = self.pool.workers.values().any(|worker| !worker.started);
        if starting || Instant::now() < self.not_before {
            return;
        }
        let capacity = self.capacity();
        let room: u64 = (self.pool.workers.values())
            .map(|worker| match self.stats(worker).state() {
                State::Full => 0,
                _ => capacity.saturating_sub(self.stats(worker).held.get()),
            })
            .sum();
        if self.to_replace == 0 && room > capacity / 2 {
            return;
        }
        if self.pool.workers.len() >= self.plan.workers_max as usize {
            self.to_replace = 0;
            return;
        }
        match self.spawn() {
            Ok(_) => self.to_replace = self.to_replace.saturating_sub(1),
            Err(error) => {
                say(format_args!("{error:#}; trying again"));
                self.not_before = Instant::now() + AGAIN_AFTER;
            }
        }
    }

    fn spawn(&mut self) -> anyhow::Result<u32> {
        let own;
        let listener = match self.plan.listeners {
            Listeners::Shared => self.socket.as_fd(),
            Listeners::Reuseport => {
                own = bind(self.address, true)?;
                listen(&own, self.plan.backlog)?;
                own.as_fd()
            }
        };
        let role = Role::Server(AcceptConfig {
            listener_fd: listener.as_raw_fd(),
            limit: self.plan.per_worker,
            echo: self.plan.echo,
            backlog: self.plan.backlog,
        });
        let slot = self
            .pool
            .free_slot()
            .context("no slot for another worker")?;
        self.pool.spawn(slot, role, listener)
    }

    /// Asks workers that have been empty for long to end, newest first, but never the last that accepts.
    fn retire(&mut self) {
        let now = Instant::now();
        let pool = &self.pool;
        let stats = |worker: &Worker| pool.stats.worker(worker.slot);
        let accepts = |worker: &Worker| stats(worker).state() == State::Accepting;
        let (empty, busy): (Vec<_>, Vec<_>) = (pool.workers.iter())
            .filter(|(_, worker)| worker.started)
            .partition(|(_, worker)| stats(worker).held.get() == 0);
        for (id, _) in &busy {
            self.empty.remove(id);
        }
        let mut others = busy.iter().filter(|(_, worker)| accepts(worker)).count();
        for (&id, worker) in empty {
            let (since, asked) = self.empty.entry(id).or_insert((now, false));
            let due = now.duration_since(*since) >= self.plan.retire_after;
            if due && !*asked && others > 0 {
                *asked = true;
                worker.tell(command::RETIRE);
            } else if !*asked {
                others += usize::from(accepts(worker));
            }
        }
    }

    /// What was counted so far.
    pub fn totals(&self) -> ServerTotals {
        let mut totals = self.gone;
        for worker in self.pool.workers.values() {
            let stats = self.stats(worker);
            totals.add(stats);
            totals.held += stats.held.get();
            totals.workers += 1;
            totals.full += u64::from(stats.state() == State::Full);
        }
        totals
    }

    /// Each worker, in the order of their starts.
    pub fn worker_rows(&self) -> Vec<WorkerRow> {
        let row = |worker: &Worker| {
            let stats = self.stats(worker);
            WorkerRow {
                pid: worker.pid,
                doing: match stats.state() {
                    State::Starting => "starts",
                    State::Accepting => "accepts",
                    State::Full => "full",
                    State::Paused => "no files",
                },
                held: stats.held.get(),
                in_flight: 0,
                lost: 0,
            }
        };
        self.pool.workers.values().map(row).collect()
    }

    /// The workers that ended without being asked to.
    pub fn deaths(&self) -> &[WorkerDeath] {
        &self.pool.deaths
    }

    /// Ends the workers, and with them the connections; returns when all are reaped.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.pool.end().await;
        Ok(())
    }
}

/// A socket bound to `address`, not listening yet.
fn bind(address: SocketAddr, reuseport: bool) -> anyhow::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)
        .with_context(|| format!("a socket for {address}"))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if reuseport {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    match rustix::net::bind(&socket, &address) {
        Ok(()) => Ok(socket),
        Err(errno) => Err(in_words(errno, address)),
    }
}

fn listen(socket: &OwnedFd, backlog: u32) -> anyhow::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    rustix::net::listen(socket, backlog).map_err(|errno| match rustix::net::getsockname(socket) {
        Ok(address) => match SocketAddr::try_from(address) {
            Ok(address) => in_words(errno, address),
            Err(_) => errno.into(),
        },
        Err(_) => errno.into(),
    })
}

/// Why nobody can listen there, and what to do about it.
fn in_words(errno: rustix::io::Errno, address: SocketAddr) -> anyhow::Error {
    use rustix::io::Errno;
    let port = address.port();
    match errno {
        Errno::ADDRINUSE => anyhow::anyhow!(
            "port {port} of {} is in use: end who listens there (ss -ltnp 'sport = :{port}'), or choose \
             another with --listen",
            address.ip()
        ),
        Errno::ADDRNOTAVAIL => anyhow::anyhow!(
            "{} is no address of this host (ip addr shows them): choose another with --listen",
            address.ip()
        ),
        Errno::ACCESS => anyhow::anyhow!(
            "port {port} is below net.ipv4.ip_unprivileged_port_start and needs root: --listen with a \
             higher one"
        ),
        errno => anyhow::Error::new(errno).context(format!("listening on {address}")),
    }
}
