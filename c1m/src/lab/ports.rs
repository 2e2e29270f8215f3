//! Labs of source ports that are taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;

use super::{
    Outcome,
    bench::{Bench, PORT, TIME_WAIT},
    foreign::{Foreign, connect, connect_from},
    process::Place,
    truth::Truth,
};
use crate::ledger::census::{self, Holders};

/// 100 ephemeral ports for one source and one target, half of them held by others.
pub(super) fn ports_exhausted(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    exhausted(bench, held(20, 20, 10))
}

/// The same, held by TIME_WAIT alone.
pub(super) fn ports_exhausted_time_wait(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    exhausted(bench, held(0, 60, 0))
}

/// The same, held by FIN_WAIT_2 alone.
pub(super) fn ports_exhausted_fin_wait_2(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    exhausted(bench, held(0, 0, 60))
}

fn held(live: u64, time_wait: u64, fin_wait_2: u64) -> Holders {
    Holders {
        live,
        time_wait,
        fin_wait_2,
        other: 0,
    }
}

fn exhausted(bench: &mut Bench, before: Holders) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 150;
    const RANGE: (&str, &str) = ("net.ipv4.ip_local_port_range", "40000 40099");
    bench.sysctl(None, RANGE.0, RANGE.1)?;
    bench.sysctl(None, "net.ipv4.tcp_tw_reuse", "0")?;
    let target = ([127, 0, 0, 1], PORT).into();
    let mut server = Foreign::listen(None, target, 1024)?;
    // Autobound, as the client's will be: a port bound by hand would be held towards every target.
    let mut held = connect(target, before.total() as usize)?;
    bench.accepted_in_order(&mut server, &mut held)?;
    // The clients close all but the first; the server closes the last of these, and keeps the others waiting.
    held.truncate(before.live as usize);
    server.close(before.time_wait as usize);
    bench.until(
        "the dead are in TIME_WAIT and FIN_WAIT_2, and hold the ports with the others",
        || {
            let holders = census::holders(&bench.ns, target)?;
            Ok(holders.into_values().eq([before]))
        },
    )?;

    let args = format!(
        "--sources 127.0.0.1 --ips 1 --connections {ATTEMPTS} --per-ip {ATTEMPTS} --ports kernel --unchecked --hold {}",
        if bench.is_foreign() { "60s" } else { "1s" }
    );
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    let free = ATTEMPTS.min(ports_of(bench.setting(RANGE.0, RANGE.1))? - before.total());
    let all = server.held.len() + free as usize;
    bench.until("the client's share is accepted", || {
        traced.must_run()?;
        Ok(server.accept(all)? == all)
    })?;
    // A plain client's ports are free once it has ended.
    traced.interrupt_plain(bench)?;
    let run = traced.finish(bench)?;
    let mut truth = Truth::of(ATTEMPTS, &[("ports-exhausted", ATTEMPTS - free)]);
    truth.places = vec![("ports-exhausted", "127.0.0.1".to_owned(), ATTEMPTS - free)];
    let live = before.live + free;
    let mut words = format!("{live} live");
    for (count, state) in [
        (before.time_wait, "TIME_WAIT"),
        (before.fin_wait_2, "FIN_WAIT_2"),
    ] {
        if count > 0 {
            words.push_str(&format!(", {count} in {state}"));
        }
    }
    truth.words = vec![("ports-exhausted", words)];
    Ok(vec![Outcome { truth, run }])
}

/// How many ports a range has.
fn ports_of(range: &str) -> anyhow::Result<u64> {
    let (first, last) = range.split_once(' ').context("a range of ports")?;
    let (first, last): (u64, u64) = (first.parse()?, last.parse()?);
    Ok(last - first + 1)
}

/// The client's own tuples are held by connections of another program, and by TIME_WAIT.
pub(super) fn tuple_busy(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    tuple_busy_at(bench, Ipv4Addr::LOCALHOST.into(), "127.0.1.1")
}

/// The same on ::1.
pub(super) fn tuple_busy_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    tuple_busy_at(bench, Ipv6Addr::LOCALHOST.into(), "::1")
}

fn tuple_busy_at(bench: &mut Bench, target: IpAddr, source: &str) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u16 = 40;
    const LIVE: u16 = 9;
    const TIME_WAITS: u16 = 6;
    const FIRST: u16 = 10_000;
    // With timestamps a program may have the tuple of a TIME_WAIT socket at once, if it bound the port itself.
    bench.sysctl(None, "net.ipv4.tcp_timestamps", "0")?;
    let target = SocketAddr::new(target, PORT);
    let mut server = Foreign::listen(None, target, 1024)?;
    let address: IpAddr = source.parse()?;
    let mut held = (FIRST..FIRST + LIVE + TIME_WAITS)
        .map(|port| connect_from(SocketAddr::new(address, port), target))
        .collect::<anyhow::Result<Vec<_>>>()?;
    bench.accepted_in_order(&mut server, &mut held)?;
    held.truncate(LIVE.into());
    server.close(TIME_WAITS.into());
    bench.until("the dead are in TIME_WAIT", || {
        Ok(bench.clients(TIME_WAIT)? == u64::from(TIME_WAITS))
    })?;
    let args = format!(
        "--target {target} --sources {source} --ips 1 --per-ip {ATTEMPTS} --port-range {FIRST}-{} --unchecked --hold 1s",
        FIRST + ATTEMPTS - 1
    );
    let traced = bench.traced_client(Place::default(), None, &args)?;
    // Ports of the kernel's choice are free ones.
    let busy = if bench.is_fixed() {
        0
    } else {
        LIVE + TIME_WAITS
    };
    let all = usize::from(LIVE + ATTEMPTS - busy);
    bench.until("the client's share is accepted", || {
        Ok(server.accept(all)? == all)
    })?;
    let run = traced.finish(bench)?;
    let busy = u64::from(busy);
    let mut truth = Truth::of(ATTEMPTS.into(), &[("tuple-busy", busy)]);
    truth.places = vec![("tuple-busy", source.to_owned(), busy)];
    Ok(vec![Outcome { truth, run }])
}
