//! Labs of what goes wrong on the client's own host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    Outcome,
    bench::{Bench, ESTABLISHED, PORT, SYN_SENT},
    foreign::{Foreign, bind},
    process::Place,
    truth::Truth,
};
use crate::causes::remedy::Who;

/// A worker with `NOFILE` descriptors, of which it needs some for itself, shall open more connections.
pub(super) fn emfile(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 300;
    const NOFILE: u64 = 200;
    let opened = ATTEMPTS.min(bench.nofile(Who::Client, NOFILE) - bench.base_fds(Who::Client));
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
    let run = bench.client_run(None, &args)?;
    let mut truth = Truth::of(4 * PER_SOURCE, &[("source-not-local", 2 * PER_SOURCE)]);
    truth.places = ["10.9.0.3", "10.9.0.4"]
        .map(|source| ("source-not-local", source.to_owned(), PER_SOURCE))
        .into();
    Ok(vec![Outcome { truth, run }])
}

/// Another program has bound some of the ports that the client is to use.
pub(super) fn bind_conflict(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    bind_conflict_at(bench, Ipv4Addr::LOCALHOST.into(), "127.0.1.1")
}

/// The same on ::1.
pub(super) fn bind_conflict_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    bind_conflict_at(bench, Ipv6Addr::LOCALHOST.into(), "::1")
}

fn bind_conflict_at(
    bench: &mut Bench,
    target: IpAddr,
    source: &str,
) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u16 = 40;
    const BOUND: u16 = 15;
    const FIRST: u16 = 10_000;
    let target = SocketAddr::new(target, PORT);
    let _server = bench.server(
        Place::default(),
        &format!("--listen {target} --backlog 1024"),
    )?;
    let address: IpAddr = source.parse()?;
    let _bound = (FIRST..FIRST + BOUND)
        .map(|port| bind(SocketAddr::new(address, port)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let args = format!(
        "--target {target} --sources {source} --ips 1 --per-ip {ATTEMPTS} --port-range {FIRST}-{} --unchecked --hold 1s",
        FIRST + ATTEMPTS - 1
    );
    let run = bench.client_run(None, &args)?;
    let (attempts, bound) = (u64::from(ATTEMPTS), u64::from(BOUND));
    let mut truth = Truth::of(attempts, &[("bind-conflict", bound)]);
    truth.places = vec![("bind-conflict", source.to_owned(), bound)];
    Ok(vec![Outcome { truth, run }])
}

/// Nobody listens, and one of the source ports is the target's own.
pub(super) fn self_connect(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    self_connect_at(bench, "127.0.0.1:8000", "127.0.0.1")
}

/// The same on ::1.
pub(super) fn self_connect_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    self_connect_at(bench, "[::1]:8000", "::1")
}

fn self_connect_at(bench: &mut Bench, target: &str, source: &str) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 20;
    let args = format!(
        "--target {target} --sources {source} --ips 1 --per-ip {ATTEMPTS} --port-range 7990-8009 --unchecked --hold 1s"
    );
    let run = bench.client_run(None, &args)?;
    // From another port it is refused like the others.
    let itself = u64::from(!bench.is_fixed());
    let lost = [("self-connect", itself), ("refused", ATTEMPTS - itself)];
    let truth = Truth::of(ATTEMPTS, &lost);
    Ok(vec![Outcome { truth, run }])
}

/// The SYNs leave the client's host and vanish beyond it, where the server comes up only after them. Who waits until
/// the kernel sends them again, after 1 s, gets an answer.
pub(super) fn gave_up(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 30;
    let far = bench.second_namespace()?;
    let args = format!(
        "--target 10.9.1.2:8000 --sources 10.9.1.1 --ips 1 --per-ip {ATTEMPTS} --timeout 500ms"
    );
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.until("every SYN is sent, to an address that nobody has", || {
        traced.must_run()?;
        Ok(bench.opened()? == ATTEMPTS)
    })?;
    bench.ip(Some(&far), "addr add 10.9.1.2/24 dev c1m-b")?;
    let mut server = Foreign::listen(Some(&far), ([10, 9, 1, 2], PORT).into(), 1024)?;
    bench.until("every client was answered or gave up", || {
        Ok(bench.clients(SYN_SENT)? == 0)
    })?;
    let answered = bench.clients(ESTABLISHED)? as usize;
    bench.until("who was answered is accepted", || {
        Ok(server.accept(answered)? == answered)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("gave-up", ATTEMPTS)]);
    Ok(vec![Outcome { truth, run }])
}
