//! The options of a server or client, validated against this host before anything starts. What can't work
//! is refused in one sentence that names the limit, its value here, and the fix.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::process::Resource;

use crate::{
    cli::{ClientArgs, Close, Listeners, Ports, ServerArgs},
    load::{
        pace::Rate,
        tuples::{Sources, Tuples, connectable},
        worker::BASE_FDS,
    },
};

pub use crate::load::supervisor::Identity;

/// Connections per source address unless told otherwise.
pub(crate) const PER_IP: u32 = 25_000;
/// Source addresses unless told otherwise.
pub(crate) const IPS: u32 = 40;
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
        ensure!(
            args.per_worker != Some(0),
            "--per-worker 0 leaves nothing to accept: 1 or more"
        );
        let nofile = hard_nofile();
        ensure!(
            nofile > BASE_FDS,
            "RLIMIT_NOFILE is {nofile} and a worker needs {BASE_FDS} open files besides its connections: \
             ulimit -n 1048576"
        );
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
        let tuples = tuples(args)?;
        let nofile = hard_nofile();
        if !args.unchecked {
            check_per_worker(args.per_worker, nofile)?;
        }
        let room = u32::try_from(nofile.saturating_sub(BASE_FDS)).unwrap_or(u32::MAX);
        let per_worker = args.per_worker.unwrap_or(room);
        ensure!(
            per_worker > 0,
            "no room for a connection in a worker: --per-worker and ulimit -n"
        );
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

/// The sources of all attempts: from --ips, --per-ip, --connections, --sources and --port-range.
fn tuples(args: &ClientArgs) -> anyhow::Result<Tuples> {
    let (first_port, ports) = ports(args.ports, &args.port_range)?;
    let written = args.sources.as_ref().or(args.addresses.as_ref());
    let sources = match written {
        Some(text) => text.parse()?,
        None => default_sources(args.target),
    };
    ensure!(
        sources.first.is_ipv4() == args.target.is_ipv4(),
        "source {} and target {} are of different families: --sources of the target's",
        sources.first,
        args.target
    );
    let per_ip = args.per_ip.unwrap_or(PER_IP.min(ports));
    ensure!(
        per_ip > 0,
        "--per-ip 0 leaves no connection: --per-ip 1 or more"
    );
    ensure!(
        per_ip <= ports || (args.unchecked && first_port.is_none()),
        "--per-ip {per_ip} is more than the {ports} ports of {}: {}",
        port_option(args),
        if first_port.is_none() {
            "widen it"
        } else {
            "--port-range 1024-65535, or more --ips"
        }
    );
    let ips = match args.ips {
        Some(ips) => ips,
        None => default_ips(&sources, args.connections, per_ip)?,
    };
    ensure!(ips > 0, "--ips 0 leaves no source address: --ips 1 or more");
    let all = u64::from(ips) * u64::from(per_ip);
    let connections = args.connections.unwrap_or(all);
    let has = sources.extent.unwrap_or(u32::MAX);
    let tuples_here = u64::from(ips.min(has)) * u64::from(per_ip);
    ensure!(
        connections <= tuples_here && ips <= has,
        "{connections} connections need more than the {tuples_here} tuples of {} source addresses × {per_ip} \
         ports: {} addresses (--ips, --sources) or a larger --per-ip",
        ips.min(has),
        connections.div_ceil(per_ip.into()).max(u64::from(ips))
    );
    // Both given: spread over all of the addresses.
    let per_ip = match (args.ips, args.connections) {
        (Some(ips), Some(connections)) => connections.div_ceil(ips.into()) as u32,
        _ => per_ip,
    };
    let count = usize::try_from(connections)?;
    let tuples = Tuples::new(sources.first, ips, per_ip, first_port, count).with_context(|| {
        format!(
            "{ips} addresses do not exist from {} on: fewer --ips",
            sources.first
        )
    })?;
    ensure!(
        u32::try_from(count).is_ok(),
        "{connections} connections are more than c1m counts: at most {}",
        u32::MAX
    );
    ensure!(
        args.unchecked || tuples.index(args.target).is_none(),
        "{} would connect to itself: a --port-range without port {}",
        args.target,
        args.target.port()
    );
    Ok(tuples)
}

/// How many source addresses, where --ips does not say.
fn default_ips(sources: &Sources, connections: Option<u64>, per_ip: u32) -> anyhow::Result<u32> {
    match (sources.extent, connections) {
        (Some(extent), None) => Ok(extent),
        (None, None) if sources.first.is_ipv4() && sources.first.is_loopback() => Ok(IPS),
        (None, None) => Ok(1),
        (_, Some(connections)) => u32::try_from(connections.div_ceil(per_ip.into()))
            .context("--connections: more than 2³² source addresses"),
    }
}

/// The first port, if it is ours to choose, and how many there are.
pub(crate) fn ports(who_chooses: Ports, range: &str) -> anyhow::Result<(Option<u16>, u32)> {
    let explicit = who_chooses == Ports::Explicit;
    let text = match explicit {
        true => range.to_owned(),
        false => sysctl_text("net.ipv4.ip_local_port_range")?
            .split_whitespace()
            .collect::<Vec<_>>()
            .join("-"),
    };
    let range = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?)));
    match range {
        Some((first, last)) if 0 < first && first <= last => {
            Ok((explicit.then_some(first), u32::from(last - first) + 1))
        }
        _ => bail!("`{text}` is no range of ports: write --port-range 10000-65535"),
    }
}

fn port_option(args: &ClientArgs) -> String {
    match args.ports {
        Ports::Explicit => format!("--port-range {}", args.port_range),
        Ports::Kernel => "net.ipv4.ip_local_port_range".into(),
    }
}

/// On loopback all of 127/8 is local, and IPv6 has one address; elsewhere the one that routing chooses.
pub(crate) fn default_sources(target: SocketAddr) -> Sources {
    let loopback: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::new(127, 0, 1, 1).into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let routed = || {
        let unspecified: IpAddr = match target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // A datagram socket only looks the route up.
        let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0)).ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let first = match target.ip().is_loopback() {
        true => loopback,
        false => routed().unwrap_or(loopback),
    };
    Sources {
        first,
        extent: None,
    }
}

fn check_per_worker(per_worker: Option<u32>, nofile: u64) -> anyhow::Result<()> {
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

/// The hard limit of open files: every worker raises its soft one to it.
fn hard_nofile() -> u64 {
    rustix::process::getrlimit(Resource::Nofile)
        .maximum
        .unwrap_or(u64::MAX)
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
