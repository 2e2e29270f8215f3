//! What the host says of itself, read once: the limits, and how much of each is used already. What is computed from it
//! does no I/O.

use std::{fs, net::UdpSocket, path::Path};

use rustix::{
    process::{Resource, getrlimit},
    thread::{CapabilitySet, capabilities},
};

use super::{
    ask::{Ask, is_here},
    cgroup, measure,
};
use crate::{
    host::{Host, first_column, sockstat_of_tcp},
    ledger::census::{self, Holders},
    netns::Netns,
    options::Identity,
};

/// More source addresses than this are not looked at one by one.
const SOURCES_LOOKED_AT: u32 = 4096;

/// Room that something has left: how much there may be, and how much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// How much there may be.
    pub limit: u64,
    /// How much there is.
    pub used: u64,
}

impl Room {
    /// What is left.
    pub fn left(self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// Whether eBPF can be had. `None`: nobody can tell here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bpf {
    /// /sys/kernel/btf/vmlinux is there.
    pub btf: bool,
    /// The kernel has kprobes.
    pub kprobes: bool,
    /// The JIT compiler is on, without which there are no trampolines.
    pub jit: bool,
    /// The lockdown mode in force; `None` without lockdown.
    pub lockdown: Option<String>,
    /// Whether this c1m has its eBPF object.
    pub object: bool,
}

/// The host before a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its limits.
    pub host: Host,
    /// Whether who makes the connections has CAP_SYS_ADMIN, and so is exempt from fs.file-max.
    pub exempt_from_file_max: bool,
    /// Whether this process is root.
    pub is_root: bool,
    /// Whether it has the capabilities that tracing takes, and that of the host and not of a user namespace.
    pub may_trace: bool,
    /// Who makes the connections, in words.
    pub user: String,
    /// `net.ipv4.ip_local_reserved_ports` that lie in `ip_local_port_range`.
    pub reserved_ports: u64,
    /// Ports of the client's own range that a listener on all addresses has.
    pub listened_ports: u64,
    /// Who holds ports towards the target, of the sources asked for.
    pub holders: Holders,
    /// Source addresses asked for that this host lacks.
    pub sources_missing: Vec<String>,
    /// The accept queue of who listens at the target now.
    pub accept_limit: Option<u64>,
    /// TCP's buffers, in pages (tcp_mem's third number).
    pub tcp_pages: Option<Room>,
    /// TCP sockets of the whole host.
    pub tcp_sockets: u64,
    /// Pages that the data of one connection took that was opened to see it, with as much of it as is asked for.
    pub queued_pages: Option<u64>,
    /// The memory cgroup with the least room, in bytes, and its name.
    pub memory_cgroup: Option<(Room, String)>,
    /// Whether connection tracking follows what is sent in this network namespace.
    pub tracks_connections: bool,
    /// Processes and threads, and which limit is the nearest.
    pub tasks: Option<(Room, String)>,
    /// Of one user: fs.epoll.max_user_watches.
    pub epoll_watches_max: Option<u64>,
    /// `net.ipv4.neigh.default.gc_thresh3` (or that of IPv6) and the entries there are.
    pub neighbours: Option<Room>,
    /// The stricter of `net.ipv4.conf.all.rp_filter` and that of any device that is not the loopback.
    pub rp_filter: Option<u64>,
    /// Sockets in TIME_WAIT.
    pub time_wait: u64,
    /// What tracing needs.
    pub bpf: Bpf,
}

impl Facts {
    /// Reads all that matters for `ask`, in the network namespace of the calling thread; `run_as` makes the connections, or who
    /// asks. Errors: /proc is not there.
    pub fn read(ask: &Ask, run_as: Option<&Identity>) -> anyhow::Result<Self> {
        let ns = Netns::current()?;
        let host = Host::read(&ns)?;
        let is_root = rustix::process::geteuid().is_root();
        let sockstat = fs::read_to_string("/proc/thread-self/net/sockstat").unwrap_or_default();
        let tcp = |field| sockstat_of_tcp(&sockstat, field);
        let by_source = census::holders(&ns, ask.target).unwrap_or_default();
        let addresses = ask.source_addresses(SOURCES_LOOKED_AT);
        let mut holders = Holders::default();
        for held in addresses.iter().filter_map(|source| by_source.get(source)) {
            holders.add(held);
        }
        let listeners = census::listeners(&ns, 0).unwrap_or_default();
        Ok(Self {
            exempt_from_file_max: run_as.is_none() && has(CapabilitySet::SYS_ADMIN),
            is_root,
            may_trace: is_root
                && (has(CapabilitySet::SYS_ADMIN)
                    || has(CapabilitySet::BPF) && has(CapabilitySet::PERFMON)),
            user: user(run_as, is_root),
            reserved_ports: reserved(&host),
            listened_ports: listened(ask, &listeners),
            sources_missing: (addresses.iter().filter(|address| !is_here(**address)))
                .map(ToString::to_string)
                .collect(),
            accept_limit: accept_limit(ask, &listeners),
            tcp_pages: tcp("mem").and_then(|used| {
                let limit = *host.tcp_mem.as_ref()?.last()?;
                Some(Room { limit, used })
            }),
            tcp_sockets: tcp("alloc").unwrap_or(0),
            queued_pages: measure::pages_of_one(ask.queued_bytes).ok().flatten(),
            memory_cgroup: cgroup::memory(),
            tracks_connections: tracks_connections(&host),
            tasks: tasks(is_root && run_as.is_none()),
            epoll_watches_max: number("/proc/sys/fs/epoll/max_user_watches"),
            neighbours: neighbours(ask),
            rp_filter: rp_filter(),
            time_wait: tcp("tw").unwrap_or(0),
            bpf: Bpf::read(),
            holders,
            host,
        })
    }
}

