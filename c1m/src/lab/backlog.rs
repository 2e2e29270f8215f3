//! A lab of the CPU's input queue.

use anyhow::ensure;

use super::{
    Outcome,
    ack::release_burst,
    bench::{Bench, ESTABLISHED, PORT},
    foreign::Foreign,
    process::Place,
    truth::Truth,
};
use crate::{
    ledger::counters::{Counters, SOFTNET_DROPPED},
    netns::Netns,
};

/// The SYNs wait for the server's hardware address. Its answer to ARP comes in a softirq, which lets all of them go at
/// once: they meet the CPU's input queue before it gets to them.
pub(super) fn cpu_backlog(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 40;
    const BACKLOG: u64 = 9;
    let far = waiting_namespace(bench)?;
    let mut server = Foreign::listen(Some(&far), ([10, 9, 1, 2], PORT).into(), 1024)?;
    let args = format!(
        "--target 10.9.1.2:8000 --sources 10.9.1.1 --ips 1 --timeout 30s --per-ip {ATTEMPTS}"
    );
    let mut traced = bench.traced_client(Place::default(), Some(&far), &args)?;
    let before = Counters::read(&bench.ns)?;
    // The kernel sends no SYN again while the first still waits on this host. Then there are 2 s until it tries next.
    bench.until("every SYN was to be sent again, and was not", || {
        traced.must_run()?;
        let now = Counters::read(&bench.ns)?;
        let tried = |name| now.get(name) - before.get(name);
        Ok(tried("TcpActiveOpens") == ATTEMPTS && tried("TcpExtTCPTimeouts") >= ATTEMPTS)
    })?;
    bench.host_sysctl("net.core.netdev_max_backlog", BACKLOG)?;
    let backlog: u64 = bench
        .setting("net.core.netdev_max_backlog", &BACKLOG.to_string())
        .parse()?;
    // One more than the limit says.
    let admitted = ATTEMPTS.min(backlog + 1);
    let dropped = || -> anyhow::Result<u64> {
        let now = Counters::read(&bench.ns)?.get(SOFTNET_DROPPED);
        Ok(now - before.get(SOFTNET_DROPPED))
    };
    bench.sysctl(Some(&far), "net.ipv4.conf.all.arp_ignore", "0")?;
    bench.until("the burst is over", || {
        let stand = bench.clients(ESTABLISHED)?;
        Ok(stand >= admitted && dropped()? >= ATTEMPTS - admitted)
    })?;
    // Without a route no SYN is sent again: what stands now is all that will.
    bench.ip(None, "route del 10.9.1.0/24 dev c1m-a")?;
    let mut stand = 0;
    bench.until("what stands is accepted", || {
        stand = bench.clients(ESTABLISHED)?;
        Ok(server.accept(ATTEMPTS as usize)? as u64 == stand)
    })?;
    let (found, expected) = (dropped()?, ATTEMPTS - admitted);
    ensure!(
        found == expected && stand == admitted,
        "the CPU's queue dropped {found} of {ATTEMPTS}, not {expected}, and {stand} stand"
    );
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("cpu-backlog", expected)]);
    Ok(vec![Outcome { truth, run }])
}

/// A second namespace that does not yet say what its hardware address is; it is asked ten times a second.
fn waiting_namespace(bench: &Bench) -> anyhow::Result<Netns> {
    let far = bench.second_namespace()?;
    bench.ip(None, "neigh del 10.9.1.2 dev c1m-a")?;
    bench.sysctl(Some(&far), "net.ipv4.conf.all.arp_ignore", "8")?;
    bench.ip(Some(&far), "addr add 10.9.1.2/24 dev c1m-b")?;
    release_burst(bench, &far)?;
    for (name, value) in [
        ("neigh.c1m-a.mcast_solicit", "2000"),
        ("neigh.c1m-a.retrans_time_ms", "100"),
        ("neigh.c1m-a.unres_qlen_bytes", "67108864"),
    ] {
        bench.sysctl(None, &format!("net.ipv4.{name}"), value)?;
    }
    // Newer kernels try the first few times after 1 s each.
    let linear = "net.ipv4.tcp_syn_linear_timeouts";
    if super::host::path(linear).exists() {
        bench.sysctl(None, linear, "0")?;
    }
    Ok(far)
}
