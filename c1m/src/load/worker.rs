//! A worker process: what it inherits, how it talks with its supervisor, and its start.
//!
//! Commands come as single bytes on stdin, and its end means that the supervisor is gone, so a worker
//! never outlives it: its connections end with the process, and not by its own close. Events go as single bytes to stdout. Everything else is in shared memory.

use std::{
    fs, io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::{
    event::{Timespec, epoll},
    io::Errno,
    time::ClockId,
};
use serde::{Deserialize, Serialize};

use super::{
    accept::{self, AcceptConfig},
    dial::{self, DialConfig},
    outcome::Slab,
    stats::Stats,
};
use crate::options::raise_nofile;

/// The fds that a worker has before its first connection: stdin, stdout, stderr, the page of counters,
/// the listener (server) or the outcomes (client), and its epoll. It may hold RLIMIT_NOFILE less these.
pub const BASE_FDS: u64 = 6;

/// What a supervisor tells a worker.
pub(super) mod command {
    /// Client: begin with the attempts.
    pub(in crate::load) const GO: u8 = b'G';
    /// Client: begin nothing any more; what is under way goes on.
    pub(in crate::load) const HALT: u8 = b'H';
    /// Client: change nothing any more, and answer [`super::event::FROZEN`].
    pub(in crate::load) const FREEZE: u8 = b'F';
    /// Close the connections, a client as `--close` says, and exit.
    pub(in crate::load) const CLOSE: u8 = b'C';
    /// Server: look at the listener, somebody else left connections there.
    pub(in crate::load) const LOOK: u8 = b'L';
    /// Server: exit if you hold nothing, or answer [`super::event::KEPT`].
    pub(in crate::load) const RETIRE: u8 = b'R';
}

/// What a worker tells its supervisor.
pub(super) mod event {
    /// It runs (a server's worker: and listens).
    pub(in crate::load) const STARTED: u8 = b's';
    /// Client: every attempt was begun at least once.
    pub(in crate::load) const BEGUN: u8 = b'b';
    /// Client: every attempt has settled.
    pub(in crate::load) const SETTLED: u8 = b'a';
    /// Client: answer to [`super::command::FREEZE`].
    pub(in crate::load) const FROZEN: u8 = b'f';
    /// Server: half of its room is used, or another eighth.
    pub(in crate::load) const CROWDED: u8 = b'n';
    /// Server: it stopped accepting.
    pub(in crate::load) const STOPPED: u8 = b'l';
    /// Server: it has been asked to retire, and holds connections.
    pub(in crate::load) const KEPT: u8 = b'k';
}

/// A worker's share of the work, as it stands on its command line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Config {
    /// The inherited page of counters.
    pub(super) stats_fd: RawFd,
    /// How many slots it has.
    pub(super) slots: usize,
    /// This worker's.
    pub(super) slot: usize,
    pub(super) role: Role,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Server(AcceptConfig),
    Client(DialConfig),
}

/// Runs the worker that `config` (JSON) describes, until its supervisor ends it.
pub fn run(config: &str) -> anyhow::Result<u8> {
    let config: Config =
        serde_json::from_str(config).context("a worker is started by a server or client only")?;
    let role_fd = match &config.role {
        Role::Server(server) => server.listener_fd,
        Role::Client(client) => client.slab_fd,
    };
    close_all_but(&[config.stats_fd, role_fd])?;
    let room = raise_nofile()?.saturating_sub(BASE_FDS);
    let stats = Stats::open(inherited(config.stats_fd)?, config.slots)?;
    ensure!(config.slot < config.slots, "no slot for this worker");
    let counters = stats.worker(config.slot);
    let role_fd = inherited(role_fd)?;
    let epoll = Epoll::new()?;
    check_base_fds()?;
    match config.role {
        Role::Server(server) => accept::run(&server, role_fd, counters, epoll, room)?,
        Role::Client(client) => {
            let slab = Slab::open(role_fd, client.tuples.len())?;
            dial::run(&client, &slab, stats.common(), counters, epoll)?;
        }
    }
    Ok(0)
}

