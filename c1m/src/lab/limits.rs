//! Labs of limits of the whole host.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
};

use anyhow::{Context as _, ensure};

use super::{
    Outcome,
    bench::{ATTEMPTS, Bench, FIRST_PORT, HIT, HIT_PORT_END, OWN_HARDWARE, PORT, SYN_SENT},
    cgroup::Cgroup,
    foreign::{Foreign, connect},
    process::{Place, descendants, tool},
    truth::Truth,
};
use crate::ledger::counters::Counters;

/// The user and group `nobody`.
const NOBODY: u32 = 65_534;

/// Open files run out under a client that has no privileges; then the same load is run by root.
pub(super) fn enfile(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    /// Each takes two files, one at either end.
    const ATTEMPTS: u64 = 400;
    /// More than a client needs to start with, and its tracer; less than the connections take.
    const ROOM: u64 = 450;
    let _server = bench.server(Place::default(), "--backlog 1024 --workers-max 1")?;
    bench.host_sysctl("fs.file-max", files_open()? + ROOM)?;
    let args = format!(
        "--sources 127.0.1.1 --ips 1 --per-ip {ATTEMPTS} --per-worker {ATTEMPTS} --unchecked --hold 1s"
    );
    let mut outcomes = Vec::new();
    for user in [Some(NOBODY), None] {
        let place = Place {
            user,
            ..Place::default()
        };
        let before = bench.opened()?;
        let run = bench.traced_client(place, None, &args)?.finish(bench)?;
        // The kernel's counter of files is exact at the limit alone: who came to connect() had one.
        let refused = ATTEMPTS - (bench.opened()? - before);
        let mut truth = Truth::of(ATTEMPTS, &[("enfile", refused)]);
        match user {
            Some(_) => ensure!(
                refused > 0 || bench.is_fixed(),
                "{ATTEMPTS} connections did not reach fs.file-max"
            ),
            None => {
                ensure!(refused == 0, "root met fs.file-max");
                truth.notes = vec!["ran as root, which is exempt from fs.file-max".to_owned()];
            }
        }
        outcomes.push(Outcome { truth, run });
    }
    Ok(outcomes)
}

/// While its first attempts wait for an answer, a client's process comes into a control group without memory: no socket
/// can be made for the others.
pub(super) fn no_memory(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const FIRST: u64 = 20;
    const ATTEMPTS: u64 = 60;
    let group = Cgroup::without_memory()?;
    let mut server = Foreign::listen(None, ([127, 0, 0, 1], PORT).into(), 1024)?;
    bench.drop_packets("tcp dport 8000")?;
    let args =
        format!("--sources 127.0.1.1 --ips 1 --per-ip {ATTEMPTS} --in-flight {FIRST} --hold 1s");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.until("the first SYNs are sent", || {
        traced.must_run()?;
        Ok(bench.clients(SYN_SENT)? == FIRST)
    })?;
    for worker in descendants(traced.pid()) {
        group.take_in(worker)?;
    }
    bench.pass_all()?;
    bench.until("the first are accepted", || {
        traced.must_run()?;
        Ok(server.accept(FIRST as usize)? == FIRST as usize)
    })?;
    let run = traced.finish(bench)?;
    let mut truth = Truth::of(ATTEMPTS, &[("no-memory", ATTEMPTS - FIRST)]);
    truth.recovered = FIRST;
    Ok(vec![Outcome { truth, run }])
}

/// How many files are open on the host.
fn files_open() -> anyhow::Result<u64> {
    read_number("/proc/sys/fs/file-nr")
}

/// The first number of a file of /proc.
fn read_number(path: &'static str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(path).context(path)?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().context(path)
}

