//! The options of a server or client, validated against this host before anything starts. What can't work
//! is refused in one sentence that names the limit, its value here, and the fix.

use std::{
    net::{SocketAddr, UdpSocket},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{
    cli::{ClientArgs, Close, Listeners, ServerArgs},
    load::{
        pace::Rate,
        tuples::{Tuples, connectable},
        worker::BASE_FDS,
    },
};

pub use crate::load::supervisor::Identity;
pub(crate) use sources::{IPS, PER_IP, default_sources, ports};

mod sources;

/// Fds that a supervisor has open for each of its workers: commands, events, and its pidfd.
pub(crate) const FDS_PER_WORKER: u64 = 3;
/// Fds that a supervisor needs besides: its own, and those of a start.
pub(crate) const FDS_OF_SUPERVISOR: u64 = 24;
/// The same of a server's supervisor, which has three open for the census at the end.
pub(crate) const FDS_OF_SERVER: u64 = 19;
/// Workers of a server unless told otherwise.
pub(crate) const WORKERS_MAX: u32 = 1024;

/// What a server is to do, possible on this host.
#[derive(Clone, Debug)]
pub struct ServerPlan {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Length of the accept queue, at most net.core.somaxconn.
    pub backlog: u32,
    /// At most this many workers at a time.
    pub workers_max: u32,
    /// Connections per worker; `None`: until EMFILE.
    pub per_worker: Option<u32>,
    /// How workers get at connections.
    pub listeners: Listeners,
    /// Send back what is received.
    pub echo: bool,
    /// Retire a worker that was empty this long.
    pub retire_after: Duration,
    /// The hard limit of RLIMIT_NOFILE, which is each worker's.
    pub nofile: u64,
}

impl ServerPlan {
    /// Checks the options. The error is the sentence for the user.
    pub fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        ensure!(
            args.listen.port() != 0,
            "--listen {} leaves the port to the kernel, and what is watched is a port: name it",
            args.listen
        );
        let somaxconn = sysctl("net.core.somaxconn")?;
        let backlog = args.backlog.unwrap_or(somaxconn);
        ensure!(
            backlog <= somaxconn,
            "--backlog {backlog} is more than net.core.somaxconn, which is {somaxconn}: \
             sysctl -w net.core.somaxconn={backlog}"
        );
        ensure!(
            backlog > 0,
            "--backlog 0 is an accept queue for one connection: --backlog 1 or more"
        );
        ensure!(
            args.workers_max > 0,
            "--workers-max 0 leaves nobody to accept: --workers-max 1 or more"
        );
        let nofile = hard_nofile();
        check_per_worker(args.per_worker, nofile)?;
        Ok(Self {
            listen: args.listen,
            backlog,
            workers_max: args.workers_max,
            per_worker: args.per_worker,
            listeners: args.listeners,
            echo: args.echo,
            retire_after: args.retire_after,
            nofile,
        })
    }
}

/// What a client is to do, possible on this host.
#[derive(Clone, Debug)]
pub struct ClientPlan {
    /// Whom to connect to.
    pub target: SocketAddr,
    /// The source of every attempt.
    pub tuples: Tuples,
    /// Attempts under way at a time.
    pub in_flight: u32,
    /// Attempts per second.
    pub rate: Option<Rate>,
    /// When to give an attempt up.
    pub timeout: Duration,
    /// How long to hold the connections after the last attempt settled.
    pub hold: Duration,
    /// How to end them.
    pub close: Close,
    /// How often to try a failed attempt again.
    pub retry: u32,
    /// Connections per worker.
    pub per_worker: u32,
    /// The device to put missing source addresses on.
    pub dev: Option<String>,
    /// Start in spite of what the checks say.
    pub unchecked: bool,
}

