//! The facts of this host that decide how many connections it can hold: for the record, and for remedies
//! with this host's values in them.

use std::{fs, io, path::Path};

use rustix::process::{Resource, getrlimit};
use serde_json::{Map, Value};

use crate::netns::Netns;

/// Defines [`Host`] and its JSON form from one list, so that neither can forget a field.
macro_rules! host {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        /// The host and its limits, as one namespace sees them. `None`: this kernel does not have it, or
        /// does not show it here.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Host {
            $($(#[$doc])* pub $field: Option<$type>,)*
        }

        impl Host {
            /// Every known fact under its field's name.
            pub fn to_json(&self) -> Map<String, Value> {
                let mut map = Map::new();
                $(if let Some(value) = &self.$field {
                    map.insert(stringify!($field).to_owned(), Value::from(value.clone()));
                })*
                map
            }

            /// What is known here, and of the rest what is known there.
            #[must_use]
            pub fn or(self, there: &Self) -> Self {
                Self { $($field: self.$field.or_else(|| there.$field.clone()),)* }
            }
        }
    };
}

host! {
    /// Kernel release, as `uname -r`.
    kernel: String,
    /// CPUs that this process may use.
    cpus: u64,
    /// Memory in all, in bytes.
    memory_bytes: u64,
    /// Memory that could be had without swapping, in bytes.
    memory_available_bytes: u64,
    /// RLIMIT_NOFILE, soft; without one: `u64::MAX`.
    nofile_soft: u64,
    /// RLIMIT_NOFILE, hard; without one: `u64::MAX`.
    nofile_hard: u64,
    /// `fs.nr_open`: what RLIMIT_NOFILE can be raised to.
    nr_open: u64,
    /// `fs.file-max`: open files of all processes but root's.
    file_max: u64,
    /// Open files now (`fs.file-nr`).
    file_nr: u64,
    /// `net.core.somaxconn`: the limit of every listen backlog.
    somaxconn: u64,
    /// `net.core.netdev_max_backlog`: packets a CPU's input queue takes.
    netdev_max_backlog: u64,
    /// `net.ipv4.tcp_max_syn_backlog`
    tcp_max_syn_backlog: u64,
    /// `net.ipv4.tcp_syncookies`: 0 never, 1 when the queue is full, 2 always.
    tcp_syncookies: u64,
    /// `net.ipv4.tcp_abort_on_overflow`
    tcp_abort_on_overflow: u64,
    /// `net.ipv4.ip_local_port_range`: first and last, in this order.
    ip_local_port_range: Vec<u64>,
    /// `net.ipv4.tcp_tw_reuse`: 0 never, 1 always, 2 on loopback.
    tcp_tw_reuse: u64,
    /// `net.ipv4.tcp_max_tw_buckets`
    tcp_max_tw_buckets: u64,
    /// `net.ipv4.tcp_fin_timeout`, in s.
    tcp_fin_timeout: u64,
    /// `net.ipv4.tcp_syn_retries`
    tcp_syn_retries: u64,
    /// `net.ipv4.tcp_syn_linear_timeouts`: retransmits of a SYN 1 s apart before their waits double, from Linux 6.5 on.
    tcp_syn_linear_timeouts: u64,
    /// `net.ipv4.tcp_synack_retries`
    tcp_synack_retries: u64,
    /// `net.ipv4.tcp_timestamps`: 0 off, 1 on, 2 on without an offset of chance.
    tcp_timestamps: u64,
    /// `net.ipv4.tcp_max_orphans`
    tcp_max_orphans: u64,
    /// `net.ipv4.tcp_migrate_req`
    tcp_migrate_req: u64,
    /// `net.ipv4.tcp_mem`: low, pressure, high, in pages.
    tcp_mem: Vec<u64>,
    /// Memory that TCP uses, in pages, as `tcp_mem` counts it.
    tcp_pages: u64,
    /// Connections that no program holds any more and that are not over, as `tcp_max_orphans` counts them.
    tcp_orphans: u64,
    /// `net.ipv4.neigh.default.gc_thresh3`: the most neighbours.
    neigh_gc_thresh3: u64,
    /// Neighbours now, of IPv4 and of all namespaces.
    neighbours: u64,
    /// `net.netfilter.nf_conntrack_max`, where connection tracking is loaded.
    nf_conntrack_max: u64,
    /// `net.netfilter.nf_conntrack_count`: tracked connections of this namespace now.
    nf_conntrack_count: u64,
}

impl Host {
    /// Reads all of it; the namespaced limits are those of `ns`. Errors only if `ns` can't be entered.
    pub fn read(ns: &Netns) -> io::Result<Self> {
        let mut host = ns.run(Self::read_here)?;
        // What is the whole host's has its file in the first namespace alone.
        let first = Netns::open("1").and_then(|ns| ns.run(Self::read_here));
        if let Ok(first) = first {
            let Self {
                netdev_max_backlog,
                tcp_max_orphans,
                tcp_mem,
                neigh_gc_thresh3,
                ..
            } = first;
            host.netdev_max_backlog = host.netdev_max_backlog.or(netdev_max_backlog);
            host.tcp_max_orphans = host.tcp_max_orphans.or(tcp_max_orphans);
            host.tcp_mem = host.tcp_mem.or(tcp_mem);
            host.neigh_gc_thresh3 = host.neigh_gc_thresh3.or(neigh_gc_thresh3);
        }
        Ok(host)
    }

