//! Programs that a lab starts: in which namespace, under which limits, and surely gone in the end.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::{
    process::{
        Pid, Resource, Rlimit, Signal, kill_process, set_parent_process_death_signal, setrlimit,
    },
    thread::{CapabilitySet, remove_capability_from_bounding_set},
};

use super::cgroup::Cgroup;
use crate::{netns::Netns, stderr::say};

/// How often a condition is looked at while waiting for it.
pub(super) const POLL: Duration = Duration::from_millis(10);
/// How long a program may take to clean up after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// A running program. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: std::path::PathBuf,
}

/// Where and under which limits a program runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place<'a> {
    /// Another namespace than the lab's own.
    pub(super) ns: Option<&'a Netns>,
    /// RLIMIT_NOFILE, soft and hard. The program can't raise it again, even as root: it loses
    /// CAP_SYS_RESOURCE.
    pub(super) nofile: Option<u64>,
    /// A control group for it and what it starts.
    pub(super) cgroup: Option<&'a Cgroup>,
    /// Who seems to have called sudo: the traced workload runs as this user and group.
    pub(super) user: Option<u32>,
}

impl Process {
    /// Starts c1m itself. Its output goes to files in `dir`, named after `name`.
    pub(super) fn start(
        name: &str,
        args: &[String],
        place: Place,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let log = dir.join(name);
        let mut command = Command::new(super::own_program()?);
        command.args(args).stdin(Stdio::null());
        command.stdout(File::create(log.with_extension("out"))?);
        command.stderr(File::create(log.with_extension("err"))?);
        // The labs are the same for whoever called sudo.
        for variable in ["SUDO_UID", "SUDO_GID", "SUDO_USER"] {
            command.env_remove(variable);
        }
        if let Some(user) = place.user {
            command.env("SUDO_UID", user.to_string());
            command.env("SUDO_GID", user.to_string());
        }
        let nofile = place.nofile;
        let ns = place.ns.map(Netns::again).transpose()?;
        let cgroup = place.cgroup.map(Cgroup::entrance).transpose()?;
        // SAFETY: between fork and exec the closure makes system calls only, and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::TERM))?;
                if let Some(ns) = &ns {
                    ns.enter()?;
                }
                if let Some(cgroup) = &cgroup {
                    // 0 is whoever writes.
                    rustix::io::write(cgroup, b"0")?;
                }
                limit(nofile)
            })
        };
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, or `None` while it runs.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self::signal(self.pid(), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// What it printed.
    pub(super) fn output(&self) -> String {
        fs::read_to_string(self.log.with_extension("out")).unwrap_or_default()
    }

    /// What it complained of.
    pub(super) fn complaints(&self) -> String {
        fs::read_to_string(self.log.with_extension("err")).unwrap_or_default()
    }

    /// Ends it: SIGTERM, and SIGKILL if it does not listen.
    fn end(&mut self) -> io::Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        for signal in [Signal::CONT, Signal::TERM] {
            let _ = self::signal(self.pid(), signal);
        }
        let begin = Instant::now();
        while begin.elapsed() < GRACE {
            if self.ended()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            say(format_args!("cannot end {}: {error}", self.name));
        }
    }
}

/// Sends `signal` to the process `pid`. Errors: the process is gone.
pub(super) fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        bail!("{pid} is no process id");
    };
    Ok(kill_process(pid, signal)?)
}

/// The child processes of `pid`, and theirs.
pub(super) fn descendants(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let text =
        |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let children = tasks.map(text).collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for child in children
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
    {
        found.push(child);
        found.extend(descendants(child));
    }
    found
}

/// Whether a process is stopped by a signal, or gone.
pub(super) fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state comes after the name, which may hold anything.
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !state.starts_with(['R', 'S', 'D'])
}

/// The inodes of the sockets that a process holds.
pub(super) fn socket_inodes(pid: u32) -> Vec<u32> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let inode = |fd: fs::DirEntry| {
        let link = fs::read_link(fd.path()).ok()?;
        link.to_str()?
            .strip_prefix("socket:[")?
            .strip_suffix(']')?
            .parse()
            .ok()
    };
    fds.filter_map(inode).collect()
}

/// Runs a tool of the system to its end. Errors: its complaint, or which package has it.
pub(super) fn tool(
    program: &str,
    args: &[&str],
    stdin: &str,
    ns: Option<&Netns>,
) -> anyhow::Result<String> {
    let run = || -> io::Result<std::process::Output> {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            io::Write::write_all(&mut pipe, stdin.as_bytes())?;
        }
        child.wait_with_output()
    };
    let done = match ns {
        Some(ns) => ns.run(run)?,
        None => run(),
    };
    let package = if program == "nft" {
        "nftables"
    } else {
        "iproute2"
    };
    let done = match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{program} is not installed here: this lab needs the package {package}")
        }
        done => done.with_context(|| format!("cannot run {program}"))?,
    };
    if !done.status.success() {
        let complaint = String::from_utf8_lossy(&done.stderr);
        bail!("{program} {}{stdin}: {}", args.join(" "), complaint.trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Lets the calling process lock as much memory as it likes, as which eBPF counts before 5.11. A later kernel does not
/// ask, so a failure is none. A system call only.
pub(super) fn lock_memory() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let _ = setrlimit(Resource::Memlock, unlimited);
}

/// Sets RLIMIT_NOFILE for good. System calls only: it runs between fork and exec.
fn limit(nofile: Option<u64>) -> io::Result<()> {
    let Some(nofile) = nofile else { return Ok(()) };
    // The right to raise it goes too.
    lock_memory();
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(nofile),
            maximum: Some(nofile),
        },
    )?;
    Ok(remove_capability_from_bounding_set(
        CapabilitySet::SYS_RESOURCE,
    )?)
}
