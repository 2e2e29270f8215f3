//! Labs of resets that neither end sent: a rule rejects segments of connections that stand.

use super::{
    Outcome,
    bench::{Bench, ESTABLISHED, PORT},
    foreign::Foreign,
    process::Place,
    truth::Truth,
};
use crate::ledger::census::Side;

/// Attempts of each of the two sources. Those of the second meet the rule.
const PER_SOURCE: u64 = 20;

/// The server speaks, and a rule answers the client's acknowledgements with a reset: the server's end stands.
pub(super) fn of_client(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    injected(
        bench,
        "ip saddr 127.0.1.2 tcp dport 8000 tcp flags & (syn|rst) == 0x0",
    )
}

/// A rule answers what the server says with a reset: the client's end stands.
pub(super) fn of_server(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    injected(
        bench,
        "ip daddr 127.0.1.2 tcp sport 8000 tcp flags & (syn|rst) == 0x0",
    )
}

fn injected(bench: &mut Bench, matching: &str) -> anyhow::Result<Vec<Outcome>> {
    let mut server = Foreign::listen(None, ([127, 0, 0, 1], PORT).into(), 1024)?;
    let args = format!("--sources 127.0.1.1-2 --ips 2 --per-ip {PER_SOURCE}");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    let all = 2 * PER_SOURCE;
    bench.accepted_by(&mut server, &mut traced, all)?;
    bench.rule(
        None,
        "input",
        0,
        &format!("{matching} counter reject with tcp reset"),
    )?;
    for connection in &server.held {
        connection.send(b"well?")?;
    }
    bench.until(
        "one end of each connection of the second source is reset",
        || {
            let sides = [Side::Client, Side::Server];
            let left = sides.map(|side| bench.sockets(&bench.ns, side, ESTABLISHED));
            let [clients, servers] = left;
            Ok(clients?.len().min(servers?.len()) as u64 == PER_SOURCE)
        },
    )?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(all, &[("netfilter-in", PER_SOURCE)]);
    Ok(vec![Outcome { truth, run }])
}
