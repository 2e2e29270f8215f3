//! Labs of a listener that goes away while others rely on it: requests that wait for their final ACK, and
//! connections that wait to be accepted.

use std::path::Path;

use super::{
    Outcome, Skip,
    ack::{BURST_CLIENT, burst_namespace, release_burst, release_syns, sent_again, standing},
    bench::{Bench, ESTABLISHED, PORT, SYN_SENT},
    foreign::Foreign,
    process::Place,
    truth::Truth,
    witness::Witness,
};
use crate::{ledger::census::Side, trace::symbols::Symbols};

const ATTEMPTS: u64 = 40;
/// For as long a lab closes a listener and lets the SYN-ACKs go, in ms.
const UNDISTURBED_MS: u32 = 700;
const MIGRATE: &str = "net.ipv4.tcp_migrate_req";

/// The only listener closes, and then the final ACKs come.
pub(super) fn listener_gone(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    gone(bench, Heir::None)
}

/// Another listener has joined the port before (SO_REUSEPORT), but takes over nothing.
pub(super) fn listener_gone_reuseport(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    gone(bench, Heir::Stranger)
}

/// The other listener takes the requests over: nothing is lost.
pub(super) fn listener_gone_migrate(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    gone(bench, Heir::Migrates)
}

/// The other listener takes over what waits to be accepted: nothing is lost either.
pub(super) fn listener_closed_migrate(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    can_migrate()?;
    bench.sysctl(None, MIGRATE, "1")?;
    let target = ([127, 0, 0, 1], PORT).into();
    let mut first = Foreign::listen_shared(None, target, 1024)?;
    let args = format!("--sources 127.0.1.1 --ips 1 --per-ip {ATTEMPTS}");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.until("every connection is in the accept queue", || {
        traced.must_run()?;
        Ok(bench.queued(&bench.ns)? == ATTEMPTS && bench.clients(ESTABLISHED)? == ATTEMPTS)
    })?;
    let mut second = Foreign::listen_shared(None, target, 1024)?;
    first.stop_listening();
    bench.until("the other listener accepts them", || {
        Ok(second.accept(ATTEMPTS as usize)? == ATTEMPTS as usize)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[]);
    Ok(vec![Outcome { truth, run }])
}

/// Who listens on the port when its first listener is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heir {
    None,
    Stranger,
    Migrates,
}

fn gone(bench: &mut Bench, heir: Heir) -> anyhow::Result<Vec<Outcome>> {
    if heir == Heir::Migrates {
        can_migrate()?;
    }
    let far = burst_namespace(bench)?;
    if Path::new("/proc/sys/net/ipv4/tcp_migrate_req").exists() {
        let value = if heir == Heir::Migrates { "1" } else { "0" };
        bench.sysctl(Some(&far), MIGRATE, value)?;
    }
    let target = ([10, 9, 1, 2], PORT).into();
    let mut first = Foreign::listen_shared(Some(&far), target, 1024)?;
    let witness = Witness::new()?;
    let args = format!("{BURST_CLIENT} --per-ip {ATTEMPTS}");
    let mut traced = bench.traced_client(Place::default(), Some(&far), &args)?;
    release_syns(bench, &far, &mut traced, ATTEMPTS)?;
    let mut second = match heir {
        Heir::None => None,
        _ => Some(Foreign::listen_shared(Some(&far), target, 1024)?),
    };
    // A SYN that is sent again in between would find no listener, or ask the other for a request.
    bench.until("no SYN is about to be sent again", || {
        let connecting = bench.sockets(&bench.ns, Side::Client, SYN_SENT)?;
        Ok(connecting
            .iter()
            .all(|client| client.timer_ms >= UNDISTURBED_MS))
    })?;
    first.stop_listening();
    release_burst(bench, &far)?;
    let mut truth = Truth::of(ATTEMPTS, &[("listener-gone", ATTEMPTS)]);
    match &mut second {
        Some(second) if heir == Heir::Migrates => {
            truth = Truth::of(ATTEMPTS, &[]);
            bench.until("the other listener accepts them", || {
                Ok(second.accept(ATTEMPTS as usize)? == ATTEMPTS as usize)
            })?;
            truth.recovered = sent_again(&standing(bench, &far)?, &witness)?.len() as u64;
        }
        _ => bench.until(
            "every client is reset",
            || Ok(bench.clients(u32::MAX)? == 0),
        )?,
    }
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    Ok(vec![Outcome { truth, run }])
}

fn can_migrate() -> anyhow::Result<()> {
    // Some long-term kernels have the sysctl, and nothing that heeds it.
    let can = Symbols::load()?.range("reuseport_migrate_sock").is_some();
    match can && Path::new("/proc/sys/net/ipv4/tcp_migrate_req").exists() {
        true => Ok(()),
        false => Err(Skip(format!("this kernel has no {MIGRATE} (5.14 and later)")).into()),
    }
}