impl ClientPlan {
    /// Checks the options. The error is the sentence for the user.
    pub fn new(args: &ClientArgs) -> anyhow::Result<Self> {
        let mut args = args.clone();
        args.target = connectable(args.target);
        let args = &args;
        ensure!(
            args.in_flight > 0,
            "--in-flight 0 lets no attempt begin: --in-flight 1 or more"
        );
        ensure!(args.retry < 255, "--retry {} is more than 254", args.retry);
        ensure!(
            args.connections != Some(0),
            "--connections 0 leaves nothing to do: --connections 1 or more"
        );
        ensure!(
            !args.timeout.is_zero(),
            "--timeout 0s leaves an attempt no time: --timeout 10s"
        );
        ensure!(
            args.target.port() != 0,
            "port 0 of {} is no target: --target ADDRESS:PORT",
            args.target
        );
        let rate = args
            .rate
            .as_deref()
            .map(Rate::from_str)
            .transpose()
            .context("--rate")?;
        let tuples = sources::tuples(args)?;
        let nofile = hard_nofile();
        if !args.unchecked {
            check_per_worker(args.per_worker, nofile)?;
        }
        let room = u32::try_from(nofile.saturating_sub(BASE_FDS)).unwrap_or(u32::MAX);
        let per_worker = args.per_worker.unwrap_or(room).max(1);
        let plan = Self {
            target: args.target,
            tuples,
            in_flight: args.in_flight,
            rate,
            timeout: args.timeout,
            hold: args.hold,
            close: args.close,
            retry: args.retry,
            per_worker,
            dev: args.dev.clone(),
            unchecked: args.unchecked,
        };
        let workers = plan.workers() as u64;
        let fds = workers * FDS_PER_WORKER + FDS_OF_SUPERVISOR;
        ensure!(
            fds <= nofile,
            "{workers} workers need {fds} open files in their supervisor, and RLIMIT_NOFILE is {nofile}: \
             ulimit -n {fds}, or fewer --connections"
        );
        if plan.dev.is_none() {
            plan.check_sources()?;
        } else {
            ensure!(
                rustix::process::geteuid().is_root(),
                "--dev adds addresses to a device, which needs root: run it with sudo"
            );
        }
        Ok(plan)
    }

    /// How many workers share the attempts.
    pub fn workers(&self) -> usize {
        self.tuples.len().div_ceil(self.per_worker as usize)
    }

    /// Refuses source addresses that are not on this host: a connection from them can't begin.
    pub fn check_sources(&self) -> anyhow::Result<()> {
        if self.unchecked {
            return Ok(());
        }
        for source in self.tuples.sources() {
            // A datagram socket: no port of a connection is touched.
            if let Err(error) = UdpSocket::bind(SocketAddr::new(source, 0)) {
                ensure!(
                    source.is_ipv4() || has_ipv6(),
                    "source address {source} is of IPv6, which is off here: sysctl -w net.ipv6.conf.all.disable_ipv6=0 (or \
                     boot without ipv6.disable=1)"
                );
                if error.raw_os_error() != Some(libc::EADDRNOTAVAIL) {
                    return Err(error).with_context(|| format!("source address {source}"));
                }
                let bits = if source.is_ipv4() { 32 } else { 128 };
                bail!(
                    "source address {source} is not on this host: ip addr add {source}/{bits} dev DEVICE, \
                     or let --dev DEVICE --addresses … do it for the run"
                );
            }
        }
        Ok(())
    }
}

fn check_per_worker(per_worker: Option<u32>, nofile: u64) -> anyhow::Result<()> {
    ensure!(
        per_worker != Some(0),
        "--per-worker 0 leaves a worker no connection: 1 or more"
    );
    ensure!(
        nofile > BASE_FDS,
        "RLIMIT_NOFILE is {nofile} and a worker needs {BASE_FDS} open files besides its connections: \
         ulimit -n 1048576"
    );
    let room = nofile.saturating_sub(BASE_FDS);
    if let Some(per_worker) = per_worker.filter(|&per_worker| u64::from(per_worker) > room) {
        bail!(
            "--per-worker {per_worker} is more than the {room} that RLIMIT_NOFILE {nofile} leaves: \
             ulimit -n {}",
            u64::from(per_worker) + BASE_FDS
        );
    }
    Ok(())
}

/// The hard limit of open files: every worker raises its soft one to it. No higher than fs.nr_open, above which the kernel lets
/// nobody set one, though a limit that is older than that stays.
pub(crate) fn hard_nofile() -> u64 {
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    let nr_open = sysctl("fs.nr_open").map_or(u64::MAX, u64::from);
    hard.unwrap_or(u64::MAX).min(nr_open)
}

/// Raises the soft limit of open files to [`hard_nofile`], and returns it.
pub(crate) fn raise_nofile() -> anyhow::Result<u64> {
    let most = hard_nofile();
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::Nofile, limit)
        .with_context(|| format!("raising RLIMIT_NOFILE to {most}"))?;
    Ok(most)
}

/// Whether the kernel has IPv6, and has not been told to do without.
fn has_ipv6() -> bool {
    sysctl("net.ipv6.conf.all.disable_ipv6").is_ok_and(|disabled| disabled == 0)
}

fn sysctl_text(name: &str) -> anyhow::Result<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::read_to_string(&path).with_context(|| format!("{path} (is /proc mounted?)"))
}

fn sysctl(name: &str) -> anyhow::Result<u32> {
    let text = sysctl_text(name)?;
    text.trim()
        .parse()
        .with_context(|| format!("{name} is `{}`", text.trim()))
}
