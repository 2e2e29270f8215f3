//! Labs of the way between two hosts: routes, neighbours, queues.

use anyhow::Context;

use super::{
    Outcome, Skip,
    bench::{ATTEMPTS, Bench, HIT},
    process::{Place, tool},
    truth::Truth,
};

/// Nothing leads to the target.
pub(super) fn no_route(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    no_route_at(bench, "10.9.9.9:8000", "127.0.1.1")
}

/// The same over IPv6.
pub(super) fn no_route_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    no_route_at(bench, "[2001:db8::9]:8000", "::1")
}

fn no_route_at(bench: &mut Bench, target: &str, source: &str) -> anyhow::Result<Vec<Outcome>> {
    let args = format!(
        "--target {target} --sources {source} --ips 1 --per-ip {ATTEMPTS} --unchecked --hold 0s"
    );
    let run = bench.client_run(None, &args)?;
    let truth = Truth::of(ATTEMPTS, &[("no-route", ATTEMPTS)]);
    Ok(vec![Outcome { truth, run }])
}

/// The server's host knows a way back to the first source alone, and checks the way back.
pub(super) fn rp_filter(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const HALF: u64 = ATTEMPTS / 2;
    let far = bench.second_namespace()?;
    for address in ["10.9.1.3/32", "10.9.1.4/32"] {
        bench.ip(None, &format!("addr add {address} dev c1m-a"))?;
    }
    bench.ip(Some(&far), "addr add 10.9.1.2/32 dev c1m-b")?;
    bench.ip(Some(&far), "route add 10.9.1.3/32 dev c1m-b")?;
    bench.sysctl(Some(&far), "net.ipv4.conf.all.rp_filter", "1")?;
    let place = Place {
        ns: Some(&far),
        ..Place::default()
    };
    let _server = bench.server(place, "--listen 10.9.1.2:8000 --backlog 1024")?;
    let args = format!(
        "--target 10.9.1.2:8000 --sources 10.9.1.3-4 --ips 2 --per-ip {HALF} --timeout 800ms --hold 1s"
    );
    let run = bench.client_run(Some(&far), &args)?;
    let mut truth = Truth::of(2 * HALF, &[("rp-filter", HALF)]);
    truth.places = vec![("rp-filter", "10.9.1.4".to_owned(), HALF)];
    Ok(vec![Outcome { truth, run }])
}

/// Nobody has 10.9.1.9: the question is asked once, and then its SYNs are dropped.
pub(super) fn neighbour(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let _far = bench.second_namespace()?;
    bench.sysctl(None, "net.ipv4.neigh.c1m-a.mcast_solicit", "1")?;
    bench.sysctl(None, "net.ipv4.neigh.c1m-a.retrans_time_ms", "200")?;
    let args = format!(
        "--target 10.9.1.9:8000 --sources 10.9.1.1 --ips 1 --per-ip {ATTEMPTS} --timeout 5s --hold 0s"
    );
    let run = bench.client_run(None, &args)?;
    let truth = Truth::of(ATTEMPTS, &[("neighbour", ATTEMPTS)]);
    Ok(vec![Outcome { truth, run }])
}

/// The other namespace is a router, which may not let them through and says so.
pub(super) fn icmp_error(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let far = bench.second_namespace()?;
    bench.ip(Some(&far), "addr add 10.9.1.2/24 dev c1m-b")?;
    bench.sysctl(Some(&far), "net.ipv4.ip_forward", "1")?;
    // An answer to each.
    bench.sysctl(Some(&far), "net.ipv4.icmp_ratelimit", "0")?;
    bench.ip(Some(&far), "route add 10.9.3.0/24 dev lo")?;
    bench.ip(None, "route add 10.9.3.0/24 via 10.9.1.2")?;
    let mut outcomes = Vec::new();
    for message in ["host-unreachable", "port-unreachable"] {
        let reject = format!("tcp dport 8000 reject with icmp type {message}");
        bench.rule(Some(&far), "forward", 0, &reject)?;
        let args = format!(
            "--target 10.9.3.3:8000 --sources 10.9.1.1 --ips 1 --per-ip {HIT} --timeout 5s --hold 0s"
        );
        let run = bench.client_run(None, &args)?;
        tool("nft", &["flush", "ruleset"], "", Some(&far))?;
        let truth = Truth::of(HIT, &[("icmp-error", HIT)]);
        outcomes.push(Outcome { truth, run });
    }
    Ok(outcomes)
}

/// The SYNs of one of two sources go to a class of the device's queue that lets one out and holds ten.
pub(super) fn qdisc_drop(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const HALF: u64 = ATTEMPTS / 2;
    const HELD: u64 = 10;
    let far = bench.second_namespace()?;
    bench.ip(Some(&far), "addr add 10.9.1.2/24 dev c1m-b")?;
    for address in ["10.9.1.3/32", "10.9.1.4/32"] {
        bench.ip(None, &format!("addr add {address} dev c1m-a"))?;
    }
    for args in [
        "qdisc add dev c1m-a root handle 1: htb default 1".to_owned(),
        "class add dev c1m-a parent 1: classid 1:1 htb rate 1gbit".to_owned(),
        // The first packet takes what the class has, and more comes at a byte per second.
        "class add dev c1m-a parent 1: classid 1:2 htb rate 8bit burst 1 cburst 1".to_owned(),
        format!("qdisc add dev c1m-a parent 1:2 pfifo limit {HELD}"),
    ] {
        bench
            .tc(&args)
            .map_err(|error| Skip(format!("this kernel has no HTB: {error:#}")))?;
    }
    let to_class = "ip saddr 10.9.1.4 tcp flags & (syn|ack) == syn meta priority set 1:2";
    bench.rule(None, "output", 0, to_class)?;
    let place = Place {
        ns: Some(&far),
        ..Place::default()
    };
    let _server = bench.server(place, "--listen 10.9.1.2:8000 --backlog 1024")?;
    let args = format!(
        "--target 10.9.1.2:8000 --sources 10.9.1.3-4 --ips 2 --per-ip {HALF} --timeout 800ms --hold 1s"
    );
    let run = bench
        .traced_client(Place::default(), Some(&far), &args)?
        .finish(bench)
        .context("the client behind the queue")?;
    // What the queue holds, it does not drop: these SYNs were too slow.
    let dropped = HALF - 1 - HELD;
    let mut truth = Truth::of(2 * HALF, &[("qdisc-drop", dropped), ("gave-up", HELD)]);
    truth.places = vec![("qdisc-drop", "10.9.1.4".to_owned(), dropped)];
    Ok(vec![Outcome { truth, run }])
}