impl Bpf {
    fn read() -> Self {
        let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").ok();
        Self {
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            kprobes: Path::new("/sys/bus/event_source/devices/kprobe").exists(),
            jit: number("/proc/sys/net/core/bpf_jit_enable").is_none_or(|enabled| enabled > 0),
            lockdown: lockdown.and_then(|modes| {
                let (_, rest) = modes.split_once('[')?;
                Some(rest.split_once(']')?.0.to_owned())
            }),
            object: !crate::trace::preflight::OBJECT.is_empty(),
        }
    }
}

fn user(run_as: Option<&Identity>, is_root: bool) -> String {
    match (run_as, is_root) {
        (Some(identity), _) => format!("uid {} (sudo)", identity.uid),
        (None, true) => "root".to_owned(),
        (None, false) => format!("uid {}", rustix::process::geteuid().as_raw()),
    }
}

/// Whether this process has a capability that counts for the whole host (`capable`): one of another user namespace does not.
fn has(capability: CapabilitySet) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let of_host = map.split_whitespace().eq(["0", "0", "4294967295"]);
    of_host && capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// A file that holds one number (or several, of which the first).
fn number(path: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Ports of a list such as `8080,9000-9100` that lie between `first` and `last`.
fn ports_of_list(list: &str, first: u64, last: u64) -> u64 {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (u64, u64) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        let (from, to) = (from.max(first), to.min(last));
        Some((to + 1).saturating_sub(from))
    });
    ranges.sum()
}

fn reserved(host: &Host) -> u64 {
    let list = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    match host.ip_local_port_range.as_deref() {
        Some(&[first, last]) => ports_of_list(&list, first, last),
        _ => 0,
    }
}

/// Ports of the client's own range that nobody can bind to, because a listener has them on every address.
fn listened(ask: &Ask, listeners: &[census::Listener]) -> u64 {
    let Some((first, count)) = ask.explicit_ports else {
        return 0;
    };
    let range = u32::from(first)..u32::from(first) + count;
    let mut ports: Vec<u16> = (listeners.iter())
        .filter(|one| one.address.is_unspecified() && range.contains(&one.port.into()))
        .map(|one| one.port)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports.len() as u64
}

/// The accept queue of who listens at the target now.
fn accept_limit(ask: &Ask, listeners: &[census::Listener]) -> Option<u64> {
    let there = listeners
        .iter()
        .filter(|one| one.port == ask.target.port() && one.takes(ask.target.ip()));
    there.map(|one| one.accept_limit.into()).min()
}

/// Processes and threads: the nearest of the host's limits, the user's and the cgroup's.
fn tasks(is_root: bool) -> Option<(Room, String)> {
    let loadavg = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = loadavg
        .split_whitespace()
        .nth(3)
        .and_then(|tasks| tasks.split_once('/')?.1.parse().ok())
        .unwrap_or(0);
    let of_host = |name: &str| {
        let limit = number(&format!("/proc/sys/kernel/{}", name.replace('.', "/")))?;
        Some((
            Room {
                limit,
                used: running,
            },
            format!("kernel.{name}"),
        ))
    };
    // Root is exempt from RLIMIT_NPROC; how many a user has, only a walk over all processes would tell.
    let own = getrlimit(Resource::Nproc).maximum.filter(|_| !is_root);
    let of_user = own.map(|limit| (Room { limit, used: 0 }, "RLIMIT_NPROC".to_owned()));
    [
        of_host("pid_max"),
        of_host("threads-max"),
        of_user,
        cgroup::tasks(),
    ]
    .into_iter()
    .flatten()
    .min_by_key(|(room, _)| room.left())
}

/// The module may be loaded and follow nothing: it does where a rule asks for it, in each namespace apart. If it has no
/// entry yet, a datagram to ourselves tells.
fn tracks_connections(host: &Host) -> bool {
    let count =
        || number("/proc/sys/net/netfilter/nf_conntrack_count").is_some_and(|count| count > 0);
    let send = || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.send_to(&[0], socket.local_addr()?)
    };
    host.nf_conntrack_max.is_some() && (count() || send().is_ok() && count())
}

fn neighbours(ask: &Ask) -> Option<Room> {
    let (family, cache) = match ask.target.is_ipv4() {
        true => ("ipv4", "arp_cache"),
        false => ("ipv6", "ndisc_cache"),
    };
    let limit = number(&format!("/proc/sys/net/{family}/neigh/default/gc_thresh3"))?;
    let text =
        fs::read_to_string(format!("/proc/thread-self/net/stat/{cache}")).unwrap_or_default();
    let used = first_column(&text).unwrap_or(0);
    Some(Room { limit, used })
}

fn rp_filter() -> Option<u64> {
    let devices = fs::read_dir("/proc/sys/net/ipv4/conf").ok()?;
    let of_device = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let counts = name != "lo" && name != "default";
        counts.then(|| number(entry.path().join("rp_filter").to_str()?))?
    };
    // The larger of `all` and the device's is in force (`IN_DEV_RPFILTER`): 1 strict, 2 loose.
    devices.flatten().filter_map(of_device).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_count_inside_the_range_alone() {
        for (list, count) in [
            ("", 0),
            ("\n", 0),
            ("8080\n", 0),
            ("32768", 1),
            ("32760-32769,60999,61000-61005", 3),
            ("1-65535", 28_232),
            ("9-3", 0),
            ("x", 0),
        ] {
            assert_eq!(ports_of_list(list, 32_768, 60_999), count, "{list:?}");
        }
    }
}
