//! The host's own counters, before and after a run: they prove the table right or wrong, and are never a
//! source of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use crate::netns::Netns;

mod qdisc;

/// Frames dropped because a CPU's backlog was full (`softnet_stat`, all namespaces together).
pub const SOFTNET_DROPPED: &str = "SoftnetDropped";
/// Times a CPU left receive work undone (`softnet_stat`, all namespaces together).
pub const SOFTNET_TIME_SQUEEZE: &str = "SoftnetTimeSqueeze";
/// Packets that the queueing disciplines of a namespace's devices dropped (`tc -s qdisc`).
pub const QDISC_DROPPED: &str = "QdiscDropped";

/// Files with a column per counter, and how these are called here. Those of neighbours are the whole host's, and stand in
/// its first namespace alone.
const PER_CPU: [(&str, &str); 3] = [
    ("/proc/thread-self/net/stat/nf_conntrack", "Conntrack"),
    ("/proc/1/net/stat/arp_cache", "ArpCache"),
    ("/proc/1/net/stat/ndisc_cache", "NdiscCache"),
];

/// All counters of a namespace at one moment, by the names that nstat(8) gives them: `TcpExtListenOverflows`,
/// `TcpOutRsts`, `IpOutNoRoutes`; those of connection tracking as `ConntrackDrop`, `ConntrackInsertFailed`, those of
/// neighbours as `ArpCacheTableFulls`, `NdiscCacheTableFulls`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    values: BTreeMap<String, u64>,
}

impl Counters {
    /// Reads those of `ns`. Errors if /proc/net/snmp or /proc/net/netstat cannot be read; connection
    /// tracking has counters only where its module is loaded.
    pub fn read(ns: &Netns) -> io::Result<Self> {
        let mut values = BTreeMap::new();
        for path in [
            "/proc/thread-self/net/snmp",
            "/proc/thread-self/net/netstat",
        ] {
            parse_two_line_table(&ns.read_kept(path)?, &mut values);
        }
        ns.run(|| {
            // None of these is part of every kernel.
            if let Ok(text) = read_net("snmp6") {
                parse_lines(&text, &mut values);
            }
            if let Ok(text) = read_net("softnet_stat") {
                parse_softnet(&text, &mut values);
            }
            for (path, table) in PER_CPU {
                if let Ok(text) = fs::read_to_string(path) {
                    parse_columns(&text, table, &mut values);
                }
            }
            if let Ok(dropped) = qdisc::dropped() {
                values.insert(QDISC_DROPPED.to_owned(), dropped);
            }
            Self { values }
        })
    }

    /// One counter; 0 if this kernel does not have it.
    pub fn get(&self, name: &str) -> u64 {
        self.values.get(name).copied().unwrap_or(0)
    }

    /// Whether this kernel has the counter.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// What rose since `before`, and by how much.
    pub fn delta(&self, before: &Self) -> BTreeMap<String, u64> {
        let risen = |(name, &value): (&String, &u64)| {
            let by = value.checked_sub(before.get(name))?;
            (by > 0).then(|| (name.clone(), by))
        };
        self.values.iter().filter_map(risen).collect()
    }
}

/// In which namespaces a counter is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Where the client connects from.
    Client,
    /// Where the server listens.
    Server,
    /// In all that are traced: either end may have counted it.
    Both,
    /// Each namespace tells the same number, that of the host.
    Host,
}

impl At {
    /// Its name in the record.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Both => "both",
            Self::Host => "host",
        }
    }
}

/// How much each counter rose over a run, namespace by namespace.
#[derive(Clone, Debug, Default)]
pub struct Rises {
    /// One for each traced namespace.
    pub by_namespace: Vec<BTreeMap<String, u64>>,
    /// Which of these are a client's.
    pub client: BTreeSet<usize>,
    /// Which are the server's.
    pub server: BTreeSet<usize>,
}

impl Rises {
    /// By how much `name` rose there.
    pub fn get(&self, name: &str, at: At) -> u64 {
        let risen = self.by_namespace.iter().enumerate();
        let risen = risen.map(|(index, risen)| (index, risen.get(name).copied().unwrap_or(0)));
        match at {
            At::Host => risen.map(|(_, by)| by).max().unwrap_or(0),
            At::Both => risen.map(|(_, by)| by).sum(),
            At::Client => risen
                .filter(|(ns, _)| self.client.contains(ns))
                .map(|(_, by)| by)
                .sum(),
            At::Server => risen
                .filter(|(ns, _)| self.server.contains(ns))
                .map(|(_, by)| by)
                .sum(),
        }
    }
}

/// `/proc/net` of the calling *thread*: `/proc/net` itself is the main thread's.
fn read_net(name: &str) -> io::Result<String> {
    fs::read_to_string(format!("/proc/thread-self/net/{name}"))
}

/// `Group: name name …` followed by `Group: value value …`. Gauges that are negative are left out, as is
/// what has no partner.
fn parse_two_line_table(text: &str, into: &mut BTreeMap<String, u64>) {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    while let Some((group, names)) = lines.next() {
        let Some((same, values)) = lines.next() else {
            return;
        };
        if group != same {
            continue;
        }
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            if let Ok(value) = value.parse() {
                into.insert(format!("{group}{name}"), value);
            }
        }
    }
}

/// `name value`, a line each.
fn parse_lines(text: &str, into: &mut BTreeMap<String, u64>) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(Ok(value))) = (words.next(), words.next().map(str::parse)) {
            into.insert(name.to_owned(), value);
        }
    }
}

