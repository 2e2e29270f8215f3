//! Labs of several causes in one run: all at once in numbers that are set, or at times that a seed decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use anyhow::Context;
use socket2::Socket;

use super::{
    Outcome,
    bench::{Bench, ESTABLISHED, FIRST_PORT, PORT, SYN_SENT},
    dice::Dice,
    foreign::{Foreign, bind},
    listener::accept_late,
    process::{Place, tool},
    truth::Truth,
    witness::{SYNS, element, elements},
};
use crate::options::raise_nofile;

/// 10,000 attempts from ten sources. One of these is on no interface, of one a rule drops the SYNs, of one another
/// program has bound some ports; what is left is more than the accept queue takes while nobody accepts; and of those
/// that are accepted in the end the server resets some.
pub(super) fn mixed(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const SOURCES: u64 = 10;
    const PER_SOURCE: u64 = 1_000;
    const BOUND: u16 = 200;
    const RESET: u64 = 300;
    let backlog = bench.backlog(4_096);
    raise_nofile()?;
    // The last one, 10.9.0.10, is missing.
    for host in 1..SOURCES {
        bench.ip(None, &format!("addr add 10.9.0.{host}/32 dev lo"))?;
    }
    bench.drop_packets("ip saddr 10.9.0.9 tcp dport 8000")?;
    let bound_at = IpAddr::from([10, 9, 0, 8]);
    let _bound = (FIRST_PORT..FIRST_PORT + BOUND)
        .map(|port| bind(SocketAddr::new(bound_at, port)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let target = ([10, 9, 0, 1], PORT).into();
    let mut server = Foreign::listen(None, target, backlog)?;
    let args = format!(
        "--target {target} --sources 10.9.0.1-10 --ips {SOURCES} --per-ip {PER_SOURCE} --in-flight 10000 \
         --timeout 800ms --unchecked"
    );
    let mut traced = bench.traced_client(Place::default(), None, &args)?;

    let bound = u64::from(BOUND);
    let opened = SOURCES * PER_SOURCE - PER_SOURCE - bound;
    let arrived = opened - PER_SOURCE;
    let room = arrived.min(u64::from(backlog) + 1);
    let admitted = accept_late(bench, &mut traced, &mut server, [opened, room])?;
    server.reset(RESET as usize)?;
    bench.until("the resets arrived", || {
        Ok(bench.clients(ESTABLISHED)? == admitted.count - RESET)
    })?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    let lost = [
        ("source-not-local", PER_SOURCE),
        ("bind-conflict", bound),
        ("netfilter-in", PER_SOURCE),
        ("accept-queue-full-syn", arrived - admitted.count),
        ("reset-by-peer", RESET),
    ];
    let mut truth = Truth::of(SOURCES * PER_SOURCE, &lost);
    truth.recovered = admitted.late;
    Ok(vec![Outcome { truth, run }])
}

/// What the injector does next.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Drops the SYNs of a source from now on.
    Drop(u64),
    /// Drops no more.
    Pass,
    /// Does not accept from now on.
    Pause,
    /// Accepts again.
    Accept,
    /// Resets so many connections.
    Reset(u64),
    /// Closes so many.
    Close(u64),
}

const SOURCES: u64 = 4;
/// What answers a SYN, as nft writes it.
const SYNACKS: &str = "tcp sport 8000 tcp flags & (syn|ack) == syn|ack";

/// How many attempts of [`random`].
const ATTEMPTS: u64 = 2_000;
/// At most so many of them find their port taken, and send no SYN.
const BOUND_MAX: u64 = 60;
/// After so many SYNs there are no more faults.
const FAULTS: u64 = ATTEMPTS - BOUND_MAX;
/// How many of them a source makes.
const PER_SOURCE: u64 = ATTEMPTS / SOURCES;

/// Faults at moments that the seed decides, while a client connects at a steady rate. They are counted in SYNs, for how
/// many come in a second is the machine's affair, and a setting has to help a second time. The injector keeps the truth:
/// the packet filter notes whose SYNs it dropped and whose it let pass, the server counts what it accepted, reset and
/// closed.
pub(super) fn random(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let mut dice = Dice::of(bench.seed().unwrap_or(1));
    let backlog = bench.backlog(dice.within(16..=128) as u32);
    raise_nofile()?;
    let ports = u64::from(FIRST_PORT)..=u64::from(FIRST_PORT) + PER_SOURCE - 1;
    let bound = dice.within(5..=BOUND_MAX);
    let _bound = dice
        .several(bound, ports)
        .into_iter()
        .map(|port| {
            bind(SocketAddr::new(
                Ipv4Addr::new(127, 0, 1, 1).into(),
                port as u16,
            ))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let filter = Filter::new()?;
    let target = ([127, 0, 0, 1], PORT).into();
    let mut injector = Injector {
        server: Foreign::listen(None, target, backlog)?,
        paused: false,
        accepted: BTreeSet::new(),
        reset: 0,
        closed: 0,
        dice,
        filter,
    };
    let events = timeline(&mut injector.dice);
    let args = format!(
        "--sources 127.0.1.1-{SOURCES} --ips {SOURCES} --per-ip {PER_SOURCE} --rate 500/s --timeout 400ms --unchecked \
        "
    );
    let mut traced = bench.traced_client(Place::default(), None, &args)?;
    for (at, event) in events {
        bench.until("the next fault's turn", || {
            traced.must_run()?;
            injector.accept()?;
            Ok(bench.opened()? >= at)
        })?;
        injector.act(event)?;
    }
    bench.until("every attempt has an end", || {
        traced.must_run()?;
        injector.accept()?;
        Ok(bench.opened()? == ATTEMPTS - bound && bench.clients(SYN_SENT)? == 0)
    })?;
    bench.until("what waits is accepted, and what was ended is told", || {
        injector.accept()?;
        let stands = injector.server.held.len() as u64;
        Ok(bench.queued(&bench.ns)? == 0 && bench.clients(ESTABLISHED)? == stands)
    })?;
    let truth = injector.truth(bound)?;
    traced.interrupt()?;
    let run = traced.finish(bench)?;
    Ok(vec![Outcome { truth, run }])
}

/// The faults, and after how many SYNs each comes.
fn timeline(dice: &mut Dice) -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    for _ in 0..dice.within(1..=3) {
        let at = dice.within(1..=FAULTS);
        events.push((at, Event::Drop(dice.within(1..=SOURCES))));
        events.push((at + dice.within(10..=300), Event::Pass));
    }
    for _ in 0..dice.within(1..=2) {
        let at = dice.within(1..=FAULTS);
        events.push((at, Event::Pause));
        events.push((at + dice.within(50..=450), Event::Accept));
    }
    for _ in 0..dice.within(1..=4) {
        let at = dice.within(1..=FAULTS);
        events.push((at, Event::Reset(dice.within(1..=50))));
        events.push((dice.within(1..=FAULTS), Event::Close(dice.within(1..=50))));
    }
    // At the end nothing is dropped any more, and everybody is accepted.
    events.retain(|(at, _)| *at < FAULTS);
    events.extend([(FAULTS, Event::Pass), (FAULTS, Event::Accept)]);
    events.sort_by_key(|(at, _)| *at);
    events
}

/// Makes the faults, and knows what they did.
struct Injector {
    server: Foreign,
    paused: bool,
    /// The sources of all that it accepted, as the packet filter writes them.
    accepted: BTreeSet<String>,
    reset: u64,
    closed: u64,
    dice: Dice,
    filter: Filter,
}

impl Injector {
    fn act(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Drop(source) => self.filter.drop(source),
            Event::Pass => self.filter.pass(),
            Event::Pause => {
                self.paused = true;
                Ok(())
            }
            Event::Accept => {
                self.paused = false;
                Ok(())
            }
            Event::Reset(count) => {
                let count = self.choose(count);
                self.reset += count;
                self.server.reset(count as usize)
            }
            Event::Close(count) => {
                let count = self.choose(count);
                self.closed += count;
                self.server.close(count as usize);
                Ok(())
            }
        }
    }

    /// Moves up to `count` accepted connections to the end of the list, at random; how many they are.
    fn choose(&mut self, count: u64) -> u64 {
        let held = self.server.held.len() as u64;
        let count = count.min(held);
        for taken in 1..=count {
            let at = self.dice.within(0..=held - taken);
            self.server.held.swap(at as usize, (held - taken) as usize);
        }
        count
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        if !self.paused {
            let before = self.server.held.len();
            self.server.accept(usize::MAX)?;
            for connection in &self.server.held[before..] {
                self.accepted.insert(source(connection)?);
            }
        }
        Ok(())
    }

    /// What it did to a client of which `bound` attempts found their port taken; the others still stand.
    fn truth(&self, bound: u64) -> anyhow::Result<Truth> {
        let [dropped, passed, answered] = self.filter.noted()?;
        let unheard = dropped
            .keys()
            .filter(|source| !passed.contains_key(*source));
        let in_vain = passed
            .keys()
            .filter(|source| !self.accepted.contains(*source));
        let lost = [
            ("bind-conflict", bound),
            ("netfilter-in", unheard.count() as u64),
            ("accept-queue-full-syn", in_vain.count() as u64),
            ("reset-by-peer", self.reset),
            ("closed-by-server", self.closed),
        ];
        let mut truth = Truth::of(ATTEMPTS, &lost);
        // On a busy host a client may be late to give up, and then its SYN is sent again; and several may be on their way to
        // the last place in the queue, and then the ACKs of all but one are dropped, and their SYN-ACKs sent again.
        for connection in &self.server.held {
            let source = source(connection)?;
            let twice = |noted: &BTreeMap<_, u64>| noted.get(&source).is_some_and(|&sent| sent > 1);
            truth.recovered +=
                u64::from(twice(&passed) || twice(&answered) || dropped.contains_key(&source));
        }
        Ok(truth)
    }
}

/// Where a connection comes from, as the packet filter writes it.
fn source(connection: &Socket) -> anyhow::Result<String> {
    let address = connection.peer_addr()?.as_socket().context("an address")?;
    Ok(element(address))
}

/// A packet filter that drops SYNs when told to, and counts those that it drops and lets pass by their sources.
struct Filter;

impl Filter {
    fn new() -> anyhow::Result<Self> {
        let set = "{ type ipv4_addr . inet_service; flags dynamic; size 65535; }";
        let text = format!(
            "table inet mixed {{\nset dropped {set}\nset passed {set}\nset answered {set}\n\
             chain faults {{ }}\n\
             chain input {{ type filter hook input priority 0\n\
             {SYNS} jump faults\n{SYNS} update @passed {{ ip saddr . tcp sport counter }}\n}}\n\
             chain output {{ type filter hook output priority 0\n\
             {SYNACKS} update @answered {{ ip daddr . tcp dport counter }}\n}}\n}}\n"
        );
        tool("nft", &["-f", "-"], &text, None)?;
        Ok(Self)
    }

    /// Drops those of one source, and of no other.
    fn drop(&self, source: u64) -> anyhow::Result<()> {
        let text = format!(
            "flush chain inet mixed faults\n\
             add rule inet mixed faults ip saddr 127.0.1.{source} update @dropped {{ ip saddr . tcp sport counter }} drop\n"
        );
        tool("nft", &["-f", "-"], &text, None).map(drop)
    }

    fn pass(&self) -> anyhow::Result<()> {
        tool(
            "nft",
            &["flush", "chain", "inet", "mixed", "faults"],
            "",
            None,
        )
        .map(drop)
    }

    /// Who was dropped how often, who passed, and who was answered.
    fn noted(&self) -> anyhow::Result<[BTreeMap<String, u64>; 3]> {
        let read = |set| {
            let text = tool("nft", &["list", "set", "inet", "mixed", set], "", None)?;
            anyhow::Ok(elements(&text))
        };
        Ok([read("dropped")?, read("passed")?, read("answered")?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_ends_without_a_fault() {
        for seed in 0..50 {
            let events = timeline(&mut Dice::of(seed));
            assert!(events.windows(2).all(|pair| pair[0].0 <= pair[1].0));
            let is = |event: &&(u64, Event)| matches!(event.1, Event::Pass | Event::Drop(_));
            assert!(matches!(events.iter().rfind(is), Some((_, Event::Pass))));
            assert!(matches!(events.last(), Some((_, Event::Accept))));
        }
    }
}
