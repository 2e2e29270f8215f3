//! A lab of TCP Fast Open: data in SYNs, and a listener that takes only so many of them at a time.

use std::{
    io::{self, Read as _},
    net::SocketAddr,
    os::fd::AsFd,
};

use anyhow::Context;
use socket2::Socket;

use super::{
    Outcome,
    bench::{Bench, ESTABLISHED, SYN_RECV},
    foreign::{Foreign, set_tcp, socket},
    route::{FAR, Route},
    traced::Traced,
    truth::Truth,
};
use crate::ledger::{census::Side, counters::Counters};

const ATTEMPTS: u64 = 20;

/// Clients that stand, and whose final ACKs get lost on the way until that is mended.
struct Scene {
    route: Route,
    server: Foreign,
    traced: Traced,
    clients: Vec<Socket>,
}

/// All of them connect with data in their SYN, of which the listener takes `queue` at a time.
fn without_final_acks(bench: &mut Bench, queue: u64) -> anyhow::Result<Scene> {
    let route = Route::new(bench)?;
    // Data are sent (1) and taken (2), without a cookie (4, 0x200).
    for ns in [None, Some(&route.far)] {
        bench.sysctl(
            ns,
            "net.ipv4.tcp_fastopen",
            &(1 + 2 + 4 + 0x200).to_string(),
        )?;
    }
    route.cut("ip saddr 10.9.1.1 tcp flags & (fin|syn|rst|psh|ack) == ack")?;
    let server = Foreign::listen(Some(&route.far), FAR.parse()?, 1024)?;
    server.set(|listener| set_tcp(listener.as_fd(), libc::TCP_FASTOPEN, queue as libc::c_int))?;
    let traced = bench.traced_port(Some(&route.far))?;
    let clients = (0..ATTEMPTS)
        .map(|_| open(FAR.parse()?))
        .collect::<anyhow::Result<_>>()?;
    Ok(Scene {
        route,
        server,
        traced,
        clients,
    })
}

/// What its program has by its SYN alone it may close before the final ACK comes.
pub(super) fn fastopen_closed(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const CLOSED: usize = 7;
    const ABORTED: usize = 5;
    let Scene {
        route,
        mut server,
        traced,
        clients,
    } = without_final_acks(bench, ATTEMPTS)?;
    let all = ATTEMPTS as usize;
    bench.until("the server has all of them by their SYNs", || {
        let waits = bench.sockets(&route.far, Side::Server, SYN_RECV)?;
        Ok(server.accept(all)? == all && waits.len() == all)
    })?;
    for mut connection in server.held.drain(..CLOSED) {
        let mut early = [0; 16];
        anyhow::ensure!(connection.read(&mut early)? == EARLY.len(), "no data came");
    }
    // Data that nobody has read make it a reset.
    server.close(ABORTED);
    let stand = all - CLOSED - ABORTED;
    route.mend()?;
    bench.until("the others are established, and these know", || {
        let established = bench.sockets(&route.far, Side::Server, ESTABLISHED)?.len();
        Ok(established == stand && bench.clients(ESTABLISHED)? == stand as u64)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    drop(clients);
    let mut truth = Truth::of(ATTEMPTS, &[("reset-by-peer", ABORTED as u64)]);
    truth.closed = CLOSED as u64;
    Ok(vec![Outcome { truth, run }])
}

/// Final ACKs get lost on the way, so that those whose data were taken stay in the queue; the others go the usual
/// way, and send their data as they answer the SYN-ACK.
pub(super) fn fastopen(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const QUEUE: u64 = 8;
    let Scene {
        route,
        mut server,
        traced,
        clients,
    } = without_final_acks(bench, QUEUE)?;
    bench.until(
        "the queue is full, and the others went the usual way",
        || {
            let counters = Counters::read(&route.far)?;
            let of = |name| counters.get(name);
            Ok(of("TcpExtTCPFastOpenPassive") == QUEUE
                && of("TcpExtTCPFastOpenListenOverflow") == ATTEMPTS - QUEUE
                && bench.clients(ESTABLISHED)? == ATTEMPTS)
        },
    )?;
    route.mend()?;
    let all = ATTEMPTS as usize;
    bench.until("the server has all of them", || {
        let established = bench.sockets(&route.far, Side::Server, ESTABLISHED)?;
        Ok(server.accept(all)? == all && established.len() == all)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    drop(clients);
    let mut truth = Truth::of(ATTEMPTS, &[]);
    truth.notes = vec![format!(
        "{} SYNs with data met a full queue",
        ATTEMPTS - QUEUE
    )];
    Ok(vec![Outcome { truth, run }])
}

/// What the SYNs bring.
const EARLY: &[u8] = b"early";

/// Connects with data in the SYN.
fn open(target: SocketAddr) -> anyhow::Result<Socket> {
    let open = || -> io::Result<Socket> {
        let socket = socket(target)?;
        set_tcp(socket.as_fd(), libc::TCP_FASTOPEN_CONNECT, 1)?;
        socket.connect(&target.into())?;
        socket.send(EARLY)?;
        Ok(socket)
    };
    open().with_context(|| format!("the lab cannot open a connection to {target} with data"))
}
