//! Labs of ends that no longer hear from each other, because what they send gets lost on a way that neither
//! sees.

use std::{io::Write as _, os::fd::AsFd as _, time::Duration};

use anyhow::ensure;
use socket2::TcpKeepalive;

use super::{
    Outcome,
    bench::{Bench, ESTABLISHED, PORT},
    foreign::{Foreign, connect, set_tcp},
    process::Place,
    route::{FAR, FAR_IPV6, Route},
    truth::Truth,
};
use crate::ledger::{census::Side, counters::Counters};

/// Connections of each of the two sources.
const PER_SOURCE: u64 = 20;

/// The final ACKs of one source get lost: the client stands, and the server repeats its SYN-ACKs in vain.
pub(super) fn request_expired(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    expired(bench, FAR, "10.9.1.1-2", "ip saddr 10.9.1.1")
}

/// The same over IPv6.
pub(super) fn request_expired_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    expired(bench, FAR_IPV6, "fd09:1::1-2", "ip6 saddr fd09:1::1")
}

fn expired(
    bench: &mut Bench,
    target: &str,
    sources: &str,
    first: &str,
) -> anyhow::Result<Vec<Outcome>> {
    let route = Route::new(bench)?;
    // Sent again after 1 s, gone after 3 s.
    bench.sysctl(Some(&route.far), "net.ipv4.tcp_synack_retries", "1")?;
    route.cut(&format!("{first} tcp flags & (fin|syn|rst|ack) == ack"))?;
    let mut server = Foreign::listen(Some(&route.far), target.parse()?, 1024)?;
    let mut traced =
        bench.traced_client(Place::default(), Some(&route.far), &client(target, sources))?;
    bench.until("the second source's connections are accepted", || {
        traced.must_run()?;
        Ok(server.accept(PER_SOURCE as usize)? == PER_SOURCE as usize)
    })?;
    bench.until("the client stands, and the requests expired", || {
        Ok(bench.clients(ESTABLISHED)? == 2 * PER_SOURCE && bench.requests(&route.far)? == 0)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(2 * PER_SOURCE, &[("request-expired", PER_SOURCE)]);
    Ok(vec![Outcome { truth, run }])
}

fn client(target: &str, sources: &str) -> String {
    format!("--target {target} --sources {sources} --ips 2 --per-ip {PER_SOURCE}")
}

/// The server waits for data before it accepts (TCP_DEFER_ACCEPT), and its clients wait for it to speak first. Other
/// clients, of a program of the lab's, speak.
pub(super) fn deferred(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    /// Longer than the lab lasts.
    const WAIT_S: i32 = 600;
    let target = ([127, 0, 0, 1], PORT).into();
    let mut server = Foreign::listen(None, target, 1024)?;
    server.set(|listener| set_tcp(listener.as_fd(), libc::TCP_DEFER_ACCEPT, WAIT_S))?;
    let args = format!("--sources 127.0.1.1 --ips 1 --per-ip {PER_SOURCE}");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.until("every client stands, and its request waits", || {
        traced.must_run()?;
        Ok(bench.clients(ESTABLISHED)? == PER_SOURCE && bench.requests(&bench.ns)? == PER_SOURCE)
    })?;
    let mut speakers = connect(target, PER_SOURCE as usize)?;
    for speaker in &mut speakers {
        speaker.write_all(b"hello")?;
    }
    bench.until("who spoke is accepted", || {
        Ok(server.accept(speakers.len())? == speakers.len())
    })?;
    let dropped = Counters::read(&bench.ns)?.get("TcpExtTCPDeferAcceptDrop");
    ensure!(
        dropped == 2 * PER_SOURCE,
        "{dropped} ACKs were deferred, not {}",
        2 * PER_SOURCE
    );
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(PER_SOURCE, &[("ack-rejected", PER_SOURCE)]);
    Ok(vec![Outcome { truth, run }])
}

/// The link to one source is cut while the server waits for an answer to its data: retransmits.
pub(super) fn timed_out(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    silent(bench, Trouble::Retransmits)
}

/// The same over IPv6.
pub(super) fn timed_out_ipv6(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    silent_at(
        bench,
        Trouble::Retransmits,
        (FAR_IPV6, "fd09:1::1-2", "ip6 daddr fd09:1::1"),
    )
}

/// The same, with a limit of the program's own (`TCP_USER_TIMEOUT`).
pub(super) fn timed_out_user(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    silent(bench, Trouble::UserTimeout)
}

/// The same without data: keepalive probes go without an answer.
pub(super) fn timed_out_keepalive(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    silent(bench, Trouble::Keepalive)
}

/// How the server notices that its peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Retransmits,
    UserTimeout,
    Keepalive,
}

fn silent(bench: &mut Bench, trouble: Trouble) -> anyhow::Result<Vec<Outcome>> {
    silent_at(bench, trouble, (FAR, "10.9.1.1-2", "ip daddr 10.9.1.1"))
}

/// `(target, sources, what the router drops)`.
fn silent_at(
    bench: &mut Bench,
    trouble: Trouble,
    (target, sources, to_first): (&str, &str, &str),
) -> anyhow::Result<Vec<Outcome>> {
    let route = Route::new(bench)?;
    if trouble == Trouble::Retransmits {
        // Given up after the third, 1.4 s after the first.
        bench.sysctl(Some(&route.far), "net.ipv4.tcp_retries2", "2")?;
    }
    let mut server = Foreign::listen(Some(&route.far), target.parse()?, 1024)?;
    let mut traced =
        bench.traced_client(Place::default(), Some(&route.far), &client(target, sources))?;
    let all = 2 * PER_SOURCE;
    bench.accepted_by(&mut server, &mut traced, all)?;
    route.cut(to_first)?;
    for connection in &server.held {
        match trouble {
            Trouble::Retransmits => drop(connection.send(b"anybody?")?),
            Trouble::UserTimeout => {
                connection.set_tcp_user_timeout(Some(Duration::from_millis(500)))?;
                connection.send(b"anybody?")?;
            }
            Trouble::Keepalive => {
                let second = Duration::from_secs(1);
                let probes = TcpKeepalive::new()
                    .with_time(second)
                    .with_interval(second)
                    .with_retries(1);
                connection.set_tcp_keepalive(&probes)?;
            }
        }
    }
    bench.until("the server gave those of the first source up", || {
        let left = bench.sockets(&route.far, Side::Server, ESTABLISHED)?;
        Ok(left.len() as u64 == PER_SOURCE)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(all, &[("timed-out", PER_SOURCE)]);
    Ok(vec![Outcome { truth, run }])
}
