//! The floor: what the kernel alone takes to establish and hold connections on one machine.
//!
//! Forked processes and blocking sockets, each with an address and a port of its own; no reactor, no record of an attempt, no
//! memory for a connection but its file descriptor. Whatever `c1m` takes beyond this is its own cost. `cargo xtask bench`
//! runs both in turn.
//!
//! It prints a line when all stand, and another when it was told to end, by the end of its stdin.

use std::{io::Read as _, net::SocketAddrV4, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use rustix::{
    net::{SocketFlags, SocketType, sockopt},
    process::{Resource, Rlimit},
};

mod ends;
mod tally;

use tally::Tally;

/// What to establish.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
struct Options {
    /// How many connections
    #[arg(long, default_value_t = 100_000)]
    connections: usize,
    /// Connections per source address, from 127.0.1.1 on
    #[arg(long, default_value_t = 25_000)]
    per_ip: usize,
    /// Address and port of the listener
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddrV4,
    /// Length of the accept queue
    #[arg(long, default_value_t = 4096)]
    backlog: i32,
    /// Connections per process and end [default: what RLIMIT_NOFILE leaves]
    #[arg(long)]
    per_process: Option<usize>,
    /// How many processes of each end work at a time; 0: all
    #[arg(long, default_value_t = 0)]
    at_a_time: usize,
    /// Serve only, with this many listeners behind SO_REUSEPORT that accept
    #[arg(long)]
    serve: Option<usize>,
    /// Besides these, so many that never accept and have a queue for one
    #[arg(long, default_value_t = 0, requires = "serve")]
    deaf: usize,
}

/// Files that a process has open besides its connections.
const OTHER_FILES: usize = 32;
/// The first source port.
const FIRST_PORT: usize = 10_000;
/// How long accept() waits for a connection before it looks whether it is all over.
const PATIENCE: Duration = Duration::from_millis(100);
/// Without any headway for this long, the run has failed.
const STALLED: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("c1m-floor: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all stood.
fn run(options: &Options) -> Result<bool> {
    let files = raise_nofile()?;
    let share = options.per_process.unwrap_or(files - OTHER_FILES);
    ensure!(share > 0, "--per-process 0 leaves nothing to do");
    let tally = Tally::new()?;
    if let Some(listeners) = options.serve {
        return serve_only(options, listeners, share, &tally);
    }
    let ports = 65_536 - FIRST_PORT;
    ensure!(
        (1..=ports).contains(&options.per_ip),
        "--per-ip is between 1 and {ports}"
    );
    let listener = listen(options, options.backlog, false)?;
    let shares: Vec<_> = (0..options.connections).step_by(share).collect();
    let mut children = Vec::new();
    for &first in &shares {
        let count = share.min(options.connections - first);
        let turn = first / share;
        children.push(fork(|| {
            ends::accept(&listener, turn, options.at_a_time, count, &tally)
        })?);
        children.push(fork(|| {
            ends::dial(options, turn, first..first + count, &tally)
        })?);
    }
    let begun = tally.go();
    let last = tally.settle(options.connections, STALLED);
    let seconds = (last - begun).as_secs_f64();
    let (established, accepted) = (tally.connected(), tally.accepted());
    let line = serde_json::json!({
        "established": established, "accepted": accepted, "failed": tally.failed(), "seconds": seconds,
        "conn_per_s": (established as f64 / seconds) as u64,
    });
    println!("{line}");
    until_told();
    tally.stop();
    reap(&children);
    Ok(established == options.connections && accepted == options.connections)
}

/// Accepts whatever comes until told to end.
fn serve_only(options: &Options, listeners: usize, share: usize, tally: &Tally) -> Result<bool> {
    let deaf = (0..options.deaf).map(|_| listen(options, 0, true));
    let _deaf: Vec<_> = deaf.collect::<Result<_>>()?;
    let mut children = Vec::new();
    for _ in 0..listeners {
        let listener = listen(options, options.backlog, true)?;
        // One fd table is not enough for a listener's connections: its processes follow each other.
        for _ in 0..options.connections.div_ceil(share) {
            children.push(fork(|| ends::accept(&listener, 0, 0, share, tally))?);
        }
    }
    tally.go();
    println!("listening");
    until_told();
    tally.stop();
    reap(&children);
    Ok(true)
}

fn listen(options: &Options, backlog: i32, reuseport: bool) -> Result<std::os::fd::OwnedFd> {
    let address = options.listen;
    let listening = || {
        let flags = SocketFlags::empty();
        let family = rustix::net::AddressFamily::INET;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_reuseport(&socket, reuseport)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, backlog)?;
        Ok(socket)
    };
    listening().map_err(|errno: rustix::io::Errno| {
        anyhow::Error::new(errno).context(format!("cannot listen on {address}"))
    })
}

/// Raises the soft limit of open files to the hard one and returns it.
fn raise_nofile() -> Result<usize> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    rustix::process::setrlimit(Resource::Nofile, raised).context("raising RLIMIT_NOFILE")?;
    let files = limit.maximum.unwrap_or(1 << 20) as usize;
    ensure!(files > OTHER_FILES, "RLIMIT_NOFILE {files} is too small");
    Ok(files)
}

/// Starts a child that does `work` and exits. Its id.
fn fork(work: impl FnOnce()) -> Result<libc::pid_t> {
    // SAFETY: this process has one thread, so that the child may do what it likes.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()).context("cannot start a process"),
        0 => {
            // Not to outlive its parent.
            // SAFETY: takes numbers only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            work();
            // SAFETY: never returns; what the parent will do at its exit is not done here.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(pid),
    }
}

fn reap(children: &[libc::pid_t]) {
    for &child in children {
        // SAFETY: a child of ours, and nobody else waits for it.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    }
}

/// Waits for the end of stdin.
fn until_told() {
    let mut nothing = Vec::new();
    // Whatever ends it: there is no one to be told.
    let _ = std::io::stdin().read_to_end(&mut nothing);
}