    /// In the calling thread's namespace.
    fn read_here() -> Self {
        let nofile = getrlimit(Resource::Nofile);
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let sockstat = read("/proc/thread-self/net/sockstat");
        let one = |name: &str| sysctl(name).and_then(|values| values.first().copied());
        let tcp = |name: &str| one(&format!("net/ipv4/tcp_{name}"));
        Self {
            kernel: rustix::system::uname()
                .release()
                .to_str()
                .ok()
                .map(str::to_owned),
            cpus: std::thread::available_parallelism()
                .ok()
                .map(|cpus| cpus.get() as u64),
            memory_bytes: meminfo_bytes(&meminfo, "MemTotal"),
            memory_available_bytes: meminfo_bytes(&meminfo, "MemAvailable"),
            nofile_soft: Some(nofile.current.unwrap_or(u64::MAX)),
            nofile_hard: Some(nofile.maximum.unwrap_or(u64::MAX)),
            nr_open: one("fs/nr_open"),
            file_max: one("fs/file-max"),
            file_nr: one("fs/file-nr"),
            somaxconn: one("net/core/somaxconn"),
            netdev_max_backlog: one("net/core/netdev_max_backlog"),
            tcp_max_syn_backlog: tcp("max_syn_backlog"),
            tcp_syncookies: tcp("syncookies"),
            tcp_abort_on_overflow: tcp("abort_on_overflow"),
            ip_local_port_range: sysctl("net/ipv4/ip_local_port_range")
                .filter(|range| range.len() == 2),
            tcp_tw_reuse: tcp("tw_reuse"),
            tcp_max_tw_buckets: tcp("max_tw_buckets"),
            tcp_fin_timeout: tcp("fin_timeout"),
            tcp_syn_retries: tcp("syn_retries"),
            tcp_syn_linear_timeouts: tcp("syn_linear_timeouts"),
            tcp_synack_retries: tcp("synack_retries"),
            tcp_timestamps: tcp("timestamps"),
            tcp_max_orphans: tcp("max_orphans"),
            tcp_migrate_req: tcp("migrate_req"),
            tcp_mem: sysctl("net/ipv4/tcp_mem").filter(|mem| mem.len() == 3),
            tcp_pages: sockstat_of_tcp(&sockstat, "mem"),
            tcp_orphans: sockstat_of_tcp(&sockstat, "orphan"),
            neigh_gc_thresh3: one("net/ipv4/neigh/default/gc_thresh3"),
            neighbours: first_column(&read("/proc/1/net/stat/arp_cache")),
            nf_conntrack_max: one("net/netfilter/nf_conntrack_max"),
            nf_conntrack_count: one("net/netfilter/nf_conntrack_count"),
        }
    }
}

/// The numbers of a file under /proc/sys, as the calling thread's namespace sees it.
fn sysctl(name: &str) -> Option<Vec<u64>> {
    parse_numbers(&fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?)
}

/// Numbers between white space; `None` if there is anything else or nothing.
fn parse_numbers(text: &str) -> Option<Vec<u64>> {
    let numbers: Vec<u64> = text
        .split_whitespace()
        .map(|word| word.parse().ok())
        .collect::<Option<_>>()?;
    (!numbers.is_empty()).then_some(numbers)
}

/// A number of the line `TCP: inuse 5 orphan 0 …` of /proc/net/sockstat.
pub(crate) fn sockstat_of_tcp(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == name)?;
    words.next()?.parse().ok()
}

/// The first number of a file of /proc/net/stat, hexadecimal, below a line of names: a gauge.
pub(crate) fn first_column(text: &str) -> Option<u64> {
    let numbers = text.lines().nth(1)?;
    u64::from_str_radix(numbers.split_whitespace().next()?, 16).ok()
}

/// A field of /proc/meminfo, `Name:   123 kB`, in bytes.
pub(crate) fn meminfo_bytes(text: &str, field: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn limits_are_those_of_the_namespace() {
        let ns = Netns::create().unwrap();
        ns.run(|| fs::write("/proc/sys/net/core/somaxconn", "77").unwrap())
            .unwrap();
        let host = Host::read(&ns).unwrap();
        assert_eq!(host.somaxconn, Some(77));
        assert_ne!(
            Host::read(&Netns::current().unwrap()).unwrap().somaxconn,
            Some(77)
        );
        assert_eq!(host.ip_local_port_range.as_deref().map(<[_]>::len), Some(2));
        let json = host.to_json();
        assert_eq!(json["somaxconn"], 77);
        assert_eq!(json["kernel"].as_str(), host.kernel.as_deref());
        assert!(host.memory_bytes > host.memory_available_bytes);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        assert!(Host::default().to_json().is_empty());
    }

    #[test]
    fn weird_files_are_no_value() {
        assert_eq!(parse_numbers("1\t2\n"), Some(vec![1, 2]));
        for text in ["", "\n", "x", "1 x", "-1", "99999999999999999999"] {
            assert_eq!(parse_numbers(text), None, "{text:?}");
        }
        let sockstat = "sockets: used 9\nTCP: inuse 5 orphan 3 tw 0 alloc 7 mem\nTCP6: mem 4\n";
        assert_eq!(sockstat_of_tcp(sockstat, "orphan"), Some(3));
        assert_eq!(sockstat_of_tcp(sockstat, "mem"), None);
        assert_eq!(sockstat_of_tcp("", "mem"), None);
        assert_eq!(
            first_column("entries  lookups\n0000001a 2\n0000001a 3\n"),
            Some(26)
        );
        assert_eq!(first_column("entries\n"), None);
        let meminfo = "MemTotalX: 9 kB\nMemTotal:  2 kB\nMemFree: kB\nHuge: 18446744073709551615 kB\nHugePages: 3\n";
        assert_eq!(meminfo_bytes(meminfo, "MemTotal"), Some(2048));
        for field in ["MemFree", "Huge", "HugePages", "Absent"] {
            assert_eq!(meminfo_bytes(meminfo, field), None, "{field}");
        }
    }
}
