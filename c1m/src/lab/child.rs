//! Labs of a server that has no way back to its client.

use super::{
    Outcome,
    ack::{BURST_CLIENT, burst_namespace, release_burst, release_syns},
    bench::{Bench, ESTABLISHED, PORT},
    foreign::Foreign,
    process::Place,
    truth::Truth,
};
use crate::netns::Netns;

const ATTEMPTS: u64 = 30;

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
