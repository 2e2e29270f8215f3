//! Labs of connections that are lost after their handshake.

use anyhow::{Context as _, ensure};
use c1m_common::tuple::mapped_v4;
use rustix::process::Signal;

use super::{
    Outcome,
    bench::{Bench, ESTABLISHED, FIRST_PORT, PORT},
    cgroup::Cgroup,
    close::{end_holder, kill_holder},
    foreign::{Foreign, connect_from},
    plain,
    process::{Place, Process},
    traced::Traced,
    truth::Truth,
};
use crate::{
    causes::remedy::{OOM_KILLED, Who},
    ledger::census::Side,
};

/// A server accepts some, and closes its listener with the rest in the accept queue.
pub(super) fn listener_closed(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 60;
    const QUEUED: u64 = 35;
    let mut server = Foreign::listen(None, ([127, 0, 0, 1], PORT).into(), 1024)?;
    let args = format!("--sources 127.0.1.1 --ips 1 --per-ip {ATTEMPTS}");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.until("every connection is in the accept queue", || {
        traced.must_run()?;
        Ok(bench.queued(&bench.ns)? == ATTEMPTS)
    })?;
    server.accept((ATTEMPTS - QUEUED) as usize)?;
    server.stop_listening();
    bench.until("the others are reset", || {
        Ok(bench.clients(ESTABLISHED)? == ATTEMPTS - QUEUED)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("listener-closed", QUEUED)]);
    Ok(vec![Outcome { truth, run }])
}

/// The one worker of a server has fewer descriptors than connections come: accept() fails with EMFILE.
pub(super) fn accept_starved(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 200;
    const NOFILE: u64 = 150;
    let accepted = ATTEMPTS.min(bench.nofile(Who::Server, NOFILE) - bench.base_fds(Who::Server));
    let limited = Place {
        nofile: Some(NOFILE),
        ..Place::default()
    };
    let server = bench.server(limited, "--backlog 1024 --workers-max 1")?;
    let args = format!("--sources 127.0.1.1 --ips 1 --per-ip {ATTEMPTS}");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.until(
        "the server is at its limit, and the rest is in the accept queue",
        || {
            traced.must_run()?;
            Ok(bench.queued(&bench.ns)? == ATTEMPTS - accepted
                && bench.clients(ESTABLISHED)? == ATTEMPTS)
        },
    )?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    drop(server);
    let truth = Truth::of(ATTEMPTS, &[("accept-starved", ATTEMPTS - accepted)]);
    Ok(vec![Outcome { truth, run }])
}

/// A server accepts all, and resets some of them. One has the server's port at both ends.
pub(super) fn reset_by_peer(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 60;
    const RESET: u64 = 23;
    let mut server = Foreign::listen(None, ([127, 0, 0, 1], PORT).into(), 1024)?;
    let ports = format!("{}-{}", PORT - 30, PORT + 30);
    let args = format!("--sources 127.0.1.1 --ips 1 --per-ip {ATTEMPTS} --port-range {ports}");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.accepted_by(&mut server, &mut traced, ATTEMPTS)?;
    server.reset(RESET as usize)?;
    bench.until("the resets arrived", || {
        let mut sockets = bench.sockets(&bench.ns, Side::Client, ESTABLISHED)?;
        // The server's end of that one has the port at its other end, too.
        sockets.retain(|socket| socket.tuple.client != mapped_v4([127, 0, 0, 1]));
        Ok(sockets.len() as u64 == ATTEMPTS - RESET)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("reset-by-peer", RESET)]);
    Ok(vec![Outcome { truth, run }])
}

