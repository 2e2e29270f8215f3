//! Labs of SYNs that a listener drops.

use std::{net::SocketAddr, ops::RangeInclusive};

use anyhow::ensure;

use super::{
    Outcome,
    ack::takes,
    bench::{Bench, ESTABLISHED, PORT, SYN_SENT},
    foreign::Foreign,
    process::Place,
    traced::{Run, Traced},
    truth::Truth,
};
use crate::ledger::census::Side;

/// Without syncookies, a listener drops SYNs while as many requests wait for their final ACK as its
/// backlog allows. The ACKs are held back until the others have given up, and then let through.
pub(super) fn syn_backlog_full(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 60;
    let backlog = u64::from(bench.backlog(16));
    bench.sysctl(None, "net.ipv4.tcp_syncookies", "0")?;
    // Else its last quarter would be the limit.
    bench.sysctl(None, "net.ipv4.tcp_max_syn_backlog", "4096")?;
    let _server = bench.server(Place::default(), &format!("--backlog {backlog}"))?;
    // `inet_csk_reqsk_queue_is_full` compared with >= before it compared with >.
    let [least, most] = [backlog, backlog + 1].map(|queue| queue.min(ATTEMPTS));
    let held = held_back(bench, ATTEMPTS, least..=most)?;
    Ok(vec![held.outcome(ATTEMPTS, "syn-backlog-full")])
}

/// A run whose final ACKs were held back.
struct HeldBack {
    run: Run,
    /// How many attempts had a request.
    requests: u64,
    /// How many of these became connections. The others expired before their ACKs were let through: a listener gives
    /// them 7 s once its queue is half full (`reqsk_timer_handler`), which is too little on a very slow machine.
    connections: u64,
}

impl HeldBack {
    /// The SYNs beyond the requests were lost to `cause`.
    fn outcome(self, attempts: u64, cause: &'static str) -> Outcome {
        let lost = [
            (cause, attempts - self.requests),
            ("netfilter-in", self.requests - self.connections),
        ];
        let mut truth = Truth::of(attempts, &lost);
        truth.recovered = self.connections;
        Outcome {
            truth,
            run: self.run,
        }
    }
}

/// A client whose final ACKs are held back until those of its SYNs that a listener dropped were given up; the
/// requests of the others must be in `admitted`.
fn held_back(
    bench: &mut Bench,
    attempts: u64,
    admitted: RangeInclusive<u64>,
) -> anyhow::Result<HeldBack> {
    bench.drop_packets("tcp dport 8000 tcp flags & (fin|syn|rst|psh|ack) == ack")?;
    let args = format!("--sources 127.0.1.1 --ips 1 --per-ip {attempts} --timeout 800ms");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;

    bench.until("every SYN is sent", || {
        traced.must_run()?;
        Ok(bench.opened()? == attempts)
    })?;
    bench.until("those beyond the request queue gave up", || {
        Ok(bench.clients(SYN_SENT)? == 0)
    })?;
    // Each had a SYN-ACK; on a very slow machine some requests have expired by now.
    let requests = bench.clients(ESTABLISHED)?;
    ensure!(
        admitted.contains(&requests),
        "{requests} requests, not {admitted:?}"
    );
    // The SYN-ACKs are sent again from 1 s on, and answered by an ACK each.
    bench.pass_all()?;
    bench.until("every request became a connection, or expired", || {
        Ok(bench.requests(&bench.ns)? == 0)
    })?;
    bench.until("all of them are accepted", || {
        Ok(bench.queued(&bench.ns)? == 0)
    })?;
    ensure!(
        bench.clients(ESTABLISHED)? == requests,
        "a client's connection is gone"
    );
    let connections = bench.sockets(&bench.ns, Side::Server, ESTABLISHED)?.len() as u64;
    traced.interrupt()?;
    Ok(HeldBack {
        run: traced.finish(bench)?,
        requests,
        connections,
    })
}

/// Without syncookies, the last quarter of `tcp_max_syn_backlog` is kept for peers that the kernel knows to be
/// alive; in a new namespace it knows none. The ACKs are held back as above.
pub(super) fn syn_backlog_last_quarter(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 80;
    const MAX_SYN_BACKLOG: (&str, &str) = ("net.ipv4.tcp_max_syn_backlog", "64");
    let most: u64 = bench
        .setting(MAX_SYN_BACKLOG.0, MAX_SYN_BACKLOG.1)
        .parse()?;
    // A SYN is dropped when `max - qlen < max / 4`.
    let admitted = ATTEMPTS.min(most - most / 4 + 1);
    bench.sysctl(None, "net.ipv4.tcp_syncookies", "0")?;
    bench.sysctl(None, MAX_SYN_BACKLOG.0, MAX_SYN_BACKLOG.1)?;
    let _server = bench.server(Place::default(), "--backlog 1024")?;
    let held = held_back(bench, ATTEMPTS, admitted..=admitted)?;
    Ok(vec![held.outcome(ATTEMPTS, "syn-backlog-last-quarter")])
}

