//! Reads what people look up by hand: a dozen small files and the listeners' queues, however many sockets there are.

use std::{fs, time::Instant};

use super::scene::{Cpu, Gauge, HostView, QueueView};
use crate::{
    host::{Host, sockstat_of_tcp},
    ledger::census::Listener,
    watch::Watch,
};

/// To list requests, the kernel walks all sockets: not more than this, which takes it about a millisecond.
const LISTED_MAX: u64 = 20_000;

/// Jiffies of one CPU, as /proc/stat has them: all, and those of the classes that are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Jiffies {
    all: u64,
    user: u64,
    system: u64,
    softirq: u64,
    idle: u64,
}

/// What a difference is taken to.
#[derive(Debug)]
struct Last {
    at: Instant,
    cpus: Vec<Jiffies>,
    packets: u64,
}

/// The reader.
#[derive(Debug)]
pub struct Reader {
    limits: Host,
    last: Last,
    dropped_before: u64,
}

impl Reader {
    /// Begins; limits are read once.
    pub fn new(watch: &Watch) -> Self {
        let namespace = watch.namespaces().first();
        let (packets, dropped) = softnet(&read("/proc/net/softnet_stat"));
        Self {
            limits: namespace
                .and_then(|ns| Host::read(ns).ok())
                .unwrap_or_default(),
            last: Last {
                at: Instant::now(),
                cpus: jiffies(&read("/proc/stat")),
                packets,
            },
            dropped_before: dropped,
        }
    }

    /// The host now.
    pub fn read(&mut self, watch: &Watch) -> HostView {
        let sockstat = read("/proc/thread-self/net/sockstat");
        let tcp = |field| sockstat_of_tcp(&sockstat, field).unwrap_or(0);
        let meminfo = read("/proc/meminfo");
        let memory = |field| crate::host::meminfo_bytes(&meminfo, field).unwrap_or(0);
        let files = numbers(&read("/proc/sys/fs/file-nr"));
        let stat = jiffies(&read("/proc/stat"));
        let (packets, dropped) = softnet(&read("/proc/net/softnet_stat"));
        let now = Instant::now();
        let elapsed_s = now.duration_since(self.last.at).as_secs_f64().max(0.001);
        let view = HostView {
            files: Gauge {
                used: files.first().copied().unwrap_or(0),
                limit: files.get(2).copied().unwrap_or(0),
            },
            tcp_pages: Gauge {
                used: tcp("mem"),
                limit: (self.limits.tcp_mem.as_ref())
                    .and_then(|mem| mem.last().copied())
                    .unwrap_or(0),
            },
            memory: Gauge {
                used: memory("MemTotal").saturating_sub(memory("MemAvailable")),
                limit: memory("MemTotal"),
            },
            slab_bytes: memory("Slab"),
            sockets: [tcp("inuse"), tcp("alloc")],
            time_wait: Gauge {
                used: tcp("tw"),
                limit: self.limits.tcp_max_tw_buckets.unwrap_or(0),
            },
            orphans: Gauge {
                used: tcp("orphan"),
                limit: self.limits.tcp_max_orphans.unwrap_or(0),
            },
            queues: self.queues(watch, tcp("alloc")),
            cpus: stat
                .iter()
                .zip(&self.last.cpus)
                .map(|(now, before)| now.since(before))
                .collect(),
            packets_per_s: (packets.saturating_sub(self.last.packets) as f64 / elapsed_s) as u64,
            softnet_dropped: dropped.saturating_sub(self.dropped_before),
        };
        self.last = Last {
            at: now,
            cpus: stat,
            packets,
        };
        view
    }

    /// The listeners' queues. Requests are counted by the tracer, or, where there are few `sockets`, by listing them.
    fn queues(&self, watch: &Watch, sockets: u64) -> Vec<QueueView> {
        let requests = watch.requests(sockets <= LISTED_MAX);
        let view = |(_, one): (usize, Listener)| {
            let accept_limit = u64::from(one.accept_limit);
            QueueView {
                accept: Gauge {
                    used: one.accept_queue.into(),
                    limit: accept_limit,
                },
                requests: (requests.as_ref())
                    .map(|requests| requests.get(&one.port).copied().unwrap_or(0)),
                requests_limit: match (self.limits.tcp_syncookies, self.limits.tcp_max_syn_backlog)
                {
                    // Without cookies a quarter is kept free (`tcp_conn_request`).
                    (Some(0), Some(most)) => accept_limit.min(most - most / 4),
                    _ => accept_limit,
                },
            }
        };
        let listeners = watch.listeners().unwrap_or_default();
        listeners.into_iter().map(view).collect()
    }
}

impl Jiffies {
    fn since(&self, before: &Self) -> Cpu {
        let all = self.all.saturating_sub(before.all).max(1) as f64;
        let percent = |now: u64, before: u64| 100.0 * now.saturating_sub(before) as f64 / all;
        Cpu {
            user: percent(self.user, before.user),
            system: percent(self.system, before.system),
            softirq: percent(self.softirq, before.softirq),
            idle: percent(self.idle, before.idle),
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// The lines `cpu0 user nice system idle iowait irq softirq steal …` of /proc/stat.
fn jiffies(text: &str) -> Vec<Jiffies> {
    let of_cpu = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        name.strip_prefix("cpu")?.parse::<u32>().ok()?;
        let fields = numbers(rest);
        let field = |index: usize| fields.get(index).copied().unwrap_or(0);
        Some(Jiffies {
            // The guests' time is among the user's.
            all: fields.iter().take(8).sum(),
            user: field(0) + field(1),
            system: field(2),
            softirq: field(5) + field(6),
            idle: field(3) + field(4),
        })
    };
    text.lines().filter_map(of_cpu).collect()
}

/// Packets that all CPUs took in, and those that found a CPU's queue full.
fn softnet(text: &str) -> (u64, u64) {
    let column = |index: usize| {
        let of_line =
            |line: &str| u64::from_str_radix(line.split_whitespace().nth(index)?, 16).ok();
        text.lines().filter_map(of_line).sum()
    };
    (column(0), column(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_has_a_line() {
        let before = jiffies("cpu  9 9 9 9\ncpu0 10 0 10 80 0 0 0 0 0 0\ncpu1 0 0 0 0\nintr 5\n");
        let now = jiffies("cpu  9 9 9 9\ncpu0 20 0 40 120 0 0 20 0 7 0\ncpu1 0 0 0 0\nintr 6\n");
        assert_eq!(now.len(), 2);
        let cpu = now[0].since(&before[0]);
        assert_eq!(
            (cpu.user, cpu.system, cpu.softirq, cpu.idle),
            (10.0, 30.0, 20.0, 40.0)
        );
        assert_eq!(now[1].since(&before[1]), Cpu::default());
    }

    #[test]
    fn packets_of_all_cpus_are_summed() {
        assert_eq!(
            softnet("0000000a 00000001 00000000\n00000010 00000002 00000000\n"),
            (26, 3)
        );
        assert_eq!(softnet("no numbers\n"), (0, 0));
    }
}
