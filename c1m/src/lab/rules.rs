//! Labs of packet rules: somebody's firewall drops or rejects a segment of the handshake.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::{
    Outcome,
    bench::{ATTEMPTS, Bench, ESTABLISHED, FIRST_PORT, HIT, HIT_PORT_END, HIT_PORTS},
    foreign::socket,
    process::Place,
    truth::Truth,
};
use crate::{ledger::counters::Counters, netns::Netns};

/// Over IPv4, or over IPv6.
#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    /// The server's address.
    fn target(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.1:8000",
            Self::V6 => "[::1]:8000",
        }
    }

    /// The client's.
    fn source(self) -> &'static str {
        match self {
            Self::V4 => "127.0.1.1",
            Self::V6 => "::1",
        }
    }
}

/// The SYNs that the rules mean.
const SYNS: &str = "tcp dport 8000 tcp flags & (syn|ack) == syn tcp sport";
/// Their SYN-ACKs.
const SYNACKS: &str = "tcp sport 8000 tcp flags & (syn|ack) == syn|ack tcp dport";

/// A rule at `hook` drops or rejects what matches of [`HIT`] attempts; the others stand.
fn hit(
    bench: &mut Bench,
    family: Family,
    hook: &str,
    what: &str,
    verdict: &str,
    cause: &'static str,
) -> anyhow::Result<Vec<Outcome>> {
    let (target, source) = (family.target(), family.source());
    let _server = bench.server(
        Place::default(),
        &format!("--listen {target} --backlog 1024"),
    )?;
    bench.rule(
        None,
        hook,
        0,
        &format!("{what} {HIT_PORTS} counter {verdict}"),
    )?;
    // A rejection by ICMP comes while connect() still has the socket, and counts only when the SYN is sent again.
    let timeout = if verdict == "drop" { "800ms" } else { "5s" };
    let args = format!(
        "--target {target} --sources {source} --ips 1 --per-ip {ATTEMPTS} --timeout {timeout} --hold 1s"
    );
    let run = bench.client_run(None, &args)?;
    let truth = Truth::of(ATTEMPTS, &[(cause, HIT)]);
    Ok(vec![Outcome { truth, run }])
}

/// A rule at OUTPUT drops SYNs.
pub(super) fn netfilter_out(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V4, "output", SYNS, "drop", "netfilter-out")
}

/// The same on ::1.
pub(super) fn netfilter_out_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V6, "output", SYNS, "drop", "netfilter-out")
}

/// A rule at INPUT drops SYNs.
pub(super) fn netfilter_in(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V4, "input", SYNS, "drop", "netfilter-in")
}

/// The same on ::1.
pub(super) fn netfilter_in_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V6, "input", SYNS, "drop", "netfilter-in")
}

/// A rule at INPUT answers SYNs with a RST.
pub(super) fn netfilter_in_reset(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let verdict = "reject with tcp reset";
    hit(bench, Family::V4, "input", SYNS, verdict, "netfilter-in")
}

/// A rule at INPUT answers SYNs with an ICMP error.
pub(super) fn netfilter_in_icmp(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let verdict = "reject with icmpx type host-unreachable";
    hit(bench, Family::V4, "input", SYNS, verdict, "netfilter-in")
}

/// A rule at INPUT drops SYN-ACKs.
pub(super) fn synack_lost(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V4, "input", SYNACKS, "drop", "synack-lost")
}

/// A rule at OUTPUT does.
pub(super) fn synack_lost_out(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V4, "output", SYNACKS, "drop", "synack-lost")
}

/// The same on ::1.
pub(super) fn synack_lost_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V6, "output", SYNACKS, "drop", "synack-lost")
}

