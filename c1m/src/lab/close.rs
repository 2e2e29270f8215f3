//! Labs of connections that a program ends: the server's, the client's, or the end of either.

use anyhow::{Context, ensure};
use rustix::process::Signal;
use socket2::Socket;

use super::{
    Outcome, Skip,
    bench::{ATTEMPTS, Bench, ESTABLISHED, PORT, held_by},
    foreign::{Foreign, Heir, connect, mptcp_socket, reset},
    process::{Place, signal, tool},
    truth::Truth,
};
use crate::ledger::census::Side;

/// A server closes some by itself; others are held by a process of it that is killed.
pub(super) fn closed_by_server(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    closed_by_server_at(bench, "127.0.0.1:8000", "127.0.1.1")
}

/// The same on ::1.
pub(super) fn closed_by_server_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    closed_by_server_at(bench, "[::1]:8000", "::1")
}

/// Behind another address (DNAT), while a stranger listens at the one that the client knows.
pub(super) fn closed_by_server_nat(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: usize = 60;
    const CLOSED: usize = 20;
    let _stranger = Foreign::listen(None, ([127, 0, 0, 1], PORT).into(), 1024)?;
    let mut server = Foreign::listen(None, ([127, 0, 0, 1], 9_000).into(), 1024)?;
    let text = "table ip nat {\nchain output {\ntype nat hook output priority -100\n\
                tcp dport 8000 dnat to 127.0.0.1:9000\n}\n}\n";
    tool("nft", &["-f", "-"], text, None)?;
    let args = format!("--sources 127.0.1.1 --ips 1 --per-ip {ATTEMPTS}");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.accepted_by(&mut server, &mut traced, ATTEMPTS as u64)?;
    server.close(CLOSED);
    bench.until("the others are left", || {
        Ok(bench.clients(ESTABLISHED)? == (ATTEMPTS - CLOSED) as u64)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let mut truth = Truth::of(ATTEMPTS as u64, &[("closed-by-server", CLOSED as u64)]);
    truth.notes = vec!["(NAT)".to_owned()];
    Ok(vec![Outcome { truth, run }])
}

fn closed_by_server_at(
    bench: &mut Bench,
    target: &str,
    source: &str,
) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 60;
    const CLOSED: u64 = 20;
    const INHERITED: u64 = 15;
    let mut server = Foreign::listen(None, target.parse()?, 1024)?;
    let args = format!("--target {target} --sources {source} --ips 1 --per-ip {ATTEMPTS}");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.accepted_by(&mut server, &mut traced, ATTEMPTS)?;
    let heir = Heir::of(&mut server, INHERITED as usize)?;
    let pid = heir.pid();
    server.close(CLOSED as usize);
    heir.kill()?;
    bench.until("the others are closed", || {
        Ok(bench.clients(ESTABLISHED)? == ATTEMPTS - CLOSED - INHERITED)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let lost = [("closed-by-server", CLOSED), ("server-exited", INHERITED)];
    let mut truth = Truth::of(ATTEMPTS, &lost);
    let own = format!("pid {}", std::process::id());
    truth.places = vec![
        ("closed-by-server", own, CLOSED),
        ("server-exited", format!("pid {pid}"), INHERITED),
    ];
    Ok(vec![Outcome { truth, run }])
}

/// The same of MPTCP: a worker of the kernel's closes the connections of whoever is gone.
pub(super) fn server_exited_mptcp(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const INHERITED: u64 = 23;
    // Of their clients: what carries their connections stands, and belongs to nobody.
    const HOLD_ON: u64 = 10;
    const LEFT: u64 = ATTEMPTS - INHERITED + HOLD_ON;
    let address = ([127, 0, 0, 1], PORT).into();
    let mut server = Foreign::listen_mptcp(address, 1024)?;
    let traced = bench.traced_port(None)?;
    let connect = |_| -> anyhow::Result<Socket> {
        let client = mptcp_socket(address)?;
        client.connect(&address.into())?;
        Ok(client)
    };
    let mut clients = (0..ATTEMPTS)
        .map(connect)
        .collect::<anyhow::Result<Vec<_>>>()?;
    bench.accepted_in_order(&mut server, &mut clients)?;
    let heir = Heir::of(&mut server, INHERITED as usize)?;
    let pid = heir.pid();
    heir.kill()?;
    // The others' are closed once both ends have said so.
    clients.truncate(LEFT as usize);
    bench.until("what it held is closed, but for those who hold on", || {
        Ok(bench.clients(ESTABLISHED)? == LEFT)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let mut truth = Truth::of(ATTEMPTS, &[("server-exited", INHERITED)]);
    truth.places = vec![("server-exited", format!("pid {pid}"), INHERITED)];
    Ok(vec![Outcome { truth, run }])
}

/// A worker of the client is killed: its connections go with it, no others do.
pub(super) fn client_exited(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 120;
    let _server = bench.server(Place::default(), "--backlog 1024")?;
    let args = format!("--sources 127.0.1.1 --ips 1 --per-ip {ATTEMPTS} --per-worker 50");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.until("every connection stands", || {
        traced.must_run()?;
        Ok(bench.clients(ESTABLISHED)? == ATTEMPTS && bench.queued(&bench.ns)? == 0)
    })?;
    let (_, count) = kill_holder(bench, traced.pid(), Side::Client, ATTEMPTS)?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("client-exited", count)]);
    Ok(vec![Outcome { truth, run }])
}

/// Kills the process of those below `root` that holds most of the `standing` connections of a side, but not all, and
/// waits until they are gone: which it was, and how many it held.
pub(super) fn kill_holder(
    bench: &mut Bench,
    root: u32,
    side: Side,
    standing: u64,
) -> anyhow::Result<(u32, u64)> {
    end_holder(bench, root, side, standing, |_, victim| {
        signal(victim, Signal::KILL)
    })
}

/// The same in another way.
pub(super) fn end_holder(
    bench: &mut Bench,
    root: u32,
    side: Side,
    standing: u64,
    end: impl FnOnce(&mut Bench, u32) -> anyhow::Result<()>,
) -> anyhow::Result<(u32, u64)> {
    let sockets = bench.sockets(&bench.ns, side, ESTABLISHED)?;
    let held = held_by(root, &sockets);
    let &(victim, count) = held.first().context("nobody holds a connection")?;
    ensure!(
        0 < count && count < standing,
        "one process holds {count} of {standing}: not what the lab meant"
    );
    end(bench, victim)?;
    bench.until("its connections are gone", || {
        Ok(bench.clients(ESTABLISHED)? == standing - count)
    })?;
    Ok((victim, count))
}

/// Somebody with the right to do so destroys sockets (`ss -K`): the server's ends of the second source's connections, and the
/// third one's own.
pub(super) fn destroyed(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const PER_SOURCE: u64 = 25;
    let _server = bench.server(Place::default(), "--backlog 1024")?;
    let args = format!("--sources 127.0.1.1-3 --ips 3 --per-ip {PER_SOURCE}");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.until("every connection stands", || {
        traced.must_run()?;
        Ok(bench.clients(ESTABLISHED)? == 3 * PER_SOURCE && bench.queued(&bench.ns)? == 0)
    })?;
    for those in [
        "sport = 8000 and dst 127.0.1.2",
        "dport = 8000 and src 127.0.1.3",
    ] {
        let words = format!("-t -4 -K state established {those}");
        tool("ss", &words.split(' ').collect::<Vec<_>>(), "", None)?;
    }
    let left = bench.sockets(&bench.ns, Side::Server, ESTABLISHED)?.len() as u64;
    if left == 3 * PER_SOURCE {
        let why = "this kernel ends no sockets on request (CONFIG_INET_DIAG_DESTROY)";
        return Err(Skip(why.to_owned()).into());
    }
    bench.until("their peers are reset", || {
        let left = bench.sockets(&bench.ns, Side::Server, ESTABLISHED)?.len() as u64;
        Ok(left == PER_SOURCE && bench.clients(ESTABLISHED)? == PER_SOURCE)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(3 * PER_SOURCE, &[("destroyed", 2 * PER_SOURCE)]);
    Ok(vec![Outcome { truth, run }])
}

/// Clients reset connections that still wait to be accepted; then the server accepts all, dead or alive.
pub(super) fn reset_queued(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 50;
    const RESET: u64 = 18;
    let target = ([127, 0, 0, 1], PORT).into();
    let mut server = Foreign::listen(None, target, 1024)?;
    let traced = bench.traced_port(None)?;
    let mut clients = connect(target, ATTEMPTS as usize)?;
    bench.until("every connection is in the accept queue", || {
        Ok(bench.queued(&bench.ns)? == ATTEMPTS)
    })?;
    for client in clients.drain(..RESET as usize) {
        reset(client)?;
    }
    bench.until("the resets arrived", || {
        let left = bench.sockets(&bench.ns, Side::Server, ESTABLISHED)?;
        Ok(left.len() as u64 == ATTEMPTS - RESET)
    })?;
    bench.until("the queue is accepted", || {
        Ok(server.accept(ATTEMPTS as usize)? == ATTEMPTS as usize)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("reset-queued", RESET)]);
    Ok(vec![Outcome { truth, run }])
}
