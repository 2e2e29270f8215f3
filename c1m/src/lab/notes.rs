//! The story of the field notes: "400,000 asked, 399,300 reached", at the size of a lab.

use rustix::process::Signal;

use super::{
    Outcome,
    ack::{BURST_CLIENT, burst_namespace, release_burst},
    bench::{Bench, ESTABLISHED},
    process::{Place, Process, descendants, is_stopped, signal},
    truth::Truth,
};
use crate::{ledger::counters::Counters, netns::Netns};

const ATTEMPTS: u64 = 1000;

/// A server whose capacity equals the demand, with every setting as the kernel has it, and a burst that
/// comes while it is busy elsewhere. Then the same with the backlog that the table asks for.
pub(super) fn field_notes(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const REMEDY: u64 = 1024;
    let small = u64::from(bench.backlog(128));
    let first = burst(bench, small, ATTEMPTS.min(small + 1))?;
    let second = burst(bench, REMEDY, ATTEMPTS)?;
    Ok(vec![first, second])
}

/// One run with a server of that backlog, which must admit `admitted`.
fn burst(bench: &mut Bench, backlog: u64, admitted: u64) -> anyhow::Result<Outcome> {
    let far = burst_namespace(bench)?;
    let place = Place {
        ns: Some(&far),
        ..Place::default()
    };
    let args = format!(
        "--listen 10.9.1.2:8000 --backlog {backlog} --workers-max 2 --per-worker {}",
        ATTEMPTS / 2
    );
    let server = bench.server(place, &args)?;
    let args = format!("{BURST_CLIENT} --per-ip {ATTEMPTS} --in-flight {ATTEMPTS} --hold 60s");
    let mut traced = bench.traced_client(Place::default(), Some(&far), &args)?;
    bench.until("every SYN is answered", || {
        traced.must_run()?;
        answered(bench, &far)
    })?;
    every_process(&server, Signal::STOP);
    bench.until("the server is stopped", || {
        Ok(processes(&server).into_iter().all(is_stopped))
    })?;
    release_burst(bench, &far)?;
    bench.until("every client is established", || {
        Ok(bench.clients(ESTABLISHED)? == ATTEMPTS)
    })?;
    bench.until("the accept queue has what it takes", || {
        Ok(bench.queued(&far)? == admitted)
    })?;
    every_process(&server, Signal::CONT);
    bench.until("the queue is accepted", || Ok(bench.queued(&far)? == 0))?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    drop(server);
    bench.ip(None, "link del c1m-a")?;
    let lost = ATTEMPTS - admitted;
    let truth = Truth::of(ATTEMPTS, &[("accept-queue-full-cookie", lost)]);
    Ok(Outcome { truth, run })
}

/// Whether every SYN has its SYN-ACK, with a request or by a cookie.
fn answered(bench: &Bench, far: &Netns) -> anyhow::Result<bool> {
    let cookies = Counters::read(far)?.get("TcpExtSyncookiesSent");
    // A SYN that had to wait for more than 1 s is sent, and answered, again.
    Ok(bench.requests(far)? + cookies >= ATTEMPTS)
}

/// Stops or continues a server and its workers.
fn every_process(server: &Process, which: Signal) {
    for pid in processes(server) {
        // A worker that has just been retired is no loss.
        let _ = signal(pid, which);
    }
}

/// A server and its workers.
fn processes(server: &Process) -> Vec<u32> {
    let mut pids = descendants(server.pid());
    pids.push(server.pid());
    pids
}