/// A server that does not accept until the clients beyond its accept queue have given up.
pub(super) fn accept_queue_full_syn(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let target = ([127, 0, 0, 1], PORT).into();
    accept_queue_full_at(bench, target, "127.0.1.1")
}

/// The same on ::1.
pub(super) fn accept_queue_full_syn_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let target = (std::net::Ipv6Addr::LOCALHOST, PORT).into();
    accept_queue_full_at(bench, target, "::1")
}

fn accept_queue_full_at(
    bench: &mut Bench,
    target: SocketAddr,
    source: &str,
) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 30;
    let backlog = bench.backlog(16);
    // `sk_acceptq_is_full` compares with >.
    let room = ATTEMPTS.min(u64::from(backlog) + 1);
    let mut server = Foreign::listen(None, target, backlog)?;
    // One after the other: in a burst, SYNs would find the queue as it is before the final ACKs of others reach it.
    let args = format!(
        "--target {target} --sources {source} --ips 1 --per-ip {ATTEMPTS} --in-flight 1 --timeout 300ms"
    );
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    let admitted = accept_late(bench, &mut traced, &mut server, [ATTEMPTS, room])?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let lost = ATTEMPTS - admitted.count;
    let mut truth = Truth::of(ATTEMPTS, &[("accept-queue-full-syn", lost)]);
    truth.recovered = admitted.late;
    Ok(vec![Outcome { truth, run }])
}

/// Who was let into an accept queue.
pub(super) struct Admitted {
    pub(super) count: u64,
    /// Of these, whose final ACK found the queue full and was asked for again: several may be on their way to the last place.
    pub(super) late: u64,
}

/// Accepts only when all have sent their SYN, and those that found the accept queue full have given up: so many sent
/// one, and for so many there is room.
pub(super) fn accept_late(
    bench: &Bench,
    traced: &mut Traced,
    server: &mut Foreign,
    [opened, room]: [u64; 2],
) -> anyhow::Result<Admitted> {
    bench.until("every SYN is sent", || {
        traced.must_run()?;
        Ok(bench.opened()? == opened)
    })?;
    bench.until("those beyond the accept queue gave up", || {
        Ok(bench.clients(SYN_SENT)? == 0)
    })?;
    let queued = bench.queued(&bench.ns)?;
    ensure!(
        takes(room).contains(&queued),
        "the accept queue took {queued}, and has room for {room}"
    );
    let mut count = 0;
    bench.until("the queue is accepted, and no request waits", || {
        count = server.accept(usize::MAX)? as u64;
        Ok(bench.requests(&bench.ns)? == 0
            && bench.queued(&bench.ns)? == 0
            && bench.clients(ESTABLISHED)? == count)
    })?;
    let late = count - queued;
    Ok(Admitted { count, late })
}

/// Two listeners share the port (SO_REUSEPORT), and one of them never accepts: only who asks the kernel can tell which of them
/// dropped a SYN.
pub(super) fn accept_queue_full_syn_shared(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let target = ([127, 0, 0, 1], PORT).into();
    accept_queue_full_shared(bench, target, "127.0.1.1")
}

/// The same on ::1.
pub(super) fn accept_queue_full_syn_shared_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let target = (std::net::Ipv6Addr::LOCALHOST, PORT).into();
    accept_queue_full_shared(bench, target, "::1")
}

fn accept_queue_full_shared(
    bench: &mut Bench,
    target: SocketAddr,
    source: &str,
) -> anyhow::Result<Vec<Outcome>> {
    // The kernel divides them by a secret hash: half of them, more or less, meet the deaf one.
    const ATTEMPTS: u64 = 40;
    let backlog = bench.backlog(3);
    let mut awake = Foreign::listen_shared(None, target, 1024)?;
    let mut deaf = Foreign::listen_shared(None, target, backlog)?;
    let args = format!(
        "--target {target} --sources {source} --ips 1 --per-ip {ATTEMPTS} --in-flight 1 --timeout 300ms"
    );
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    let mut accepted = 0;
    bench.until("every SYN is sent, and answered or given up", || {
        traced.must_run()?;
        accepted = awake.accept(ATTEMPTS as usize)? as u64;
        let waiting = bench.clients(SYN_SENT)? + bench.requests(&bench.ns)?;
        Ok(bench.opened()? == ATTEMPTS && waiting == 0)
    })?;
    accepted = accepted.max(awake.accept(ATTEMPTS as usize)? as u64);
    let queued = bench.queued(&bench.ns)?;
    let lost = ATTEMPTS - accepted - queued;
    // `sk_acceptq_is_full` compares with >.
    let limit = u64::from(backlog) + 1;
    ensure!(
        queued == limit || lost == 0 && queued < limit,
        "{accepted} of {ATTEMPTS} accepted, and {queued} in a queue of {backlog}"
    );
    bench.until("the queue is accepted", || {
        Ok(deaf.accept(ATTEMPTS as usize)? as u64 == queued)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("accept-queue-full-syn", lost)]);
    Ok(vec![Outcome { truth, run }])
}
