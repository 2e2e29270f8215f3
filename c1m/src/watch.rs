//! Watches a run: what stood before it, what the host counted, and, with a tracer, what the kernel saw.

use std::{
    cell::Cell,
    collections::{BTreeSet, HashSet},
    io,
    net::{IpAddr, UdpSocket},
    sync::LazyLock,
};

use anyhow::Context as _;
use c1m_common::{fact::Facts, stats::event, tuple::Tuple};

use crate::{
    causes::Cause,
    host::Host,
    ledger::{
        Ledger,
        census::{self, Listener, Side, Socket},
        counters::{Counters, Rises},
        server::{Before, book},
    },
    netns::Netns,
    report::record::{Crosscheck, Observability},
    stderr::say,
    trace::{
        Filter, Tracer,
        cost::Cost,
        hooks::Choice,
        read::{Names, Snapshot},
    },
    verdict::{Context, Sight, crosscheck::crosscheck},
};

mod before;
mod closed;
pub mod moment;
mod owner;
mod queue;
pub mod seen;
mod sight;
mod which_end;

use which_end::WhichEnd;

/// A watched run.
pub struct Watch {
    tracer: Option<Tracer>,
    namespaces: Vec<Netns>,
    ports: Vec<u16>,
    counters_before: Vec<Counters>,
    /// Whether what runs is not ours, so that clients' ends may be the only ones that tell.
    counts_clients: bool,
    /// Connections that stood at the clients' ends, and at the servers', when the watch began. Clients are counted only where
    /// theirs may be the only ends in sight.
    stood_before: [u64; 2],
    /// Attempts that were under way when the watch began: of these it may know but half.
    begun_before: HashSet<Tuple>,
    /// The server's address where it is known.
    target: Option<IpAddr>,
    /// Whether anybody listened there when the watch began.
    listened: bool,
    /// In which namespaces somebody listened then.
    listened_in: BTreeSet<usize>,
    /// Which namespaces had the server's address then, and what the host said of itself: for the end of a run that has
    /// filled the host's table of open files.
    had_target: BTreeSet<usize>,
    host_before: Host,
}

/// What there was to see at the end of a run.
pub struct Sighting {
    /// What the kernel side folded; empty without a tracer.
    pub snapshot: Snapshot,
    /// What could be seen.
    pub sight: Sight,
    /// The same for the reader.
    pub observability: Observability,
    /// How much the host's counters rose.
    pub rises: Rises,
    /// The host, as the server's namespace sees it.
    pub host: Host,
    /// The same of our client's, if that is another.
    pub client_host: Option<Host>,
    /// The smallest limit of the listeners' accept queues.
    pub accept_limit: Option<u32>,
    /// Whether a listener is `c1m server`'s.
    pub server_is_c1m: bool,
    /// The listeners' sockets.
    listeners: Vec<u32>,
}

impl Sighting {
    /// RLIMIT_NOFILE of a server's process that has reached it, if connections wait to be accepted.
    pub fn server_nofile(&self, ledger: &Ledger) -> Option<u64> {
        let waiting = ledger.lost.contains_key(&Cause::AcceptStarved);
        waiting.then(|| owner::exhausted_nofile(&self.listeners))?
    }

    /// The host's counters against the table and the facts; nothing if there were none.
    pub fn crosscheck(&self, ledger: &Ledger) -> Vec<Crosscheck> {
        match self.sight.states {
            true => crosscheck(ledger, &self.snapshot.stats, &self.rises, &self.sight),
            false => Vec::new(),
        }
    }
}

impl Watch {
    /// Begins: attaches the tracer if there is to be one, and counts what stands. Without a tracer there are
    /// counters and census alone.
    ///
    /// `target` is the server's address where it is known: if it is one of ours, its end is in sight even
    /// when nobody listens.
    pub fn begin(filter: Filter, target: Option<IpAddr>, trace: bool) -> anyhow::Result<Self> {
        let Filter {
            namespaces, ports, ..
        } = &filter;
        let (ports, counts_clients) = (ports.clone(), filter.foreign);
        let again = |namespace: &Netns| namespace.again().map_err(anyhow::Error::from);
        let namespaces: Vec<Netns> = namespaces.iter().map(again).collect::<Result<_, _>>()?;
        let mut watch = Self {
            tracer: match trace {
                true => Some(Tracer::start(filter)?),
                false => None,
            },
            namespaces,
            ports,
            counters_before: Vec::new(),
            counts_clients,
            stood_before: [0; 2],
            begun_before: HashSet::new(),
            target,
            listened: false,
            listened_in: BTreeSet::new(),
            had_target: BTreeSet::new(),
            host_before: Host::default(),
        };
        let tracer = watch.tracer.iter();
        for refusal in tracer.flat_map(|tracer| &tracer.choice.refusals) {
            say(format_args!("the kernel refused {refusal}"));
        }
        watch.counters_before = watch.counters()?;
        watch.count_before()?;
        let listeners = watch.listeners()?;
        watch.listened = watch.is_listened_to(&listeners);
        watch.listened_in = listeners.iter().map(|(index, _)| *index).collect();
        watch.had_target = (0..watch.namespaces.len())
            .filter(|&index| watch.has_target(index))
            .collect();
        watch.host_before = Host::read(watch.server_namespace(&listeners)?).unwrap_or_default();
        Ok(watch)
    }

