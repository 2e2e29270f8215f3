//! Labs of final ACKs that meet a full accept queue: the client stands, the server knows nothing.

use std::{cell::Cell, collections::HashSet, ops::Range, thread::available_parallelism};

use anyhow::{Context as _, ensure};
use c1m_common::tuple::Tuple;

use super::{
    Outcome,
    bench::{Bench, ESTABLISHED, FIRST_PORT, OWN_HARDWARE, PORT, SYN_SENT},
    foreign::{Foreign, connect, connect_from},
    process::Place,
    traced::Traced,
    truth::Truth,
    witness::{Witness, element},
};
use crate::{
    ledger::{census::Side, client::source, counters::Counters},
    netns::Netns,
};

/// With a request: the final ACKs of the first source are held back until connections of the second have
/// filled the accept queue. The SYN-ACKs' retransmits bring them again, to no avail, until the requests
/// expire.
pub(super) fn accept_queue_full_ack(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    overflow(bench, "accept-queue-full-ack")
}

/// The same with `tcp_abort_on_overflow`: the first final ACK that meets the full queue is answered by a reset.
pub(super) fn accept_queue_full_reset(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    bench.sysctl(None, "net.ipv4.tcp_abort_on_overflow", "1")?;
    overflow(bench, "accept-queue-full-reset")
}

