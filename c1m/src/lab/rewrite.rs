//! Labs of a middlebox that rewrites handshakes: what it makes of them is refused at the other end.

use anyhow::ensure;

use super::{
    Outcome,
    bench::{Bench, ESTABLISHED, SYN_SENT},
    process::{Place, tool},
    truth::Truth,
};
use crate::ledger::counters::Counters;

/// Connections of each of the two sources. The handshakes of the second are rewritten.
const PER_SOURCE: u64 = 20;

/// Two sources, of which the second meets the rules.
struct Case {
    target: &'static str,
    sources: &'static str,
    to_second: &'static str,
    from_second: &'static str,
}

const IPV4: Case = Case {
    target: "127.0.0.1:8000",
    sources: "127.0.1.1-2",
    to_second: "ip daddr 127.0.1.2 tcp sport 8000",
    from_second: "ip saddr 127.0.1.2 tcp dport 8000",
};

const IPV6: Case = Case {
    target: "[fd09::1]:8000",
    sources: "fd09::1-2",
    to_second: "ip6 daddr fd09::2 tcp sport 8000",
    from_second: "ip6 saddr fd09::2 tcp dport 8000",
};

const SYNACK: &str = "tcp flags & (syn|ack) == (syn|ack)";

impl Case {
    fn prepare(&self, bench: &Bench) -> anyhow::Result<()> {
        if self.target.starts_with('[') {
            bench.ipv6_addresses(&["fd09::1", "fd09::2"])?;
        }
        Ok(())
    }

    fn client(&self, timeout: &str) -> String {
        format!(
            "--target {} --sources {} --ips 2 --per-ip {PER_SOURCE} --timeout {timeout}",
            self.target, self.sources
        )
    }
}

/// Rewrites what leaves the lab's own namespace, from here on.
fn rewrite(rules: &[String]) -> anyhow::Result<()> {
    let rules = rules.join("; ");
    let table = format!(
        "table inet c1m-rewrite {{ chain output {{ type filter hook output priority -150; {rules}; }}; }}\n"
    );
    tool("nft", &["-f", "-"], &table, None).map(drop)
}

/// SYN-ACKs that acknowledge what was never sent: the client resets them.
pub(super) fn synack_rejected(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    rejected(bench, &IPV4)
}

/// The same over IPv6.
pub(super) fn synack_rejected_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    rejected(bench, &IPV6)
}

fn rejected(bench: &mut Bench, case: &Case) -> anyhow::Result<Vec<Outcome>> {
    case.prepare(bench)?;
    let _server = bench.server(
        Place::default(),
        &format!("--listen {} --backlog 1024", case.target),
    )?;
    rewrite(&[format!("{} {SYNACK} tcp ackseq set 1", case.to_second)])?;
    let mut traced = bench.traced_client(Place::default(), None, &case.client("800ms"))?;
    bench.until("every SYN is sent", || {
        traced.must_run()?;
        Ok(bench.opened()? == 2 * PER_SOURCE)
    })?;
    bench.until("the second source gave up", || {
        Ok(bench.clients(SYN_SENT)? == 0)
    })?;
    ensure!(
        bench.clients(ESTABLISHED)? == PER_SOURCE,
        "the first source was not to be troubled"
    );
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(2 * PER_SOURCE, &[("synack-rejected", PER_SOURCE)]);
    Ok(vec![Outcome { truth, run }])
}

/// Syncookies that come back changed: the listener does not know them, and resets the client.
pub(super) fn cookie_invalid(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    unknown_cookie(bench, &IPV4)
}

/// The same over IPv6.
pub(super) fn cookie_invalid_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    unknown_cookie(bench, &IPV6)
}

fn unknown_cookie(bench: &mut Bench, case: &Case) -> anyhow::Result<Vec<Outcome>> {
    case.prepare(bench)?;
    bench.sysctl(None, "net.ipv4.tcp_syncookies", "2")?;
    let _server = bench.server(
        Place::default(),
        &format!("--listen {} --backlog 1024", case.target),
    )?;
    rewrite(&[format!("{} {SYNACK} tcp sequence set 1", case.to_second)])?;
    let mut traced = bench.traced_client(Place::default(), None, &case.client("10s"))?;
    bench.until("every cookie came back", || {
        traced.must_run()?;
        let counters = Counters::read(&bench.ns)?;
        let of = |name| counters.get(name);
        Ok([of("TcpExtSyncookiesRecv"), of("TcpExtSyncookiesFailed")] == [PER_SOURCE; 2])
    })?;
    bench.until(
        "the first source's are accepted, the second's are reset",
        || Ok(bench.clients(ESTABLISHED)? == PER_SOURCE && bench.queued(&bench.ns)? == 0),
    )?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(2 * PER_SOURCE, &[("cookie-invalid", PER_SOURCE)]);
    Ok(vec![Outcome { truth, run }])
}

/// Final ACKs with the timestamp of a time before their SYN.
pub(super) fn ack_rejected(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    old_timestamp(bench, &IPV4)
}

/// The same over IPv6.
pub(super) fn ack_rejected_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    old_timestamp(bench, &IPV6)
}

fn old_timestamp(bench: &mut Bench, case: &Case) -> anyhow::Result<Vec<Outcome>> {
    case.prepare(bench)?;
    // Timestamps are the time since boot, in ms, without an offset.
    bench.sysctl(None, "net.ipv4.tcp_timestamps", "2")?;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now_ms = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000;
    let old = (now_ms as u32).wrapping_sub(100_000_000);
    let _server = bench.server(
        Place::default(),
        &format!("--listen {} --backlog 1024", case.target),
    )?;
    rewrite(&[format!(
        "{} tcp flags & (syn|rst) == 0x0 tcp option timestamp tsval set {old}",
        case.from_second
    )])?;
    let mut traced = bench.traced_client(Place::default(), None, &case.client("10s"))?;
    bench.until(
        "every final ACK came, and half of them were refused",
        || {
            traced.must_run()?;
            Ok(bench.clients(ESTABLISHED)? == 2 * PER_SOURCE
                && bench.requests(&bench.ns)? == PER_SOURCE
                && bench.queued(&bench.ns)? == 0)
        },
    )?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(2 * PER_SOURCE, &[("ack-rejected", PER_SOURCE)]);
    Ok(vec![Outcome { truth, run }])
}