    fn counters(&self) -> anyhow::Result<Vec<Counters>> {
        let read = |namespace| Counters::read(namespace).context("cannot read the host's counters");
        self.namespaces.iter().map(read).collect()
    }

    fn each(&self, side: Side, states: u32, mut each: impl FnMut(Socket)) -> anyhow::Result<bool> {
        let mut interrupted = false;
        let mut which = WhichEnd::new(&self.ports);
        for namespace in &self.namespaces {
            for &port in &self.ports {
                let dumped = census::dump(namespace, port, side, states, |socket| {
                    if which.is(namespace, side, &socket) {
                        each(socket);
                    }
                });
                let dumped = dumped.context("the census by sock_diag failed")?;
                interrupted |= dumped.interrupted;
            }
        }
        Ok(interrupted)
    }

    /// Whether one of them takes connections to the server's address.
    fn is_listened_to(&self, listeners: &[(usize, Listener)]) -> bool {
        let takes = |listener: &Listener| self.target.is_none_or(|target| listener.takes(target));
        listeners.iter().any(|(_, listener)| takes(listener))
    }

    /// Whether the server's end is in sight. Only at an address that is in one of the namespaces; and if nobody
    /// listens there and clients are established all the same, as the kernel or our own client says, somebody sends them
    /// elsewhere (NAT).
    fn sees_server(
        &self,
        snapshot: &Snapshot,
        established: u64,
        listeners: &[(usize, Listener)],
    ) -> bool {
        let [client, server] = snapshot.stats.ends;
        let was_there = self.listened
            || snapshot.stats.events[event::LISTENER_CLOSED] > 0
            || server.established > 0
            || self.stood_before[1] > 0
            || self.is_listened_to(listeners);
        let has_target = || (0..self.namespaces.len()).any(|index| self.has_target(index));
        match self.target {
            None => was_there,
            Some(_) => has_target() && (was_there || client.established + established == 0),
        }
    }