/// A rule at INPUT drops final ACKs, and then another the SYN-ACKs that ask for them again: what was dropped last did not
/// decide.
pub(super) fn netfilter_in_ack(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const SENT_AGAIN: &str = "TcpExtTCPSynRetrans";
    const ACKS: &str = "tcp dport 8000 tcp flags & (fin|syn|rst|ack) == ack tcp sport";
    let _server = bench.server(Place::default(), "--backlog 1024")?;
    bench.rule(
        None,
        "input",
        0,
        &format!("{ACKS} {HIT_PORTS} counter drop"),
    )?;
    let args = format!("--ips 1 --per-ip {ATTEMPTS}");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.until("every client is established", || {
        traced.must_run()?;
        Ok(bench.clients(ESTABLISHED)? == ATTEMPTS)
    })?;
    bench.rule(
        None,
        "input",
        0,
        &format!("{SYNACKS} {HIT_PORTS} counter drop"),
    )?;
    let before = Counters::read(&bench.ns)?.get(SENT_AGAIN);
    bench.until("every SYN-ACK was sent again", || {
        Ok(Counters::read(&bench.ns)?.get(SENT_AGAIN) - before >= HIT)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("netfilter-in", HIT)]);
    Ok(vec![Outcome { truth, run }])
}

/// A rule drops SYN-ACKs, and meanwhile connections with the same addresses and ports come and go in another namespace, on
/// every CPU: nothing that they meet may be taken for what the traced ones met, nor end it.
pub(super) fn synack_lost_beside(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let _server = bench.server(Place::default(), "--backlog 1024")?;
    let rule = format!("{SYNACKS} {HIT_PORTS} counter drop");
    bench.rule(None, "input", 0, &rule)?;
    let other = Netns::create()?;
    let over = AtomicBool::new(false);
    // Longer than the server waits until it sends its SYN-ACK again.
    let args = format!("--ips 1 --per-ip {ATTEMPTS} --timeout 2500ms --hold 1s");
    let (run, made) = thread::scope(|scope| {
        let busy = scope.spawn(|| other.run(|| come_and_go(&over)));
        let run = bench.client_run(None, &args);
        over.store(true, Ordering::Relaxed);
        (run, busy.join())
    });
    let made =
        made.map_err(|_| anyhow::anyhow!("the other namespace's connections ended in a panic"))???;
    ensure!(
        made > HIT,
        "the other namespace made {made} connections: too few to be in the way"
    );
    let truth = Truth::of(ATTEMPTS, &[("synack-lost", HIT)]);
    Ok(vec![Outcome { truth, run: run? }])
}

/// Connects from the ports that are hit, in the calling thread's namespace and on one CPU after the other, until it is over:
/// how often.
fn come_and_go(over: &AtomicBool) -> anyhow::Result<u64> {
    /// No lab takes longer.
    const LIMIT: Duration = Duration::from_secs(60);
    const SERVER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8000));
    let listener = socket(SERVER)?;
    listener.bind(&SERVER.into())?;
    listener.listen(128)?;
    listener.set_nonblocking(true)?;
    let cpus = sched_getaffinity(None)?;
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&cpu| cpus.is_set(cpu))
        .collect();
    let begun = Instant::now();
    let mut made = 0;
    for cpu in cpus.into_iter().cycle() {
        if over.load(Ordering::Relaxed) || begun.elapsed() > LIMIT {
            break;
        }
        let mut one = CpuSet::new();
        one.set(cpu);
        sched_setaffinity(None, &one)?;
        for port in FIRST_PORT..HIT_PORT_END {
            let source = SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, 1), port);
            match come(source.into(), SERVER) {
                Ok(()) => made += 1,
                // For a moment the last one of that port is still there.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
                Err(error) => return Err(error).context("the lab's other namespace"),
            }
            while listener.accept().is_ok() {}
        }
    }
    Ok(made)
}

/// One connection that is reset at once.
fn come(source: SocketAddr, target: SocketAddr) -> io::Result<()> {
    let connection = socket(source)?;
    connection.set_reuse_address(true)?;
    connection.set_linger(Some(Duration::ZERO))?;
    connection.bind(&source.into())?;
    connection.connect_timeout(&target.into(), Duration::from_secs(5))
}
