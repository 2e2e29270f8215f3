//! A lab of TCP Fast Open: data in SYNs, and a listener that takes only so many of them at a time.

use std::{io, net::SocketAddr, os::fd::AsFd};

use anyhow::Context;
use socket2::Socket;

use super::{
    Outcome,
    bench::{Bench, ESTABLISHED},
    foreign::{Foreign, set_tcp, socket},
    route::{FAR, Route},
    truth::Truth,
};
use crate::ledger::{census::Side, counters::Counters};

/// Final ACKs get lost on the way, so that those whose data were taken stay in the queue; the others go the usual
/// way, and send their data as they answer the SYN-ACK.
pub(super) fn fastopen(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 20;
    const QUEUE: u64 = 8;
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
    let mut server = Foreign::listen(Some(&route.far), FAR.parse()?, 1024)?;
    server.set(|listener| set_tcp(listener.as_fd(), libc::TCP_FASTOPEN, QUEUE as libc::c_int))?;
    let traced = bench.traced_port(Some(&route.far))?;
    let clients: Vec<Socket> = (0..ATTEMPTS)
        .map(|_| open(FAR.parse()?))
        .collect::<anyhow::Result<_>>()?;
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

/// Connects with data in the SYN.
fn open(target: SocketAddr) -> anyhow::Result<Socket> {
    let open = || -> io::Result<Socket> {
        let socket = socket(target)?;
        set_tcp(socket.as_fd(), libc::TCP_FASTOPEN_CONNECT, 1)?;
        socket.connect(&target.into())?;
        socket.send(b"early")?;
        Ok(socket)
    };
    open().with_context(|| format!("the lab cannot open a connection to {target} with data"))
}
