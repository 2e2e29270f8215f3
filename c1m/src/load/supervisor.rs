//! Worker processes as their supervisor sees them: started, told, listened to, reaped. What is alike for
//! server and client; nothing here is done per connection.

use std::{
    collections::BTreeMap,
    fmt, io,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::{ExitStatus, Stdio},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{io::AsyncReadExt, process::Command, sync::mpsc};

use super::{
    stats::Stats,
    worker::{Config, Role, command},
};
use crate::stderr::say;

/// Who runs the workers, if it is somebody else than who runs the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Identity {
    /// The user who called sudo, from SUDO_UID and SUDO_GID, when this process is root. `None` if there is
    /// none, or if it was root.
    pub fn of_sudo() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let number = |name| std::env::var(name).ok()?.parse().ok();
        let (uid, gid): (u32, u32) = (number("SUDO_UID")?, number("SUDO_GID")?);
        let name = std::env::var("SUDO_USER").unwrap_or_default();
        (uid != 0).then(|| Self {
            uid,
            gid,
            groups: groups_of(&name, gid),
        })
    }

    /// Becomes this user, in a child before its exec: groups first, for it needs the right to.
    pub(crate) fn assume(&self) -> io::Result<()> {
        let done = |status| match status {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: plain system calls; `groups` is alive and its length is given.
        unsafe {
            done(libc::setgroups(self.groups.len(), self.groups.as_ptr()))?;
            done(libc::setgid(self.gid))?;
            done(libc::setuid(self.uid))
        }
    }
}

/// The groups of user `name` as /etc/group has them, besides `gid`.
fn groups_of(name: &str, gid: u32) -> Vec<u32> {
    // A group without members has an empty name in its list.
    if name.is_empty() {
        return vec![gid];
    }
    let table = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let member = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let group = fields.next()?.parse().ok()?;
        fields
            .next()?
            .split(',')
            .any(|user| user == name)
            .then_some(group)
    };
    let mut groups: Vec<u32> = table.lines().filter_map(member).collect();
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// How a worker ended that was not asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// A signal killed it.
    Signal(i32),
    /// It exited with this status.
    Status(i32),
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) => Self::Signal(signal),
            None => Self::Status(status.code().unwrap_or(-1)),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::Status(status) => write!(f, "exited with status {status}"),
        }
    }
}

/// A worker that ended without being asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WorkerDeath {
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub ended: Ended,
    /// How many connections it held, and so took with it.
    pub held: u64,
}

impl fmt::Display for WorkerDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, ended, held } = self;
        write!(f, "worker {pid} {ended}; {held} connections went with it")
    }
}

/// What a worker had to say.
pub(super) enum Said {
    /// One of [`super::worker::event`].
    Event(u8),
    /// Its end; it is reaped.
    Ended(Ended),
}

/// A running worker.
pub(super) struct Worker {
    pub(super) slot: usize,
    pub(super) pid: u32,
    /// Whether it said so.
    pub(super) started: bool,
    commands: OwnedFd,
}

impl Worker {
    /// Sends one of [`super::worker::command`].
    pub(super) fn tell(&self, command: u8) {
        // A dead worker can't be told; its end is on the way to us. One that reads nothing has more than enough to read.
        let _ = rustix::io::write(&self.commands, &[command]);
    }

    /// Lets it go on if somebody has stopped it (SIGSTOP): it is to end, and would not hear of that.
    pub(super) fn wake(&self) {
        if let Some(pid) = Pid::from_raw(self.pid as i32) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}

/// The workers of one server or client.
pub(super) struct Pool {
    pub(super) stats: Stats,
    pub(super) workers: BTreeMap<u32, Worker>,
    pub(super) deaths: Vec<WorkerDeath>,
    run_as: Option<Identity>,
    next_id: u32,
    said: mpsc::Receiver<(u32, Said)>,
    sayer: mpsc::Sender<(u32, Said)>,
}

impl Pool {
    /// No workers yet, and room for `slots`.
    pub(super) fn new(slots: usize, run_as: Option<Identity>) -> anyhow::Result<Self> {
        let (sayer, said) = mpsc::channel(1024);
        Ok(Self {
            stats: Stats::create(slots).context("the page of counters")?,
            workers: BTreeMap::new(),
            deaths: Vec::new(),
            run_as,
            next_id: 0,
            said,
            sayer,
        })
    }

