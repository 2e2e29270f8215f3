//! The instruments of a lab: namespaces, links, sysctls, packet rules, servers, and the traced client.

use std::{
    cell::Cell,
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use c1m_common::state;

pub(super) use super::link::OWN_HARDWARE;
use super::{
    Skip,
    fix::Fixes,
    host, plain,
    process::{self, POLL, Place, Process, tool},
    view::Programs,
};
use crate::{
    causes::remedy::Who,
    cli::Hooks,
    ledger::{
        census::{self, Side, Socket},
        counters::Counters,
    },
    load::worker::BASE_FDS,
    netns::Netns,
};

/// The port that every lab's server listens on.
pub(super) const PORT: u16 = 8000;
/// A mask for [`Bench::sockets`].
pub(super) const ESTABLISHED: u32 = 1 << state::ESTABLISHED;
/// Likewise.
pub(super) const SYN_SENT: u32 = 1 << state::SYN_SENT;
/// Likewise.
pub(super) const LISTEN: u32 = 1 << state::LISTEN;
/// Likewise: requests that wait for their final ACK.
pub(super) const SYN_RECV: u32 = 1 << state::SYN_RECV;
/// Likewise.
pub(super) const TIME_WAIT: u32 = 1 << state::TIME_WAIT;
/// Likewise.
pub(super) const CLOSE_WAIT: u32 = 1 << state::CLOSE_WAIT;
/// Likewise.
pub(super) const FIN_WAIT_2: u32 = 1 << state::FIN_WAIT2;

/// The first source port that a client takes.
pub(super) const FIRST_PORT: u16 = 10_000;
/// How many attempts a lab makes whose fault hits some of them.
pub(super) const ATTEMPTS: u64 = 40;
/// How many it hits: those from the first source ports.
pub(super) const HIT: u64 = 16;
/// The first source port that it does not hit.
pub(super) const HIT_PORT_END: u16 = FIRST_PORT + HIT as u16;
/// The source ports that it hits, as nft writes them.
pub(super) const HIT_PORTS: &str = "10000-10015";

/// How long one lab may take in all, on the slowest machine: an emulated one.
pub(super) const TIME_MAX: Duration = Duration::from_secs(300);

/// What a lab works with: the namespace it is alone in, a directory, and a deadline.
#[derive(Debug)]
pub(super) struct Bench {
    /// The lab's own namespace: the process lives in it. Clients run here.
    pub(super) ns: Netns,
    pub(super) dir: PathBuf,
    deadline: Instant,
    /// What the own namespace had sent and received when its present neighbour came.
    pub(super) packets_before: Cell<super::ack::IpPackets>,
    pub(super) started: u32,
    pub(super) setup: Setup,
}

/// How a lab is to be run.
#[derive(Debug)]
pub(super) struct Setup {
    /// Where `c1m lab` was called, and the settings of the whole host that this lab may change there.
    pub(super) host: (Netns, &'static [&'static str]),
    /// What its tracers use.
    pub(super) hooks: Hooks,
    /// What decides the numbers of a lab that has some to decide: `--seed`.
    pub(super) seed: Option<u64>,
    /// Who runs in it.
    pub(super) programs: Programs,
    /// The settings that are in force.
    pub(super) fixes: Fixes,
}

impl Bench {
    /// In the namespace that the calling process is in.
    pub(super) fn new(dir: &Path, setup: Setup) -> anyhow::Result<Self> {
        let bench = Self {
            ns: Netns::current()?,
            dir: dir.to_owned(),
            deadline: Instant::now() + TIME_MAX,
            packets_before: Cell::default(),
            started: 0,
            setup,
        };
        bench.fix_sysctls(&bench.ns)?;
        let (host, names) = &bench.setup.host;
        for (name, value) in bench.setup.fixes.sysctls() {
            // What the first run set is in force until the lab's end.
            if names.contains(&name) {
                write_sysctl(host, name, value)?;
            }
        }
        for address in bench.setup.fixes.addresses() {
            bench.ip(None, &format!("addr add {address} dev lo"))?;
        }
        Ok(bench)
    }

    /// Sets the sysctls that a report named, but for those of the whole host, which are the lab's own to set.
    pub(super) fn fix_sysctls(&self, ns: &Netns) -> anyhow::Result<()> {
        let sysctls = self.setup.fixes.sysctls();
        sysctls
            .filter(|(name, _)| !self.setup.host.1.contains(name))
            .try_for_each(|(name, value)| write_sysctl(ns, name, value))
    }

    /// Sets a sysctl of the whole host, which is put back after the lab. One that a report named gets the value from
    /// there. Errors: the lab has not said that it changes this one.
    pub(super) fn host_sysctl(&self, name: &str, value: impl ToString) -> anyhow::Result<()> {
        ensure!(
            self.setup.host.1.contains(&name),
            "the lab has no right to change {name} of the host"
        );
        write_sysctl(
            &self.setup.host.0,
            name,
            self.setting(name, &value.to_string()),
        )
    }

