//! Labs of a tuple that is used again while the server still has its last connection, and of a SYN that looks
//! older than that.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use anyhow::{Context, ensure};
use socket2::Socket;

use super::{
    Outcome,
    bench::{Bench, CLOSE_WAIT, ESTABLISHED, SYN_RECV, SYN_SENT, TIME_WAIT},
    foreign::{Foreign, set_tcp, socket},
    process::Place,
    truth::Truth,
};
use crate::ledger::census::{self, Side};

/// Attempts of each of the two sources.
const PER_SOURCE: u16 = 12;
/// The source port of a source's first attempt.
const FIRST_PORT: u16 = 10_000;
/// So much later than now, in units of a sequence number's clock (64 ns), is the past that the server remembers.
const AHEAD: u32 = 1 << 29;

/// Addresses, and the rule that keeps the first source's resets away from the server.
struct Case {
    target: &'static str,
    sources: [&'static str; 2],
    range: &'static str,
    resets_of_first: &'static str,
}

const IPV4: Case = Case {
    target: "127.0.0.1:8000",
    sources: ["127.0.1.1", "127.0.1.2"],
    range: "127.0.1.1-2",
    resets_of_first: "ip saddr 127.0.1.1 tcp dport 8000 tcp flags & rst == rst",
};

const IPV6: Case = Case {
    target: "[fd09::3]:8000",
    sources: ["fd09::1", "fd09::2"],
    range: "fd09::1-2",
    resets_of_first: "ip6 saddr fd09::1 tcp dport 8000 tcp flags & rst == rst",
};

/// What the server still has of the earlier connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    TimeWait,
    Established,
    Request,
}

/// SYNs that meet TIME_WAIT with a sequence number before its last one, and no timestamp to prove their age.
pub(super) fn time_wait_hit(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    again(bench, &IPV4, Left::TimeWait)
}

/// The same over IPv6.
pub(super) fn time_wait_hit_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    again(bench, &IPV6, Left::TimeWait)
}

/// SYNs that meet a connection of which only the server knows.
pub(super) fn stale_established(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    again(bench, &IPV4, Left::Established)
}

/// The same over IPv6.
pub(super) fn stale_established_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    again(bench, &IPV6, Left::Established)
}

/// SYNs that meet a request of an attempt that its client gave up, for its SYN-ACKs get lost, to the end.
pub(super) fn stale_established_request(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    again(bench, &IPV4, Left::Request)
}

/// The server answers such a SYN with an ACK, the client answers that with a reset, and the next SYN finds
/// nothing in its way: so it goes for the second source. The first one's resets get lost.
fn again(bench: &mut Bench, case: &Case, left: Left) -> anyhow::Result<Vec<Outcome>> {
    if case.target.starts_with('[') {
        bench.ipv6_addresses(&["fd09::1", "fd09::2", "fd09::3"])?;
    }
    bench.sysctl(None, "net.ipv4.tcp_timestamps", "0")?;
    let target: SocketAddr = case.target.parse()?;
    let mut server = Foreign::listen(None, target, 1024)?;
    if left == Left::Request {
        // For longer than any machine needs.
        bench.sysctl(None, "net.ipv4.tcp_synack_retries", "8")?;
        bench.drop_packets("tcp sport 8000 tcp flags & (syn|ack) == (syn|ack)")?;
    }
    for source in case.sources {
        for port in (FIRST_PORT..).take(PER_SOURCE.into()) {
            let source = SocketAddr::new(source.parse::<IpAddr>()?, port);
            leave(bench, &mut server, (source, target), left)?;
        }
    }
    let all = 2 * u64::from(PER_SOURCE);
    let state = match left {
        Left::TimeWait => TIME_WAIT,
        Left::Established => ESTABLISHED,
        Left::Request => SYN_RECV,
    };
    bench.until("the server is left with the connections alone", || {
        let left = bench.sockets(&bench.ns, Side::Server, state)?.len() as u64;
        // One that is still closing has its port.
        Ok(left == all && bench.clients(census::CONNECTED)? == 0)
    })?;
    match left {
        Left::Request => bench.drop_packets("tcp dport 8000 tcp flags & rst == rst")?,
        _ => bench.drop_packets(case.resets_of_first)?,
    }
    let (old, before) = (server.held.len(), bench.opened()?);
    let args = format!(
        "--target {target} --sources {} --ips 2 --per-ip {PER_SOURCE} --timeout 800ms",
        case.range
    );
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    // With timestamps a SYN is known to be a new one.
    let stand = match (left, bench.is_fixed()) {
        (Left::TimeWait, true) => all,
        (Left::Request, _) => 0,
        _ => u64::from(PER_SOURCE),
    };
    bench.until("the second source stands", || {
        traced.must_run()?;
        Ok(server.accept(old + stand as usize)? == old + stand as usize)
    })?;
    bench.until("the first source stands, too, or gave up", || {
        let opened = bench.opened()? - before == all;
        Ok(opened && bench.clients(SYN_SENT)? == 0 && bench.clients(ESTABLISHED)? == stand)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let cause = match left {
        Left::TimeWait => "time-wait-hit",
        _ => "stale-established",
    };
    let mut truth = Truth::of(all, &[(cause, all - stand)]);
    truth.recovered = stand;
    if left == Left::Established {
        truth.closed_before = stand;
    }
    Ok(vec![Outcome { truth, run }])
}

/// Makes a connection whose sequence numbers are far ahead of the clock, and leaves the server alone with it.
fn leave(
    bench: &Bench,
    server: &mut Foreign,
    (source, target): (SocketAddr, SocketAddr),
    left: Left,
) -> anyhow::Result<()> {
    let held = server.held.len();
    if left == Left::Request {
        return begin(bench, source, target);
    }
    // The kernel's own choice for this tuple now, to be ahead of it.
    let natural = connect(source, target, None)?;
    let sequence = sequence(natural.as_fd())?;
    accept_one(bench, server, held)?;
    server.reset(1)?;
    vanish(natural)?;
    let client = connect(source, target, Some(sequence.wrapping_add(AHEAD)))?;
    accept_one(bench, server, held)?;
    match left {
        Left::TimeWait => {
            server.close(1);
            // Before, it would be a simultaneous close, and TIME_WAIT at both ends.
            bench.until("the client has the server's FIN", || {
                Ok(bench.clients(CLOSE_WAIT)? == 1)
            })?;
            drop(client);
            Ok(())
        }
        _ => vanish(client),
    }
}

/// Begins to connect, and gives up when the server has the request.
fn begin(bench: &Bench, source: SocketAddr, target: SocketAddr) -> anyhow::Result<()> {
    let before = bench.requests(&bench.ns)?;
    let socket = socket(target)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&source.into())?;
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        done => done.with_context(|| format!("the lab cannot connect from {source}"))?,
    }
    bench.until("the server has the request", || {
        Ok(bench.requests(&bench.ns)? == before + 1)
    })
}

