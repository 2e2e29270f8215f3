//! Labs of a server that has no way back to its client.

use super::{
    Outcome,
    ack::{BURST_CLIENT, burst_namespace, release_syns},
    bench::{Bench, ESTABLISHED, OWN_HARDWARE, PORT},
    foreign::Foreign,
    process::{Place, tool},
    truth::Truth,
};
use crate::netns::Netns;

const ATTEMPTS: u64 = 30;

/// The way back goes while the SYN-ACKs wait for the client's hardware address; then they leave, and final ACKs
/// come.
pub(super) fn child_failed(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let far = burst_namespace(bench)?;
    let _server = Foreign::listen(Some(&far), ([10, 9, 1, 2], PORT).into(), 1024)?;
    let args = format!("{BURST_CLIENT} --per-ip {ATTEMPTS}");
    let mut traced = bench.traced_client(Place::default(), Some(&far), &args)?;
    release_syns(bench, &far, &mut traced, ATTEMPTS)?;
    takes_any_source(bench, &far)?;
    // Both at once: a request that is to be answered again and can't be is given up.
    let words = format!(
        "{NO_WAY_BACK}\nneigh replace 10.9.1.1 lladdr {OWN_HARDWARE} dev c1m-b nud permanent\n"
    );
    tool("ip", &["-batch", "-"], &words, Some(&far))?;
    bench.until("every client is established", || {
        Ok(bench.clients(ESTABLISHED)? == ATTEMPTS)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("child-failed", ATTEMPTS)]);
    Ok(vec![Outcome { truth, run }])
}

/// The server's host knows no way back to one of two sources: it makes no request of their SYNs.
pub(super) fn no_request(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const HALF: u64 = ATTEMPTS / 2;
    bench.needs_functions()?;
    let far = bench.second_namespace()?;
    for address in ["10.9.1.3/32", "10.9.1.4/32"] {
        bench.ip(None, &format!("addr add {address} dev c1m-a"))?;
    }
    bench.ip(Some(&far), "addr add 10.9.1.2/24 dev c1m-b")?;
    bench.ip(Some(&far), "route add 10.9.1.3/32 dev c1m-b")?;
    takes_any_source(bench, &far)?;
    bench.ip(Some(&far), NO_WAY_BACK)?;
    let place = Place {
        ns: Some(&far),
        ..Place::default()
    };
    let _server = bench.server(place, "--listen 10.9.1.2:8000 --backlog 1024")?;
    let args = format!(
        "--target 10.9.1.2:8000 --sources 10.9.1.3-4 --ips 2 --per-ip {HALF} --timeout 800ms --hold 1s"
    );
    let run = bench.client_run(Some(&far), &args)?;
    let truth = Truth::of(2 * HALF, &[("no-request-memory", HALF)]);
    Ok(vec![Outcome { truth, run }])
}

/// What takes the far namespace's route away.
const NO_WAY_BACK: &str = "route del 10.9.1.0/24 dev c1m-b";

/// The far namespace takes in also what it has no way back to.
fn takes_any_source(bench: &Bench, far: &Netns) -> anyhow::Result<()> {
    for name in ["all", "c1m-b"] {
        bench.sysctl(Some(far), &format!("net.ipv4.conf.{name}.rp_filter"), "0")?;
    }
    Ok(())
}