    /// Whether this is the lab's second run, with the settings that the report of the first one named.
    pub(super) fn is_fixed(&self) -> bool {
        !self.setup.fixes.is_empty()
    }

    /// For a lab that tracepoints cannot be exact in. Errors: a [`Skip`] if this kernel has nothing else; if tracepoints
    /// were asked for, what they say is to be seen.
    pub(super) fn needs_functions(&self) -> anyhow::Result<()> {
        let kprobes = Path::new("/sys/bus/event_source/devices/kprobe").exists();
        if self.setup.hooks == Hooks::Auto && !kprobes {
            let why = "only a function tells it, and this kernel has no kprobes";
            return Err(Skip(why.to_owned()).into());
        }
        Ok(())
    }

    /// What decides the numbers of a lab that has some to decide: `--seed`.
    pub(super) fn seed(&self) -> Option<u64> {
        self.setup.seed
    }

    /// The backlog for a server of the lab's own: `usual`, or the one that a report named.
    pub(super) fn backlog(&self, usual: u32) -> u32 {
        self.setup.fixes.backlog().unwrap_or(usual)
    }

    /// Whether its programs are plain ones.
    pub(super) fn is_foreign(&self) -> bool {
        self.setup.programs == Programs::Foreign
    }

    /// How many files such a program has open besides its connections.
    pub(super) fn base_fds(&self, who: Who) -> u64 {
        match (self.setup.programs, who) {
            (Programs::Ours, _) => BASE_FDS,
            (Programs::Foreign, Who::Client) => plain::BASE_FDS,
            // Its listener.
            (Programs::Foreign, Who::Server) => plain::BASE_FDS + 1,
        }
    }

    /// RLIMIT_NOFILE of c1m's processes: what the remedy named, if it is to be tried.
    pub(super) fn nofile(&self, who: Who, usual: u64) -> u64 {
        self.setup.fixes.nofile(who).unwrap_or(usual)
    }

    /// Likewise the value of a sysctl.
    pub(super) fn setting<'a>(&'a self, name: &str, usual: &'a str) -> &'a str {
        let mut fixed = self.setup.fixes.sysctls();
        fixed
            .find(|(fixed, _)| *fixed == name)
            .map_or(usual, |(_, value)| value)
    }

    /// Waits until `reached` says so. Errors: the lab's time is over; `what` was waited for.
    pub(super) fn until(
        &self,
        what: &str,
        mut reached: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        loop {
            let begin = Instant::now();
            if reached()? {
                return Ok(());
            }
            ensure!(begin < self.deadline, "waited in vain for: {what}");
            // On a slow machine the asking would take the time of what is waited for.
            std::thread::sleep(POLL.max(begin.elapsed() * 19));
        }
    }

    /// Sets a sysctl of one namespace, `net.core.somaxconn`; `None` is the lab's own. One that a report named keeps
    /// the value from there.
    pub(super) fn sysctl(&self, ns: Option<&Netns>, name: &str, value: &str) -> anyhow::Result<()> {
        write_sysctl(ns.unwrap_or(&self.ns), name, self.setting(name, value))
    }

    /// Runs `tc …`, likewise.
    pub(super) fn tc(&self, args: &str) -> anyhow::Result<String> {
        tool("tc", &args.split(' ').collect::<Vec<_>>(), "", None)
    }

    /// Runs `ip …`, words between spaces, in the lab's own namespace or another.
    pub(super) fn ip(&self, ns: Option<&Netns>, args: &str) -> anyhow::Result<()> {
        tool("ip", &args.split(' ').collect::<Vec<_>>(), "", ns).map(drop)
    }

    /// Gives the loopback device of the lab's own namespace more IPv6 addresses, and waits until they can be used.
    pub(super) fn ipv6_addresses(&self, addresses: &[&str]) -> anyhow::Result<()> {
        for address in addresses {
            self.ip(None, &format!("addr add {address}/128 dev lo nodad"))?;
        }
        // Their routes come a little later, by a work queue. That to the device alone, which is there at once, lets a
        // packet out, and back in to nobody.
        self.until("the addresses have their routes", || {
            let leads = |from: &str, to: &str| {
                let socket = UdpSocket::bind((from, 0));
                socket.is_ok_and(|socket| socket.connect((to, PORT)).is_ok())
            };
            let all = |from: &str| addresses.iter().all(|to| leads(from, to));
            let show = |args: &str| tool("ip", &args.split(' ').collect::<Vec<_>>(), "", None);
            let local = show("-6 route show table local")?;
            let is_local = |address: &&str| local.contains(&format!("local {address} dev lo "));
            Ok(show("-6 addr show dev lo tentative")?.is_empty()
                && addresses.iter().all(is_local)
                && addresses.iter().all(|from| all(from)))
        })
    }