    /// A slot that no worker has.
    pub(super) fn free_slot(&self) -> Option<usize> {
        let taken = |slot| self.workers.values().any(|worker| worker.slot == slot);
        (0..self.stats.slots()).find(|&slot| !taken(slot))
    }

    /// Starts a worker in `slot`. It inherits the page of counters and `fd`, which `role` names.
    pub(super) fn spawn(
        &mut self,
        slot: usize,
        role: Role,
        fd: BorrowedFd<'_>,
    ) -> anyhow::Result<u32> {
        self.stats.worker(slot).clear();
        let inherit = [self.stats_fd(), fd.as_raw_fd()];
        let config = Config {
            stats_fd: self.stats_fd(),
            slots: self.stats.slots(),
            slot,
            role,
        };
        let run_as = self.run_as.clone();
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("c1m")
            .args(["worker", "--config", &serde_json::to_string(&config)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Out of the terminal's reach: Ctrl-C is the supervisor's matter.
            .process_group(0);
        // SAFETY: between fork and exec this only makes system calls, and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                for fd in inherit {
                    // It is open: the parent holds it, and `fork` copied it.
                    rustix::io::fcntl_setfd(
                        BorrowedFd::borrow_raw(fd),
                        rustix::io::FdFlags::empty(),
                    )?;
                }
                run_as.as_ref().map_or(Ok(()), Identity::assume)
            })
        };
        let mut child = command.spawn().context("starting a worker process")?;
        let id = self.next_id;
        self.next_id += 1;
        let pid = child.id().context("a worker without a process id")?;
        let commands = child
            .stdin
            .take()
            .context("a worker without stdin")?
            .into_owned_fd()?;
        // Who is stopped (SIGSTOP) reads nothing, and must not stop its supervisor.
        rustix::io::ioctl_fionbio(&commands, true)?;
        let mut events = child.stdout.take().context("a worker without stdout")?;
        let sayer = self.sayer.clone();
        tokio::spawn(async move {
            while let Ok(event) = events.read_u8().await {
                if sayer.send((id, Said::Event(event))).await.is_err() {
                    return;
                }
            }
            let ended = child.wait().await.map_or(Ended::Status(-1), Ended::from);
            // Nobody listens any more when the supervisor was dropped.
            let _ = sayer.send((id, Said::Ended(ended))).await;
        });
        let worker = Worker {
            slot,
            pid,
            started: false,
            commands,
        };
        self.workers.insert(id, worker);
        Ok(id)
    }

    fn stats_fd(&self) -> i32 {
        use std::os::fd::AsFd;
        self.stats.as_fd().as_raw_fd()
    }

    /// The next thing that a worker says. Cancel-safe.
    pub(super) async fn next(&mut self) -> (u32, Said) {
        // The pool has a sender itself: the channel can't end.
        self.said.recv().await.unwrap_or((u32::MAX, Said::Event(0)))
    }

    /// Takes a worker that has ended off the list and, if nobody asked it to end, notes its death and
    /// reports it on stderr.
    pub(super) fn bury(&mut self, id: u32, ended: Ended, asked: bool) -> Option<Worker> {
        let worker = self.workers.remove(&id)?;
        if !asked || ended != Ended::Status(0) {
            let death = WorkerDeath {
                pid: worker.pid,
                ended,
                held: self.stats.worker(worker.slot).held.get(),
            };
            say(death);
            self.deaths.push(death);
        }
        Some(worker)
    }

    /// Has all workers close what they hold, and waits until they are reaped.
    pub(super) async fn end(&mut self) {
        for worker in self.workers.values() {
            worker.tell(command::CLOSE);
            worker.wake();
        }
        let mut left: Vec<u32> = self.workers.keys().copied().collect();
        self.workers.clear();
        while !left.is_empty() {
            if let (id, Said::Ended(_)) = self.next().await {
                left.retain(|&other| other != id);
            }
        }
    }
}
