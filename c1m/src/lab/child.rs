//! Labs of a server that has no way back to its client: no request can be made of its SYN, or no child of the
//! request.

use super::{
    Outcome, Skip,
    ack::{BURST_CLIENT, burst_namespace, release_burst, release_syns},
    bench::{Bench, ESTABLISHED, PORT, SYN_SENT},
    foreign::Foreign,
    process::Place,
    truth::Truth,
};
use crate::netns::Netns;

const ATTEMPTS: u64 = 30;

/// The way back is gone when the SYNs come.
pub(super) fn no_request_memory(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let far = burst_namespace(bench)?;
    no_way_back(bench, &far)?;
    let _server = Foreign::listen(Some(&far), ([10, 9, 1, 2], PORT).into(), 1024)?;
    let args = format!(
        "--target 10.9.1.2:8000 --sources 10.9.1.1 --ips 1 --per-ip {ATTEMPTS} --timeout 800ms --hold 60s"
    );
    let mut traced = bench.traced_client(Place::default(), Some(&far), &args)?;
    bench.until("every SYN is sent, and given up", || {
        traced.must_run()?;
        Ok(bench.opened()? == ATTEMPTS && bench.clients(SYN_SENT)? == 0)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let record = &run.record;
    if record.observability.backend == "tracepoint" && record.not_observable == ATTEMPTS {
        let why = "tracepoints alone do not tell that no request could be made";
        return Err(Skip(why.to_owned()).into());
    }
    let truth = Truth::of(ATTEMPTS, &[("no-request-memory", ATTEMPTS)]);
    Ok(vec![Outcome { truth, run }])
}

/// The way back goes while the SYN-ACKs wait for the client's hardware address; then they leave, and final ACKs
/// come.
pub(super) fn child_failed(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let far = burst_namespace(bench)?;
    let _server = Foreign::listen(Some(&far), ([10, 9, 1, 2], PORT).into(), 1024)?;
    let args = format!("{BURST_CLIENT} --per-ip {ATTEMPTS} --hold 60s");
    let mut traced = bench.traced_client(Place::default(), Some(&far), &args)?;
    release_syns(bench, &far, &mut traced, ATTEMPTS)?;
    no_way_back(bench, &far)?;
    release_burst(bench, &far)?;
    bench.until("every client is established", || {
        Ok(bench.clients(ESTABLISHED)? == ATTEMPTS)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("child-failed", ATTEMPTS)]);
    Ok(vec![Outcome { truth, run }])
}

/// Takes the far namespace's route away; its packets still come in.
fn no_way_back(bench: &Bench, far: &Netns) -> anyhow::Result<()> {
    for name in ["all", "c1m-b"] {
        bench.sysctl(Some(far), &format!("net.ipv4.conf.{name}.rp_filter"), "0")?;
    }
    bench.ip(Some(far), "route del 10.9.1.0/24 dev c1m-b")
}