/// Connections of others fill the conntrack table. A part of the client's is not tracked, and of that a rule drops some.
pub(super) fn conntrack_full(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const OTHERS: usize = 8;
    const BY_RULE: u64 = 8;
    let _server = bench.server(Place::default(), "--backlog 1024")?;
    let by_rule = format!("{HIT_PORT_END}-{}", HIT_PORT_END + BY_RULE as u16 - 1);
    let untracked = format!("{HIT_PORT_END}-{}", FIRST_PORT + ATTEMPTS as u16 - 1);
    let rules = format!(
        "table inet c1m {{\n\
         chain untracked {{ type filter hook output priority -300\n\
         tcp sport {untracked} notrack\ntcp dport {untracked} notrack\n}}\n\
         chain tracked {{ type filter hook output priority 0\n\
         ct state new counter\n\
         tcp sport {by_rule} tcp flags & (syn|ack) == syn counter drop\n}}\n}}\n"
    );
    tool("nft", &["-f", "-"], &rules, None)?;
    // Whose final ACK was sent cannot be evicted any more.
    let elsewhere = ([127, 0, 0, 1], PORT + 1).into();
    let _listener = Foreign::listen(None, elsewhere, 1024)?;
    let _others = connect(elsewhere, OTHERS)?;
    let tracked = read_number("/proc/sys/net/netfilter/nf_conntrack_count")?;
    ensure!(
        tracked == OTHERS as u64,
        "{tracked} connections are tracked, not {OTHERS}"
    );
    bench.host_sysctl("net.netfilter.nf_conntrack_max", OTHERS)?;
    let args = format!("--sources 127.0.1.1 --ips 1 --per-ip {ATTEMPTS} --timeout 800ms --hold 1s");
    let run = bench.client_run(None, &args)?;
    let lost = [("conntrack-full", HIT), ("netfilter-out", BY_RULE)];
    let truth = Truth::of(ATTEMPTS, &lost);
    Ok(vec![Outcome { truth, run }])
}

/// One of two sources has a gateway for which the neighbour table has no room.
pub(super) fn neighbour_table_full(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const HALF: u64 = ATTEMPTS / 2;
    let far = bench.second_namespace()?;
    for address in ["10.9.1.3/32", "10.9.1.4/32"] {
        bench.ip(None, &format!("addr add {address} dev c1m-a"))?;
    }
    for address in ["10.9.1.2/24", "10.9.1.77/32"] {
        bench.ip(Some(&far), &format!("addr add {address} dev c1m-b"))?;
    }
    for address in ["10.9.1.3", "10.9.1.4"] {
        let known =
            format!("neigh replace {address} lladdr {OWN_HARDWARE} dev c1m-b nud permanent");
        bench.ip(Some(&far), &known)?;
    }
    bench.ip(None, "route add default via 10.9.1.77 dev c1m-a table 100")?;
    bench.ip(None, "rule add from 10.9.1.4 lookup 100")?;
    let place = Place {
        ns: Some(&far),
        ..Place::default()
    };
    let _server = bench.server(place, "--listen 10.9.1.2:8000 --backlog 1024")?;
    bench.host_sysctl("net.ipv4.neigh.default.gc_thresh3", 1)?;
    if !bench.is_fixed() {
        fill_neighbours(bench)?;
    }
    let args = format!(
        "--target 10.9.1.2:8000 --sources 10.9.1.3-4 --ips 2 --per-ip {HALF} --timeout 800ms --hold 1s"
    );
    let run = bench.client_run(Some(&far), &args)?;
    let mut truth = Truth::of(2 * HALF, &[("neighbour", HALF)]);
    truth.places = vec![("neighbour", "10.9.1.4".to_owned(), HALF)];
    Ok(vec![Outcome { truth, run }])
}

/// Asks for neighbours that nobody is, until the table takes no more. Those that are asked for cannot be thrown out.
fn fill_neighbours(bench: &Bench) -> anyhow::Result<()> {
    // Asked for as long as the lab takes.
    bench.sysctl(None, "net.ipv4.neigh.c1m-a.mcast_solicit", "200")?;
    let socket = UdpSocket::bind("10.9.1.1:0")?;
    let refused = || anyhow::Ok(Counters::read(&bench.ns)?.get("ArpCacheTableFulls"));
    let before = refused()?;
    let mut strangers = 100..250;
    bench.until("the neighbour table is full", || {
        let stranger = strangers.next().context("150 neighbours did not fill it")?;
        // Once it is full the sender is told.
        let _ = socket.send_to(b"?", (Ipv4Addr::new(10, 9, 1, stranger), 9));
        Ok(refused()? > before)
    })
}
