//! Labs of what follows a connection's end. It decides no attempt: the connections were closed by their
//! programs. The record counts it among the states, and in its notes.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use super::{
    Outcome,
    bench::{Bench, CLOSE_WAIT, FIN_WAIT_2, LISTEN, PORT, TIME_WAIT},
    foreign::{Foreign, connect},
    traced::Traced,
    truth::Truth,
};
use crate::ledger::census::Side;

const ATTEMPTS: u64 = 50;

/// A server closes first, more connections than TIME_WAIT has room for.
pub(super) fn time_wait_overflow(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const CLOSED: u64 = 30;
    const BUCKETS: u64 = 10;
    let buckets = BUCKETS.to_string();
    bench.sysctl(None, "net.ipv4.tcp_max_tw_buckets", &buckets)?;
    let (mut server, traced, mut clients) = accepted(bench)?;
    server.close(CLOSED as usize);
    // If their FINs crossed, clients would be in TIME_WAIT, too.
    bench.until("the clients know", || {
        Ok(bench.clients(CLOSE_WAIT)? == CLOSED)
    })?;
    // The server closes what it accepted last.
    clients.truncate((ATTEMPTS - CLOSED) as usize);
    bench.until("the closed ones are gone, or in TIME_WAIT", || {
        let count =
            |states| Ok::<_, anyhow::Error>(bench.sockets(&bench.ns, Side::Server, states)?.len());
        Ok([count(TIME_WAIT)?, count(!(TIME_WAIT | LISTEN))?]
            == [BUCKETS, ATTEMPTS - CLOSED].map(|count| count as usize))
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let mut truth = Truth::of(ATTEMPTS, &[]);
    truth.closed = CLOSED;
    truth.notes = vec![format!(
        "{} closed sockets found no room for TIME_WAIT",
        CLOSED - BUCKETS
    )];
    Ok(vec![Outcome { truth, run }])
}

/// A server closes first, and its clients do not close at all: FIN_WAIT_2 ends by its time-out, and what the
/// clients say after that is answered by a reset.
pub(super) fn fin_wait_2_timeout(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const CLOSED: u64 = 20;
    bench.sysctl(None, "net.ipv4.tcp_fin_timeout", "1")?;
    let (mut server, traced, mut clients) = accepted(bench)?;
    server.close(CLOSED as usize);
    bench.until("the closed ones wait for their clients", || {
        let waiting = bench.sockets(&bench.ns, Side::Server, FIN_WAIT_2)?;
        Ok(waiting.len() as u64 == CLOSED)
    })?;
    bench.until("they wait no longer", || {
        Ok(bench
            .sockets(&bench.ns, Side::Server, FIN_WAIT_2)?
            .is_empty())
    })?;
    for client in clients.iter_mut().skip((ATTEMPTS - CLOSED) as usize) {
        let mut end = [0];
        // A slow host may have answered another segment with a reset already.
        let answered = client.write_all(b"too late").is_ok()
            && !client.read(&mut end).is_ok_and(|read| read == 0)
            && client.read(&mut end).is_ok();
        anyhow::ensure!(!answered, "a server that is gone answered");
    }
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let mut truth = Truth::of(ATTEMPTS, &[]);
    truth.closed = CLOSED;
    truth.fin_wait_2 = Some(CLOSED);
    Ok(vec![Outcome { truth, run }])
}

/// A server that has accepted every connection of its clients, traced.
fn accepted(bench: &mut Bench) -> anyhow::Result<(Foreign, Traced, Vec<TcpStream>)> {
    let target = ([127, 0, 0, 1], PORT).into();
    let mut server = Foreign::listen(None, target, 1024)?;
    let traced = bench.traced_port(None)?;
    let mut clients = connect(target, ATTEMPTS as usize)?;
    bench.accepted_in_order(&mut server, &mut clients)?;
    Ok((server, traced, clients))
}
