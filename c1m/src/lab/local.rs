//! Labs of what goes wrong on the client's own host.

use super::{
    Outcome,
    bench::{Bench, FIN_WAIT_2, PORT, TIME_WAIT},
    foreign::{Foreign, connect},
    process::Place,
    truth::Truth,
};
use crate::ledger::census::{self, Holders};

/// A worker with `NOFILE` descriptors, of which it needs some for itself, shall open more connections.
pub(super) fn emfile(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 300;
    const NOFILE: u64 = 200;
    let opened = NOFILE - crate::load::worker::BASE_FDS;
    let _server = bench.server(Place::default(), "--backlog 1024")?;
    let limited = Place {
        nofile: Some(NOFILE),
        ..Place::default()
    };
    let args = format!(
        "--sources 127.0.1.1 --connections {ATTEMPTS} --per-ip {ATTEMPTS} --per-worker {ATTEMPTS} --unchecked --hold 1s"
    );
    let run = bench.traced_client(limited, None, &args)?.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("emfile", ATTEMPTS - opened)]);
    Ok(vec![Outcome { truth, run }])
}

/// 10.9.0.1 and 10.9.0.2 are added, 10.9.0.3 and 10.9.0.4 are not.
pub(super) fn source_not_local(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const PER_SOURCE: u64 = 25;
    for address in ["10.9.0.1/32", "10.9.0.2/32"] {
        bench.ip(None, &format!("addr add {address} dev lo"))?;
    }
    let _server = bench.server(Place::default(), "--listen 0.0.0.0:8000 --backlog 1024")?;
    let args = format!(
        "--target 10.9.0.1:8000 --sources 10.9.0.1-4 --ips 4 --per-ip {PER_SOURCE} --unchecked --hold 1s"
    );
    let run = bench
        .traced_client(Place::default(), None, &args)?
        .finish(bench)?;
    let mut truth = Truth::of(4 * PER_SOURCE, &[("source-not-local", 2 * PER_SOURCE)]);
    truth.places = ["10.9.0.3", "10.9.0.4"]
        .map(|source| ("source-not-local", source.to_owned(), PER_SOURCE))
        .into();
    Ok(vec![Outcome { truth, run }])
}

/// 100 ephemeral ports for one source and one target, half of them held by others.
pub(super) fn ports_exhausted(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 150;
    const PORTS: u64 = 100;
    const BEFORE: Holders = Holders {
        live: 20,
        time_wait: 20,
        fin_wait_2: 10,
        other: 0,
    };
    bench.sysctl(None, "net.ipv4.ip_local_port_range", "40000 40099")?;
    bench.sysctl(None, "net.ipv4.tcp_tw_reuse", "0")?;
    let target = ([127, 0, 0, 1], PORT).into();
    let mut server = Foreign::listen(None, target, 1024)?;
    // Autobound, as the client's will be: a port bound by hand would be held towards every target.
    let mut held = connect(target, BEFORE.total() as usize)?;
    bench.until("the holders are accepted", || {
        Ok(server.accept(held.len())? == held.len())
    })?;
    // The clients close the last 30; the server closes the last 20 of these, and keeps 10 waiting.
    held.truncate(BEFORE.live as usize);
    server.close(BEFORE.time_wait as usize);
    bench.until("20 in TIME_WAIT and 10 in FIN_WAIT_2", || {
        let dead = [bench.clients(TIME_WAIT)?, bench.clients(FIN_WAIT_2)?];
        Ok(dead == [BEFORE.time_wait, BEFORE.fin_wait_2])
    })?;
    anyhow::ensure!(
        census::holders(&bench.ns, target)?
            .values()
            .copied()
            .collect::<Vec<_>>()
            == [BEFORE],
        "the ports are held by others than the lab meant"
    );

    let args = format!(
        "--sources 127.0.0.1 --ips 1 --connections {ATTEMPTS} --per-ip {ATTEMPTS} --ports kernel --unchecked --hold 1s"
    );
    let traced = bench.traced_client(Place::default(), None, &args)?;
    let free = PORTS - BEFORE.total();
    let all = server.held.len() + free as usize;
    bench.until("the client's share is accepted", || {
        Ok(server.accept(all)? == all)
    })?;
    let run = traced.finish(bench)?;
    let mut truth = Truth::of(ATTEMPTS, &[("ports-exhausted", ATTEMPTS - free)]);
    truth.places = vec![("ports-exhausted", "127.0.0.1".to_owned(), ATTEMPTS - free)];
    let live = BEFORE.live + free;
    let words = [
        format!("{live} live"),
        format!("{} in TIME_WAIT", BEFORE.time_wait),
        format!("{} in FIN_WAIT_2", BEFORE.fin_wait_2),
    ];
    truth.words = words.map(|words| ("ports-exhausted", words)).into();
    Ok(vec![Outcome { truth, run }])
}

/// The SYNs leave the client's host and vanish beyond it.
pub(super) fn gave_up(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 30;
    // Nobody has 10.9.1.2 there.
    let _nowhere = bench.second_namespace()?;
    let args = format!(
        "--target 10.9.1.2:8000 --sources 10.9.1.1 --ips 1 --per-ip {ATTEMPTS} --timeout 500ms --hold 0s"
    );
    let run = bench
        .traced_client(Place::default(), None, &args)?
        .finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("gave-up", ATTEMPTS)]);
    Ok(vec![Outcome { truth, run }])
}