    /// Drops the packets that match, at the input of the lab's own namespace, until [`Self::pass_all`].
    pub(super) fn drop_packets(&self, matching: &str) -> anyhow::Result<()> {
        self.rule(None, "input", 0, &format!("{matching} counter drop"))
    }

    /// Adds a rule of nftables to a chain of a namespace; in the lab's own, which is `None`, it lasts until
    /// [`Self::pass_all`].
    pub(super) fn rule(
        &self,
        ns: Option<&Netns>,
        hook: &str,
        priority: i32,
        rule: &str,
    ) -> anyhow::Result<()> {
        let rule = format!(
            "table inet c1m {{ chain {hook} {{ type filter hook {hook} priority {priority}\n{rule}\n}}\n}}\n"
        );
        tool("nft", &["-f", "-"], &rule, ns).map(drop)
    }

    /// Takes all rules away.
    pub(super) fn pass_all(&self) -> anyhow::Result<()> {
        tool("nft", &["delete", "table", "inet", "c1m"], "", None).map(drop)
    }

    /// The sockets of one side of the lab's port, in one of `states` (bits `1 << state`).
    pub(super) fn sockets(
        &self,
        ns: &Netns,
        side: Side,
        states: u32,
    ) -> anyhow::Result<Vec<Socket>> {
        let mut sockets = Vec::new();
        census::dump(ns, PORT, side, states, |socket| sockets.push(socket)).context("sock_diag")?;
        Ok(sockets)
    }

    /// How many clients' sockets of the lab's own namespace are in `states`.
    pub(super) fn clients(&self, states: u32) -> anyhow::Result<u64> {
        Ok(self.sockets(&self.ns, Side::Client, states)?.len() as u64)
    }

    /// How often the lab's own namespace has connected so far, successfully or not: it only ever rises, so
    /// that it can be waited for however busy the host is.
    pub(super) fn opened(&self) -> anyhow::Result<u64> {
        Ok(Counters::read(&self.ns)?.get("TcpActiveOpens"))
    }

    /// How many requests of `ns` wait for their final ACK.
    pub(super) fn requests(&self, ns: &Netns) -> anyhow::Result<u64> {
        Ok(self.sockets(ns, Side::Server, SYN_RECV)?.len() as u64)
    }

    /// How many connections wait in accept queues of `ns`.
    pub(super) fn queued(&self, ns: &Netns) -> anyhow::Result<u64> {
        let listeners = census::listeners(ns, PORT).context("sock_diag")?;
        Ok(listeners
            .iter()
            .map(|listener| u64::from(listener.accept_queue))
            .sum())
    }

    /// Starts `c1m server`, or a plain one, with these arguments, and waits until it listens.
    pub(super) fn server(&mut self, place: Place, args: &str) -> anyhow::Result<Process> {
        let plain = if self.is_foreign() { "plain " } else { "" };
        let args = self
            .setup
            .fixes
            .args(Who::Server, &format!("{plain}server {args}"));
        let place = self.place(Who::Server, place);
        let mut server = self.start("server", &args, place)?;
        self.until("the server listens", || {
            if let Some(status) = server.ended()? {
                bail!(
                    "c1m {} ended with {status}: {}",
                    args.join(" "),
                    server.complaints().trim()
                );
            }
            Ok(!census::listeners(place.ns.unwrap_or(&self.ns), PORT)?.is_empty())
        })?;
        Ok(server)
    }

    pub(super) fn place<'a>(&self, who: Who, place: Place<'a>) -> Place<'a> {
        Place {
            nofile: place.nofile.map(|usual| self.nofile(who, usual)),
            ..place
        }
    }

    pub(super) fn start(
        &mut self,
        name: &str,
        args: &[String],
        place: Place,
    ) -> anyhow::Result<Process> {
        self.started += 1;
        Process::start(&format!("{name}-{}", self.started), args, place, &self.dir)
    }
}

fn write_sysctl(ns: &Netns, name: &str, value: &str) -> anyhow::Result<()> {
    ns.run(|| fs::write(host::path(name), value))?
        .with_context(|| format!("cannot set {name}={value}"))
}

/// Which of the processes under `root` holds how many of the `sockets`, most first.
pub(super) fn held_by(root: u32, sockets: &[Socket]) -> Vec<(u32, u64)> {
    let mut held: Vec<(u32, u64)> = std::iter::once(root)
        .chain(process::descendants(root))
        .map(|pid| {
            let inodes: std::collections::BTreeSet<u32> =
                process::socket_inodes(pid).into_iter().collect();
            let count = sockets
                .iter()
                .filter(|socket| inodes.contains(&socket.inode))
                .count();
            (pid, count as u64)
        })
        .collect();
    held.sort_by_key(|&(pid, count)| (std::cmp::Reverse(count), pid));
    held
}