/// Takes an inherited fd over.
fn inherited(fd: RawFd) -> anyhow::Result<OwnedFd> {
    // SAFETY: borrowed for this one question only, and the answer is EBADF if it is not open.
    let probe = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(probe).context("an inherited fd is missing")?;
    // SAFETY: it is open, the supervisor passed it for this worker alone, and it is taken over once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes what leaked in from the supervisor's own parents: a worker's fds are counted exactly.
fn close_all_but(keep: &[RawFd]) -> anyhow::Result<()> {
    ensure!(keep.iter().all(|&fd| fd > 2), "inherited fds start at 3");
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        close_range(first, fd - 1)?;
        first = fd + 1;
    }
    close_range(first, RawFd::MAX)?;
    Ok(())
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: called first thing in a new process, before anything but stdin, stdout, stderr and the
    // inherited fds, which are spared, has been opened.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// [`BASE_FDS`] has to be true: what a run may expect is computed from it.
fn check_base_fds() -> anyhow::Result<()> {
    // One more is the directory that is being read.
    let open = fs::read_dir("/proc/self/fd")
        .context("/proc/self/fd")?
        .count() as u64
        - 1;
    if open != BASE_FDS {
        bail!("a worker starts with {BASE_FDS} open files, this one has {open}");
    }
    Ok(())
}

/// Reads one command. If the supervisor is gone, this process ends here and now, with all that it holds.
pub(super) fn read_command() -> u8 {
    let mut byte = [0];
    loop {
        match rustix::io::read(io::stdin(), &mut byte) {
            Ok(1) => return byte[0],
            Err(Errno::INTR) => {}
            _ => std::process::exit(0),
        }
    }
}

/// Tells the supervisor. If it is gone, stdin says so too.
pub(super) fn tell(event: u8) {
    // Nothing to do about a failure here: the supervisor is gone, and stdin ends as well.
    let _ = rustix::io::write(io::stdout(), &[event]);
}

/// CLOCK_MONOTONIC, the same for all processes, in ns.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// What an event is about: the commands, the listener, or the connection with this number.
pub(super) const COMMANDS: u64 = u64::MAX;
/// See [`COMMANDS`].
pub(super) const LISTENER: u64 = u64::MAX - 1;

/// How many events one call brings.
const EVENTS: usize = 256;

/// A worker's epoll.
pub(super) struct Epoll {
    fd: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Epoll {
    fn new() -> anyhow::Result<Self> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let commands = epoll::EventData::new_u64(COMMANDS);
        epoll::add(&fd, io::stdin(), commands, epoll::EventFlags::IN)
            .context("stdin has to be a pipe from the supervisor")?;
        Ok(Self {
            fd,
            events: Vec::with_capacity(EVENTS),
        })
    }

    /// Watches `fd`; what happens comes with `data`.
    pub(super) fn add(
        &self,
        fd: &OwnedFd,
        data: u64,
        flags: epoll::EventFlags,
    ) -> Result<(), Errno> {
        debug_assert!(fd.as_raw_fd() > 2);
        epoll::add(&self.fd, fd, epoll::EventData::new_u64(data), flags)
    }

    /// Watches `fd` for something else.
    pub(super) fn modify(
        &self,
        fd: &OwnedFd,
        data: u64,
        flags: epoll::EventFlags,
    ) -> Result<(), Errno> {
        epoll::modify(&self.fd, fd, epoll::EventData::new_u64(data), flags)
    }

    /// Watches `fd` no more.
    pub(super) fn delete(&self, fd: &OwnedFd) -> Result<(), Errno> {
        epoll::delete(&self.fd, fd)
    }

    /// Waits for events, at most this long (`None`: as long as it takes).
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Errno> {
        let mut timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        loop {
            self.events.clear();
            let spare = rustix::buffer::spare_capacity(&mut self.events);
            match epoll::wait(&self.fd, spare, timeout.as_ref()) {
                // Stopped and woken: what has happened meanwhile comes first (signal(7)).
                Err(Errno::INTR) => timeout = Some(Timespec::default()),
                done => return done.map(drop),
            }
        }
    }

    /// The events of the last [`Self::wait`], one by one.
    pub(super) fn event(&self, number: usize) -> Option<(u64, epoll::EventFlags)> {
        let event = self.events.get(number)?;
        Some((event.data.u64(), event.flags))
    }
}
