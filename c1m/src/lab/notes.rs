//! The story of the field notes: "400,000 asked, 399,300 reached", at the size of a lab.

use anyhow::ensure;
use rustix::process::Signal;

use super::{
    Outcome,
    ack::{
        BURST_CLIENT, burst_is_over, burst_namespace, filled, release_burst, release_syns,
        sent_again, standing,
    },
    bench::{Bench, SYN_RECV},
    dice::Dice,
    process::{Place, Process, descendants, is_stopped, signal},
    truth::Truth,
    witness::Witness,
};
use crate::ledger::census::Side;

/// A server whose capacity equals the demand, with every setting as the kernel has it, and a burst that
/// comes while it is busy elsewhere. Then the same with the backlog that the table asks for.
pub(super) fn field_notes(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let (attempts, small) = match bench.seed().map(Dice::of) {
        None => (1_000, 128),
        Some(mut dice) => (dice.within(300..=1_500), dice.within(16..=256) as u32),
    };
    let small = u64::from(bench.backlog(small));
    let first = burst(bench, attempts, small)?;
    let second = burst(bench, attempts, attempts.next_power_of_two())?;
    Ok(vec![first, second])
}

/// One run of so many attempts at once, and a server of that backlog.
fn burst(bench: &mut Bench, attempts: u64, backlog: u64) -> anyhow::Result<Outcome> {
    let admitted = attempts.min(backlog + 1);
    let far = burst_namespace(bench)?;
    let place = Place {
        ns: Some(&far),
        ..Place::default()
    };
    let args = format!(
        "--listen 10.9.1.2:8000 --backlog {backlog} --workers-max 2 --per-worker {}",
        attempts.div_ceil(2)
    );
    let server = bench.server(place, &args)?;
    let witness = Witness::new()?;
    let args = format!("{BURST_CLIENT} --per-ip {attempts} --in-flight {attempts}");
    let mut traced = bench.traced_client(Place::default(), Some(&far), &args)?;
    release_syns(bench, &far, &mut traced, attempts)?;
    every_process(&server, Signal::STOP);
    bench.until("the server is stopped", || {
        Ok(processes(&server).into_iter().all(is_stopped))
    })?;
    let requests = bench.sockets(&far, Side::Server, SYN_RECV)?;
    release_burst(bench, &far)?;
    burst_is_over(bench, &far, attempts)?;
    let queued = filled(bench, &far, admitted)?;
    let at_once = standing(bench, &far)?;
    ensure!(
        at_once.len() as u64 == queued,
        "the server accepted while it was stopped"
    );
    every_process(&server, Signal::CONT);
    // A request whose final ACK found the queue full has its SYN-ACK sent again, and then there is room, if it has not expired:
    // while there are many it has but two more.
    bench.until("the queue is accepted, and no request waits", || {
        Ok(bench.queued(&far)? == 0 && bench.requests(&far)? == 0)
    })?;
    let stand = standing(bench, &far)?;
    // A host that is busy with other things may release the burst late: then every SYN was sent again before.
    let mut recovered = sent_again(&stand, &witness)?;
    recovered.extend(stand.difference(&at_once));
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    drop(server);
    bench.ip(None, "link del c1m-a")?;
    let expired = requests
        .iter()
        .filter(|request| !stand.contains(&request.tuple))
        .count() as u64;
    let lost = [
        ("accept-queue-full-ack", expired),
        (
            "accept-queue-full-cookie",
            attempts - stand.len() as u64 - expired,
        ),
    ];
    let mut truth = Truth::of(attempts, &lost);
    truth.recovered = recovered.len() as u64;
    Ok(Outcome { truth, run })
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