/// The client stands before its ACK has come to the listener.
fn accept_one(bench: &Bench, server: &mut Foreign, held: usize) -> anyhow::Result<()> {
    bench.until("the lab's server accepts", || {
        Ok(server.accept(held + 1)? == held + 1)
    })
}

/// Connects, with an initial sequence number of one's own choice, if there is one.
fn connect(
    source: SocketAddr,
    target: SocketAddr,
    sequence: Option<u32>,
) -> anyhow::Result<Socket> {
    let connected = || -> io::Result<Socket> {
        let socket = socket(target)?;
        socket.set_reuse_address(true)?;
        if let Some(sequence) = sequence {
            // What is set under repair before connect() becomes the initial number (`tcp_v4_connect`).
            repair(socket.as_fd(), REPAIR_ON)?;
            set_tcp(socket.as_fd(), libc::TCP_REPAIR_QUEUE, SEND_QUEUE)?;
            set_tcp(socket.as_fd(), libc::TCP_QUEUE_SEQ, sequence as libc::c_int)?;
            repair(socket.as_fd(), REPAIR_OFF)?;
        }
        socket.bind(&source.into())?;
        socket.connect(&target.into())?;
        Ok(socket)
    };
    connected().with_context(|| format!("the lab cannot connect from {source} to {target}"))
}

/// `TCP_REPAIR_ON`, include/uapi/linux/tcp.h
const REPAIR_ON: libc::c_int = 1;
/// `TCP_REPAIR_OFF_NO_WP`: without a probe of the peer's window.
const REPAIR_OFF: libc::c_int = -1;
/// `TCP_SEND_QUEUE`
const SEND_QUEUE: libc::c_int = 2;

fn repair(socket: BorrowedFd, value: libc::c_int) -> io::Result<()> {
    set_tcp(socket, libc::TCP_REPAIR, value)
}

/// The next sequence number that a connection sends.
fn sequence(socket: BorrowedFd) -> anyhow::Result<u32> {
    repair(socket, REPAIR_ON)?;
    set_tcp(socket, libc::TCP_REPAIR_QUEUE, SEND_QUEUE)?;
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: writes at most `len` bytes to a live integer of that size.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_QUEUE_SEQ,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    ensure!(done == 0, io::Error::last_os_error());
    repair(socket, REPAIR_OFF)?;
    Ok(value as u32)
}

/// Closes a connection without a word to its peer: so closes a socket under repair.
fn vanish(socket: Socket) -> anyhow::Result<()> {
    repair(socket.as_fd(), REPAIR_ON)?;
    Ok(())
}