/// The same where only the client's end is traced, and the server closes some others in order.
pub(super) fn reset_by_peer_elsewhere(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 60;
    const RESET: u64 = 23;
    const CLOSED: u64 = 7;
    let far = bench.second_namespace()?;
    bench.ip(Some(&far), "addr add 10.9.1.2/24 dev c1m-b")?;
    let mut server = Foreign::listen(Some(&far), ([10, 9, 1, 2], PORT).into(), 1024)?;
    let args = format!("--target 10.9.1.2:8000 --sources 10.9.1.1 --ips 1 --per-ip {ATTEMPTS}");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.accepted_by(&mut server, &mut traced, ATTEMPTS)?;
    server.reset(RESET as usize)?;
    server.close(CLOSED as usize);
    bench.until("the resets and FINs arrived", || {
        Ok(bench.clients(ESTABLISHED)? == ATTEMPTS - RESET - CLOSED)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let lost = [("reset-by-peer", RESET), ("closed-by-server", CLOSED)];
    let truth = Truth::of(ATTEMPTS, &lost);
    Ok(vec![Outcome { truth, run }])
}

/// Clients of such a server use their ports again: after a refusal, for there was no listener yet, and after a reset.
pub(super) fn reset_by_peer_elsewhere_again(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const PORTS: u16 = 12;
    const RESET: u16 = 5;
    let far = bench.second_namespace()?;
    bench.ip(Some(&far), "addr add 10.9.1.2/24 dev c1m-b")?;
    let target = ([10, 9, 1, 2], PORT).into();
    let traced = bench.traced_port(None)?;
    let from = |nth| connect_from(([10, 9, 1, 1], FIRST_PORT + nth).into(), target);
    for nth in 0..PORTS {
        ensure!(
            from(nth).is_err(),
            "nobody listens, and there is a connection"
        );
    }
    let mut server = Foreign::listen(Some(&far), target, 1024)?;
    let mut clients: Vec<_> = (0..PORTS).map(from).collect::<anyhow::Result<_>>()?;
    bench.accepted_in_order(&mut server, &mut clients)?;
    server.reset(usize::from(RESET))?;
    let stand = u64::from(PORTS - RESET);
    bench.until("the resets arrived", || {
        Ok(bench.clients(ESTABLISHED)? == stand)
    })?;
    // Those are the last ones, in the order in which it holds them.
    let again = clients.split_off(stand as usize);
    let again: Vec<_> = again
        .into_iter()
        .map(|client| {
            let own = client.local_addr()?.as_socket();
            drop(client);
            connect_from(own.context("an address")?, target)
        })
        .collect::<anyhow::Result<_>>()?;
    let all = u64::from(PORTS);
    bench.until("they are accepted", || {
        Ok(server.accept(usize::from(PORTS))? as u64 == all)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    drop((clients, again));
    let reset = u64::from(RESET);
    let lost = [("refused", all), ("reset-by-peer", reset)];
    let truth = Truth::of(2 * all + reset, &lost);
    Ok(vec![Outcome { truth, run }])
}

/// A worker of a server is killed: its connections go with it, no others do.
pub(super) fn server_exited(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 120;
    let (server, traced) = workers_hold(bench, ATTEMPTS)?;
    let (victim, count) = kill_holder(bench, server.pid(), Side::Server, ATTEMPTS)?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let mut truth = Truth::of(ATTEMPTS, &[("server-exited", count)]);
    truth.places = vec![("server-exited", format!("pid {victim}"), count)];
    Ok(vec![Outcome { truth, run }])
}

/// The OOM killer takes one, whose control group another process leaves without memory.
pub(super) fn server_exited_oom(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 120;
    let group = Cgroup::of_memory(plain::HOG_BYTES / 4)?;
    let (server, traced) = workers_hold(bench, ATTEMPTS)?;
    let mut hog = None;
    let by_oom = |bench: &mut Bench, victim| {
        group.expose(victim)?;
        let place = Place {
            cgroup: Some(&group),
            ..Place::default()
        };
        hog = Some(bench.start("hog", &["plain".to_owned(), "hog".to_owned()], place)?);
        Ok(())
    };
    let (victim, count) = end_holder(bench, server.pid(), Side::Server, ATTEMPTS, by_oom)?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    drop(hog);
    let mut truth = Truth::of(ATTEMPTS, &[("server-exited", count)]);
    truth.places = vec![("server-exited", format!("pid {victim}"), count)];
    truth.words = vec![("server-exited", format!("pid {victim} ({OOM_KILLED})"))];
    Ok(vec![Outcome { truth, run }])
}

/// The process that started the workers is killed: they end with it.
pub(super) fn server_exited_supervisor(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 120;
    let (server, traced) = workers_hold(bench, ATTEMPTS)?;
    server.signal(Signal::KILL)?;
    bench.until("nothing stands", || Ok(bench.clients(ESTABLISHED)? == 0))?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("server-exited", ATTEMPTS)]);
    Ok(vec![Outcome { truth, run }])
}

/// A server with several workers, which have accepted all `attempts` of a traced client.
fn workers_hold(bench: &mut Bench, attempts: u64) -> anyhow::Result<(Process, Traced)> {
    let server = bench.server(Place::default(), "--backlog 1024 --per-worker 50")?;
    let args = format!("--sources 127.0.1.1 --ips 1 --per-ip {attempts}");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.until("every connection is accepted", || {
        traced.must_run()?;
        let accepted = bench.sockets(&bench.ns, Side::Server, ESTABLISHED)?;
        Ok(accepted.iter().filter(|socket| socket.inode != 0).count() as u64 == attempts)
    })?;
    Ok((server, traced))
}
