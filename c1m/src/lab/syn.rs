//! Labs of SYNs that do not get to a listener.

use super::{Outcome, bench::Bench, truth::Truth};

/// No listener on the port.
pub(super) fn refused(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    refused_at(
        bench,
        "--target 127.0.0.1:8000 --sources 127.0.1.1-2 --ips 2",
        2,
    )
}

/// The same with ports of the kernel's choice, which the client never learns: connect() fails at once.
pub(super) fn refused_kernel_ports(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    refused_at(
        bench,
        "--target 127.0.0.1:8000 --sources 127.0.1.1-2 --ips 2 --ports kernel",
        2,
    )
}

/// No listener on the port, IPv6.
pub(super) fn refused_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    refused_at(bench, "--target [::1]:8000 --sources ::1 --ips 1", 1)
}

/// More attempts are refused than the tracer has room for: of the others it says that it lost their evidence.
pub(super) fn evidence_lost(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 1000;
    const ENTRIES: u64 = 64;
    let args = format!(
        "--target 127.0.0.1:8000 --sources 127.0.1.1 --ips 1 --per-ip {ATTEMPTS} --hold 0s"
    );
    let run = bench
        .narrowly_traced_client(ENTRIES, &args)?
        .finish(bench)?;
    let lost = [("refused", ENTRIES), ("evidence-lost", ATTEMPTS - ENTRIES)];
    let truth = Truth::of(ATTEMPTS, &lost);
    Ok(vec![Outcome { truth, run }])
}

fn refused_at(bench: &mut Bench, whereto: &str, sources: u64) -> anyhow::Result<Vec<Outcome>> {
    const PER_SOURCE: u64 = 50;
    let args = format!("{whereto} --per-ip {PER_SOURCE} --hold 0s");
    let run = bench.client_run(None, &args)?;
    let attempts = sources * PER_SOURCE;
    let truth = Truth::of(attempts, &[("refused", attempts)]);
    Ok(vec![Outcome { truth, run }])
}

/// The SYNs vanish beyond this host, and the kernel gives up before the client does.
pub(super) fn syn_unanswered(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 30;
    bench.sysctl(None, "net.ipv4.tcp_syn_retries", "1")?;
    // Nobody has 10.9.1.2 there.
    let _nowhere = bench.second_namespace()?;
    let args = format!(
        "--target 10.9.1.2:8000 --sources 10.9.1.1 --ips 1 --per-ip {ATTEMPTS} --timeout 30s --hold 0s"
    );
    let run = bench.client_run(None, &args)?;
    let truth = Truth::of(ATTEMPTS, &[("syn-unanswered", ATTEMPTS)]);
    Ok(vec![Outcome { truth, run }])
}
