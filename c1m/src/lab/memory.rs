//! Labs of a host that has no memory left for TCP: what a program closes is reset instead.

use std::io::ErrorKind;

use super::{
    Outcome,
    bench::{Bench, ESTABLISHED, PORT},
    foreign::{Foreign, connect_from},
    process::Place,
    route::{FAR, Route},
    truth::Truth,
};
use crate::ledger::{census::Side, counters::Counters};

/// Connections of each of the two sources. The server closes those of the first.
const PER_SOURCE: u64 = 20;
/// How many of the second it closes as well, while there is memory enough.
const ORDERLY: u64 = 5;

/// A setting of the whole host that is too low for what the server closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scarce {
    Orphans,
    Memory,
}

/// More closed connections than `tcp_max_orphans` wait for their peer.
pub(super) fn orphans(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    close_under(bench, Scarce::Orphans)
}

/// Closed connections have data for their peer, and TCP is beyond `tcp_mem`.
pub(super) fn tcp_mem(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    close_under(bench, Scarce::Memory)
}

/// The link to the first source is cut, so that its connections cannot be closed in an orderly way at once.
fn close_under(bench: &mut Bench, scarce: Scarce) -> anyhow::Result<Vec<Outcome>> {
    let route = Route::new(bench)?;
    let mut server = Foreign::listen(Some(&route.far), FAR.parse()?, 1024)?;
    let mut earlier = match scarce {
        Scarce::Orphans => Some(Earlier::open(bench, &route)?),
        Scarce::Memory => None,
    };
    let args = format!("--target {FAR} --sources 10.9.1.1-2 --ips 2 --per-ip {PER_SOURCE}");
    let mut traced = bench.traced_client(Place::default(), Some(&route.far), &args)?;
    let all = 2 * PER_SOURCE;
    bench.accepted_by(&mut server, &mut traced, all)?;
    close(&mut server, [10, 9, 1, 2], ORDERLY);
    route.cut("ip daddr 10.9.1.1")?;
    match (scarce, &mut earlier) {
        (Scarce::Orphans, Some(earlier)) => earlier.are_too_many(bench, &route)?,
        _ => memory_is_full(bench, &server)?,
    }
    close(&mut server, [10, 9, 1, 1], PER_SOURCE);
    bench.until("the server has no more than the others left", || {
        let left = bench.sockets(&route.far, Side::Server, ESTABLISHED)?;
        Ok(left.len() as u64 == PER_SOURCE - ORDERLY)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    // With memory enough the server just closes them.
    let lost: &[_] = match bench.is_fixed() {
        true => &[("closed-by-server", ORDERLY + PER_SOURCE)],
        false => &[
            ("memory-pressure", PER_SOURCE),
            ("closed-by-server", ORDERLY),
        ],
    };
    let truth = Truth::of(all, lost);
    Ok(vec![Outcome { truth, run }])
}

/// The server closes `count` of the connections of one source.
fn close(server: &mut Foreign, source: [u8; 4], mut count: u64) {
    server.held.retain(|connection| {
        let peer = connection.peer_addr().ok();
        let peer = peer.and_then(|peer| peer.as_socket_ipv4());
        let is_one = count > 0 && peer.is_some_and(|peer| peer.ip().octets() == source);
        count -= u64::from(is_one);
        !is_one
    });
}

/// How often a connection was reset for want of memory.
fn aborted(route: &Route) -> anyhow::Result<u64> {
    Ok(Counters::read(&route.far)?.get("TcpExtTCPAbortOnMemory"))
}

/// Connections to another port, closed one by one until the kernel finds that orphans are too many: it counts them
/// ten times a second. Their clients acknowledge the end and hold on: an orphan that had to send its FIN again would be
/// given up for the same reason, and soon there would be none.
struct Earlier {
    server: Foreign,
    _clients: Vec<socket2::Socket>,
}

impl Earlier {
    const COUNT: usize = 60;

    fn open(bench: &Bench, route: &Route) -> anyhow::Result<Self> {
        // Longer than TIME_WAIT, and an orphan in FIN_WAIT_2 remains a socket (`tcp_rcv_state_process`).
        bench.sysctl(Some(&route.far), "net.ipv4.tcp_fin_timeout", "120")?;
        let target = ([10, 9, 2, 2], PORT + 1).into();
        let mut server = Foreign::listen(Some(&route.far), target, 1024)?;
        let clients = (0..Self::COUNT)
            .map(|_| connect_from(([10, 9, 1, 2], 0).into(), target))
            .collect::<anyhow::Result<Vec<_>>>()?;
        bench.until("the earlier connections are accepted", || {
            Ok(server.accept(Self::COUNT)? == Self::COUNT)
        })?;
        Ok(Self {
            server,
            _clients: clients,
        })
    }

    fn are_too_many(&mut self, bench: &Bench, route: &Route) -> anyhow::Result<()> {
        bench.host_sysctl("net.ipv4.tcp_max_orphans", 0)?;
        if bench.is_fixed() {
            return Ok(());
        }
        let before = aborted(route)?;
        bench.until("an orphan is one too many", || {
            self.server.close(1);
            std::thread::sleep(std::time::Duration::from_millis(50));
            Ok(aborted(route)? > before)
        })
    }
}

/// Each connection has data under way, and all of them have more than the host allows.
fn memory_is_full(bench: &Bench, server: &Foreign) -> anyhow::Result<()> {
    const BYTES: usize = 1 << 20;
    let data = vec![0; BYTES];
    for connection in &server.held {
        connection.set_send_buffer_size(BYTES)?;
        connection.set_nonblocking(true)?;
        loop {
            match connection.send(&data) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    bench.host_sysctl("net.ipv4.tcp_mem", "1 2 3")
}
