//! Labs of packet rules: somebody's firewall drops or rejects a segment of the handshake.

use super::{
    Outcome,
    bench::{ATTEMPTS, Bench, HIT, HIT_PORTS},
    process::Place,
    truth::Truth,
};

/// Over IPv4, or over IPv6.
#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    /// The server's address.
    fn target(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.1:8000",
            Self::V6 => "[::1]:8000",
        }
    }

    /// The client's.
    fn source(self) -> &'static str {
        match self {
            Self::V4 => "127.0.1.1",
            Self::V6 => "::1",
        }
    }
}

/// The SYNs that the rules mean.
const SYNS: &str = "tcp dport 8000 tcp flags & (syn|ack) == syn tcp sport";
/// Their SYN-ACKs.
const SYNACKS: &str = "tcp sport 8000 tcp flags & (syn|ack) == syn|ack tcp dport";

/// A rule at `hook` drops or rejects what matches of [`HIT`] attempts; the others stand.
fn hit(
    bench: &mut Bench,
    family: Family,
    hook: &str,
    what: &str,
    verdict: &str,
    cause: &'static str,
) -> anyhow::Result<Vec<Outcome>> {
    let (target, source) = (family.target(), family.source());
    let _server = bench.server(
        Place::default(),
        &format!("--listen {target} --backlog 1024"),
    )?;
    bench.rule(
        None,
        hook,
        0,
        &format!("{what} {HIT_PORTS} counter {verdict}"),
    )?;
    // A rejection by ICMP comes while connect() still has the socket, and counts only when the SYN is sent again.
    let timeout = if verdict == "drop" { "800ms" } else { "5s" };
    let args = format!(
        "--target {target} --sources {source} --ips 1 --per-ip {ATTEMPTS} --timeout {timeout} --hold 1s"
    );
    let run = bench.client_run(None, &args)?;
    let truth = Truth::of(ATTEMPTS, &[(cause, HIT)]);
    Ok(vec![Outcome { truth, run }])
}

/// A rule at OUTPUT drops SYNs.
pub(super) fn netfilter_out(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V4, "output", SYNS, "drop", "netfilter-out")
}

/// The same on ::1.
pub(super) fn netfilter_out_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V6, "output", SYNS, "drop", "netfilter-out")
}

/// A rule at INPUT drops SYNs.
pub(super) fn netfilter_in(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V4, "input", SYNS, "drop", "netfilter-in")
}

/// The same on ::1.
pub(super) fn netfilter_in_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V6, "input", SYNS, "drop", "netfilter-in")
}

/// A rule at INPUT answers SYNs with a RST.
pub(super) fn netfilter_in_reset(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let verdict = "reject with tcp reset";
    hit(bench, Family::V4, "input", SYNS, verdict, "netfilter-in")
}

/// A rule at INPUT answers SYNs with an ICMP error.
pub(super) fn netfilter_in_icmp(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let verdict = "reject with icmpx type host-unreachable";
    hit(bench, Family::V4, "input", SYNS, verdict, "netfilter-in")
}

/// A rule at INPUT drops SYN-ACKs.
pub(super) fn synack_lost(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V4, "input", SYNACKS, "drop", "synack-lost")
}

/// A rule at OUTPUT does.
pub(super) fn synack_lost_out(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V4, "output", SYNACKS, "drop", "synack-lost")
}

/// The same on ::1.
pub(super) fn synack_lost_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    hit(bench, Family::V6, "output", SYNACKS, "drop", "synack-lost")
}