fn overflow(bench: &mut Bench, cause: &'static str) -> anyhow::Result<Vec<Outcome>> {
    const BACKLOG: u32 = 32;
    const QUEUE: u64 = BACKLOG as u64 + 1;
    /// Fewer than half the backlog, or their requests would have less time (`reqsk_timer_handler`).
    const PER_SOURCE: u64 = 12;
    let backlog = bench.backlog(BACKLOG);
    let admitted = (QUEUE + PER_SOURCE).min(u64::from(backlog) + 1);
    bench.sysctl(None, "net.ipv4.tcp_syncookies", "0")?;
    bench.sysctl(None, "net.ipv4.tcp_max_syn_backlog", "4096")?;
    // Sent again after 1 s, 3 s and 7 s, the last of which even a slow machine waits for; gone after 15 s.
    bench.sysctl(None, "net.ipv4.tcp_synack_retries", "3")?;
    let target = ([127, 0, 0, 1], PORT).into();
    let mut server = Foreign::listen(None, target, backlog)?;
    let _fillers = connect(target, (QUEUE - PER_SOURCE) as usize)?;
    bench.drop_packets(
        "ip saddr 127.0.1.1 tcp dport 8000 tcp flags & (fin|syn|rst|psh|ack) == ack",
    )?;
    let args = format!("--sources 127.0.1.1-2 --ips 2 --per-ip {PER_SOURCE} --timeout 10s");
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    bench.until(
        "the first source waits, and the second fills the accept queue",
        || {
            traced.must_run()?;
            Ok(bench.requests(&bench.ns)? == PER_SOURCE && bench.queued(&bench.ns)? == QUEUE)
        },
    )?;
    bench.pass_all()?;
    bench.until("the requests are gone", || {
        Ok(bench.requests(&bench.ns)? == 0)
    })?;
    ensure!(
        bench.queued(&bench.ns)? == admitted,
        "the accept queue took another number than its limit says"
    );
    bench.until("the queue is accepted", || {
        Ok(server.accept(admitted as usize)? == admitted as usize)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(2 * PER_SOURCE, &[(cause, QUEUE + PER_SOURCE - admitted)]);
    Ok(vec![Outcome { truth, run }])
}

/// The clients of held-back final ACKs send data, too: it brings the ACK again for as long as TCP tries. When their requests are
/// gone the listener answers with an RST, by which they learn of it.
pub(super) fn accept_queue_full_ack_late(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const BACKLOG: u32 = 32;
    const QUEUE: u64 = BACKLOG as u64 + 1;
    /// Fewer than half the backlog, as above.
    const LATE: u16 = 12;
    let backlog = bench.backlog(BACKLOG);
    let late = u64::from(LATE);
    let admitted = (QUEUE + late).min(u64::from(backlog) + 1);
    let refused = QUEUE + late - admitted;
    bench.sysctl(None, "net.ipv4.tcp_syncookies", "0")?;
    bench.sysctl(None, "net.ipv4.tcp_max_syn_backlog", "4096")?;
    // Gone after 7 s.
    bench.sysctl(None, "net.ipv4.tcp_synack_retries", "2")?;
    bench.drop_packets(
        "ip saddr 127.0.1.1 tcp dport 8000 tcp flags & (fin|syn|rst|psh|ack) == ack",
    )?;
    let target = ([127, 0, 0, 1], PORT).into();
    let mut server = Foreign::listen(None, target, backlog)?;
    let traced = bench.traced_port(None)?;
    let from = |nth| connect_from(([127, 0, 1, 1], FIRST_PORT + nth).into(), target);
    let clients: Vec<_> = (0..LATE).map(from).collect::<anyhow::Result<_>>()?;
    let _fillers = connect(target, QUEUE as usize)?;
    ensure!(
        bench.requests(&bench.ns)? == late && bench.queued(&bench.ns)? == QUEUE,
        "the lab's clients were too slow, and requests are gone"
    );
    bench.pass_all()?;
    let before = Counters::read(&bench.ns)?;
    for client in &clients {
        client.send(b"a request")?;
    }
    bench.until("the data of those beyond the queue met it", || {
        let overflows = "TcpExtListenOverflows";
        let now = Counters::read(&bench.ns)?.get(overflows);
        Ok(now - before.get(overflows) >= refused)
    })?;
    bench.until("their requests are gone, and they are reset", || {
        let stand = bench.clients(ESTABLISHED)?;
        Ok(bench.requests(&bench.ns)? == 0 && stand == admitted)
    })?;
    bench.until("the queue is accepted", || {
        Ok(server.accept(admitted as usize)? == admitted as usize)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let mut truth = Truth::of(QUEUE + late, &[("accept-queue-full-ack", refused)]);
    truth.recovered = admitted - QUEUE;
    Ok(vec![Outcome { truth, run }])
}

/// By syncookie: all final ACKs come in one burst, and there is no request that would ask for them again.
pub(super) fn accept_queue_full_cookie(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ATTEMPTS: u64 = 100;
    let backlog = bench.backlog(16);
    let queue = ATTEMPTS.min(u64::from(backlog) + 1);
    let far = burst_namespace(bench)?;
    bench.sysctl(Some(&far), "net.ipv4.tcp_syncookies", "2")?;
    let mut server = Foreign::listen(Some(&far), ([10, 9, 1, 2], PORT).into(), backlog)?;
    let witness = Witness::new()?;
    let args = format!("{BURST_CLIENT} --per-ip {ATTEMPTS}");
    let mut traced = bench.traced_client(Place::default(), Some(&far), &args)?;
    release_syns(bench, &far, &mut traced, ATTEMPTS)?;
    release_burst(bench, &far)?;
    burst_is_over(bench, &far, ATTEMPTS)?;
    let queue = filled(bench, &far, queue)?;
    bench.until("the queue is accepted", || {
        Ok(server.accept(queue as usize)? == queue as usize)
    })?;
    let recovered = sent_again(&standing(bench, &far)?, &witness)?.len() as u64;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let mut truth = Truth::of(ATTEMPTS, &[("accept-queue-full-cookie", ATTEMPTS - queue)]);
    truth.recovered = recovered;
    Ok(vec![Outcome { truth, run }])
}

/// The client's side of [`burst_namespace`].
pub(super) const BURST_CLIENT: &str =
    "--target 10.9.1.2:8000 --sources 10.9.1.1 --ips 1 --timeout 150s";

/// A second namespace. The SYNs of the lab's own wait for its hardware address until [`release_syns`], and its SYN-ACKs
/// wait for theirs until [`release_burst`]: then all of them leave at once, and all final ACKs with them. However slow
/// the machine, no SYN-ACK has waited for longer than the burst of SYNs took.
pub(super) fn burst_namespace(bench: &Bench) -> anyhow::Result<Netns> {
    let far = bench.second_namespace()?;
    bench.packets_before.set(IpPackets {
        sent: IpPackets::sent(&bench.ns)?,
        received: IpPackets::received(&bench.ns)?,
    });
    bench.ip(None, "neigh del 10.9.1.2 dev c1m-a")?;
    bench.ip(Some(&far), "addr add 10.9.1.2/24 dev c1m-b")?;
    // No answers to ARP, which is repeated for as long as a lab may take, with room for every packet.
    for (ns, device) in [(None, "c1m-a"), (Some(&far), "c1m-b")] {
        bench.sysctl(ns, "net.ipv4.conf.all.arp_ignore", "8")?;
        let neigh = format!("net.ipv4.neigh.{device}");
        bench.sysctl(ns, &format!("{neigh}.mcast_solicit"), "200")?;
        bench.sysctl(ns, &format!("{neigh}.unres_qlen_bytes"), "67108864")?;
    }
    Ok(far)
}

/// Lets the SYNs go once all are sent, and waits until every one has its SYN-ACK, with a request or by a cookie.
pub(super) fn release_syns(
    bench: &Bench,
    far: &Netns,
    traced: &mut Traced,
    attempts: u64,
) -> anyhow::Result<()> {
    bench.until("every SYN is sent", || {
        traced.must_run()?;
        Ok(bench.clients(SYN_SENT)? == attempts)
    })?;
    bench.knows_other()?;
    bench.until("every SYN is answered", || {
        let cookies = Counters::read(far)?.get("TcpExtSyncookiesSent");
        // A SYN that waited for more than 1 s was sent again, and is answered again.
        Ok(bench.requests(far)? + cookies >= attempts && under_way_there(bench, far)? == 0)
    })
}

/// Lets the SYN-ACKs go.
pub(super) fn release_burst(bench: &Bench, far: &Netns) -> anyhow::Result<()> {
    bench.ip(
        Some(far),
        &format!("neigh replace 10.9.1.1 lladdr {OWN_HARDWARE} dev c1m-b nud permanent"),
    )
}

/// Waits until every client is established, and all that the burst set off is over: an ACK that came again would find
/// room in a queue that is accepted meanwhile.
pub(super) fn burst_is_over(bench: &Bench, far: &Netns, attempts: u64) -> anyhow::Result<()> {
    bench.until("every client is established, and all is quiet", || {
        Ok(bench.clients(ESTABLISHED)? == attempts
            && under_way_back(bench, far)? == 0
            && under_way_there(bench, far)? == 0)
    })
}

/// How many an accept queue with so many places takes: every CPU may find the last one free at once, for nothing is locked
/// between `sk_acceptq_is_full` and `inet_csk_reqsk_queue_add`.
pub(super) fn takes(places: u64) -> Range<u64> {
    let cpus = available_parallelism().map_or(1, usize::from) as u64;
    places..places + cpus
}

/// Waits until the accept queue has what it takes, and says how many that are.
pub(super) fn filled(bench: &Bench, far: &Netns, places: u64) -> anyhow::Result<u64> {
    let queued = Cell::new(0);
    bench
        .until("the accept queue has what it takes", || {
            queued.set(bench.queued(far)?);
            Ok(takes(places).contains(&queued.get()))
        })
        .with_context(|| format!("{} of {places} are in it", queued.get()))?;
    Ok(queued.get())
}

/// The server's connections, accepted or not.
pub(super) fn standing(bench: &Bench, far: &Netns) -> anyhow::Result<HashSet<Tuple>> {
    let sockets = bench.sockets(far, Side::Server, ESTABLISHED)?;
    Ok(sockets.into_iter().map(|socket| socket.tuple).collect())
}

/// Which of those that stand sent their SYN more than once, on a machine that took more than 1 s to open all.
pub(super) fn sent_again(
    stand: &HashSet<Tuple>,
    witness: &Witness,
) -> anyhow::Result<HashSet<Tuple>> {
    let sent = witness.sent()?;
    let again = stand.iter().filter(|tuple| {
        let source = element(source(tuple));
        sent.get(&source).is_some_and(|&syns| syns > 1)
    });
    Ok(again.copied().collect())
}

/// How many IPv4 packets a namespace has sent and received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IpPackets {
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl IpPackets {
    /// Also what still waits for its neighbour's hardware address.
    pub(super) fn sent(ns: &Netns) -> anyhow::Result<u64> {
        Ok(Counters::read(ns)?.get("IpOutRequests"))
    }

    pub(super) fn received(ns: &Netns) -> anyhow::Result<u64> {
        Ok(Counters::read(ns)?.get("IpInReceives"))
    }
}

/// How many packets of the lab's own namespace have not reached the only one that it has traffic with.
fn under_way_there(bench: &Bench, far: &Netns) -> anyhow::Result<u64> {
    // What was received is read first, or packets in between would be missed.
    let received = IpPackets::received(far)?;
    let sent = IpPackets::sent(&bench.ns)? - bench.packets_before.get().sent;
    Ok(sent.saturating_sub(received))
}

/// How many packets of that one have not reached the lab's own.
fn under_way_back(bench: &Bench, far: &Netns) -> anyhow::Result<u64> {
    let received = IpPackets::received(&bench.ns)? - bench.packets_before.get().received;
    Ok(IpPackets::sent(far)?.saturating_sub(received))
}