    /// Whether a namespace has the server's address.
    fn has_target(&self, index: usize) -> bool {
        let Some(target) = self.target else {
            return false;
        };
        let namespace = &self.namespaces[index];
        match namespace.run(|| UdpSocket::bind((target, 0))) {
            Ok(Err(error)) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                self.had_target.contains(&index)
            }
            bound => matches!(bound, Ok(Ok(_))),
        }
    }

    /// The end of the run: freezes the facts and reads everything but the census. More than `facts_max` facts are left
    /// to be looked up ([`Watch::facts_of`]). So many connections are `established` as our own client says.
    pub fn end(&mut self, facts_max: usize, established: u64) -> anyhow::Result<Sighting> {
        if let Some(tracer) = &mut self.tracer {
            tracer.end()?;
        }
        let counters = self.counters()?;
        let snapshot = match &mut self.tracer {
            Some(tracer) => tracer.snapshot(facts_max)?,
            None => Snapshot::default(),
        };
        let listeners = self.listeners().context("the census of listeners failed")?;
        let server_end = self.sees_server(&snapshot, established, &listeners);
        let rises = self.rises(&counters, &listeners);
        let of_server = self.server_namespace(&listeners)?;
        let mut host = Host::read(of_server)
            .context("cannot read the host's limits")?
            .or(&self.host_before);
        // Its own soft limit a run may have raised.
        host.nofile_soft = self.host_before.nofile_soft.or(host.nofile_soft);
        // Where the server's address is known, the client is ours, and here.
        let of_client = self.namespaces.first().filter(|_| self.target.is_some());
        let of_client = of_client.filter(|its| its.inum != of_server.inum);
        let sight = self.sight(&snapshot, server_end, &rises, &host);
        let inodes: Vec<u32> = listeners.iter().map(|(_, one)| one.inode).collect();
        Ok(Sighting {
            sight,
            observability: self.observability(&snapshot),
            host,
            // It may have taken every file.
            client_host: of_client.and_then(|its| Host::read(its).ok()),
            accept_limit: listeners.iter().map(|(_, one)| one.accept_limit).min(),
            server_is_c1m: owner::is_ours(&inodes),
            listeners: inodes,
            rises,
            snapshot,
        })
    }

    /// The counters since the watch began. The server's namespaces are those with a listener, at either end of the
    /// run; if there was none, those that have the server's address; if that is not known, all.
    fn rises(&self, now: &[Counters], listeners: &[(usize, Listener)]) -> Rises {
        let all = 0..self.namespaces.len();
        let risen = now.iter().zip(&self.counters_before);
        let mut server: BTreeSet<usize> = listeners.iter().map(|(index, _)| *index).collect();
        server.extend(&self.listened_in);
        if server.is_empty() {
            server.extend(all.clone().filter(|&index| self.has_target(index)));
        }
        if server.is_empty() {
            server.extend(all.clone());
        }
        Rises {
            by_namespace: risen.map(|(now, before)| now.delta(before)).collect(),
            // Where the server's address is known, the client is ours, and here.
            client: all
                .filter(|index| self.target.is_none() || *index == 0)
                .collect(),
            server,
        }
    }

    fn observability(&self, snapshot: &Snapshot) -> Observability {
        match &self.tracer {
            Some(tracer) => Observability {
                backend: tracer.choice.backends(),
                missing: tracer.choice.missing_in_words(),
                lost_facts: snapshot.lost.clone(),
                interrupts_skipped: snapshot.interrupts_skipped,
            },
            None => Observability {
                backend: "none".to_owned(),
                missing: Choice::make(None, |_| true, |_| false).missing_in_words(),
                ..Observability::default()
            },
        }
    }

    /// The namespace that has the listener; the first if none has.
    fn server_namespace(&self, listeners: &[(usize, Listener)]) -> anyhow::Result<&Netns> {
        let index = listeners.first().map_or(0, |(namespace, _)| *namespace);
        self.namespaces
            .get(index)
            .context("a watch has a namespace")
    }

    /// Who listens on the ports now, each with the index of its namespace.
    pub(crate) fn listeners(&self) -> io::Result<Vec<(usize, Listener)>> {
        let mut all = Vec::new();
        for (index, namespace) in self.namespaces.iter().enumerate() {
            for &port in &self.ports {
                let found = census::listeners(namespace, port)?;
                all.extend(found.into_iter().map(|listener| (index, listener)));
            }
        }
        Ok(all)
    }

    /// The census of the server's end, for our own client: every socket once. Says whether the tables
    /// changed under it.
    pub fn server_sockets(&self, each: impl FnMut(Socket)) -> anyhow::Result<bool> {
        self.each(Side::Server, census::CONNECTED, each)
    }

    /// What there was when the watch began.
    fn before(&self, counted: Side) -> Before<'_> {
        Before {
            stood: self.stood_before[counted as usize],
            begun: &self.begun_before,
        }
    }

    /// Whether there is a tracer.
    pub fn is_traced(&self) -> bool {
        self.tracer.is_some()
    }

    /// What a verdict needs besides the attempt.
    pub fn context(&self, sighting: &Sighting) -> Context<'_> {
        static NAMELESS: LazyLock<Names> = LazyLock::new(Names::default);
        Context {
            sight: sighting.sight,
            names: match &self.tracer {
                Some(tracer) => &tracer.names,
                None => &NAMELESS,
            },
        }
    }

    /// The facts of one attempt, of those that were too many to be read; `named` counts the drops that are named only in them
    /// ([`Tracer::name_drops`]).
    pub fn facts_of(&self, tuple: &Tuple, named: &Cell<u64>) -> anyhow::Result<Option<Facts>> {
        match &self.tracer {
            Some(tracer) => tracer.facts_of(tuple, named),
            None => Ok(None),
        }
    }

    /// What the trace has cost so far; nothing without one.
    pub fn cost(&self) -> anyhow::Result<Option<Cost>> {
        self.tracer.as_ref().map(Tracer::cost).transpose()
    }

    /// Which ends of connections are counted that nobody but the kernel tells of: the servers', unless none is in sight.
    pub fn counted(&self, sighting: &Sighting) -> Side {
        match self.counts_clients && !sighting.sight.server_end {
            true => Side::Client,
            false => Side::Server,
        }
    }

    /// Takes the census and books what the kernel alone tells of.
    pub async fn book(&self, sighting: &Sighting) -> anyhow::Result<Ledger> {
        let counted = self.counted(sighting);
        let standing = match counted {
            Side::Server => self.standing(&sighting.snapshot).await?,
            Side::Client => self.standing_clients(&sighting.snapshot)?,
        };
        let (before, context) = (self.before(counted), self.context(sighting));
        Ok(book(
            counted,
            before,
            &standing,
            &sighting.snapshot,
            &context,
        ))
    }

    /// The namespaces.
    pub fn namespaces(&self) -> &[Netns] {
        &self.namespaces
    }
}