/// One line of hexadecimal columns per CPU: processed, dropped, time_squeeze, …
fn parse_softnet(text: &str, into: &mut BTreeMap<String, u64>) {
    for line in text.lines() {
        let columns = line
            .split_whitespace()
            .map(|word| u64::from_str_radix(word, 16).unwrap_or(0));
        for (name, value) in [SOFTNET_DROPPED, SOFTNET_TIME_SQUEEZE]
            .into_iter()
            .zip(columns.skip(1))
        {
            add(into, name.to_owned(), value);
        }
    }
}

/// A line of names, then one line of hexadecimal columns per CPU. `entries` is the same gauge in each.
fn parse_columns(text: &str, table: &str, into: &mut BTreeMap<String, u64>) {
    let mut lines = text.lines();
    let names: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    for line in lines {
        let columns = line
            .split_whitespace()
            .map(|word| u64::from_str_radix(word, 16).unwrap_or(0));
        for (name, value) in names
            .iter()
            .zip(columns)
            .filter(|(name, _)| **name != "entries")
        {
            let camel: String = name.split('_').map(capitalized).collect();
            add(into, format!("{table}{camel}"), value);
        }
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect()
}

fn add(into: &mut BTreeMap<String, u64>, name: String, value: u64) {
    let sum = into.entry(name).or_default();
    *sum = sum.wrapping_add(value);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn table(text: &str) -> Vec<(String, u64)> {
        let mut values = BTreeMap::new();
        parse_two_line_table(text, &mut values);
        values.into_iter().collect()
    }

    #[test]
    fn ipv6_has_a_line_for_each() {
        let mut values = BTreeMap::new();
        parse_lines("Ip6InReceives \t 12\nIp6OutNoRoutes  5\nodd\n", &mut values);
        let found: Vec<_> = values.into_iter().collect();
        assert_eq!(
            found,
            [("Ip6InReceives".into(), 12), ("Ip6OutNoRoutes".into(), 5)]
        );
        let mut values = BTreeMap::new();
        parse_lines("Ip6OutNoRoutes\t 7\nx\n\ny z\n", &mut values);
        assert_eq!(values, BTreeMap::from([("Ip6OutNoRoutes".to_owned(), 7)]));
    }

    #[test]
    fn two_line_tables_are_read_by_name() {
        let text = "Ip: Forwarding OutNoRoutes\nIp: 2 7\nTcp: MaxConn OutRsts\nTcp: -1 18446744073709551615\n";
        let expected = [
            ("IpForwarding", 2),
            ("IpOutNoRoutes", 7),
            ("TcpOutRsts", u64::MAX),
        ];
        assert_eq!(
            table(text),
            expected.map(|(name, value)| (name.to_owned(), value))
        );
    }

    #[test]
    fn weird_tables_are_no_error() {
        for text in [
            "",
            "\n\n",
            "no colon",
            "Ip:",
            "Ip: a b",
            "Ip: a\nTcp: 1",
            "Ip: a\nIp: x",
            ": \n: ",
            "Ip: a\nIp:",
        ] {
            assert_eq!(table(text), [], "{text:?}");
        }
        assert_eq!(table("A: x y\nA: 1"), [("Ax".to_owned(), 1)]);
        assert_eq!(table("A: x\nA: 1 2 3"), [("Ax".to_owned(), 1)]);
    }

    #[test]
    fn columns_per_cpu_are_summed() {
        let mut values = BTreeMap::new();
        parse_softnet("00000b 00000a 000001\n1 f\n\nzz zz zz", &mut values);
        assert_eq!(values[SOFTNET_DROPPED], 25);
        assert_eq!(values[SOFTNET_TIME_SQUEEZE], 1);
        parse_columns(
            "entries drop insert_failed\nff 1 2\nff 10 20\n",
            "Conntrack",
            &mut values,
        );
        assert_eq!(values["ConntrackDrop"], 17);
        assert_eq!(values["ConntrackInsertFailed"], 34);
        assert!(!values.contains_key("ConntrackEntries"));
        parse_columns("", "Conntrack", &mut values);
    }

    #[test]
    fn only_what_rose_is_told() {
        let of = |pairs: &[(&str, u64)]| Counters {
            values: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
        };
        let before = of(&[("same", 1), ("rose", 1), ("fell", 5)]);
        let after = of(&[("same", 1), ("rose", 3), ("fell", 4), ("new", 2)]);
        let delta: Vec<_> = after.delta(&before).into_iter().collect();
        assert_eq!(delta, [("new".to_owned(), 2), ("rose".to_owned(), 2)]);
    }

    #[test]
    fn a_counter_is_looked_up_in_the_right_namespace() {
        let risen = |by| BTreeMap::from([("x".to_owned(), by)]);
        let rises = Rises {
            by_namespace: vec![risen(1), risen(10), risen(100), BTreeMap::new()],
            client: [0, 3].into(),
            server: [1, 2].into(),
        };
        let at = [At::Client, At::Server, At::Both, At::Host].map(|at| rises.get("x", at));
        assert_eq!(at, [1, 110, 111, 100]);
        assert_eq!(rises.get("y", At::Both), 0);
    }

    #[test]
    fn a_refused_connection_is_counted_in_its_namespace_alone() {
        let [ns, other] = [(); 2].map(|()| Netns::create().unwrap());
        let read = || {
            [
                Counters::read(&ns).unwrap(),
                Counters::read(&other).unwrap(),
            ]
        };
        let before = read();
        let refused = ns
            .run(|| std::net::TcpStream::connect("127.0.0.1:1"))
            .unwrap();
        assert!(refused.is_err());
        let after = read();
        let [delta, elsewhere] = [0, 1].map(|i| after[i].delta(&before[i]));
        assert_eq!(delta["TcpOutRsts"], 1);
        assert_eq!(delta["TcpAttemptFails"], 1);
        assert!(!elsewhere.contains_key("TcpOutRsts"));
        assert!(after[0].has("TcpExtListenOverflows"));
    }
}
