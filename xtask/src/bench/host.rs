//! What /proc tells while a measurement runs: memory of processes, slab, sockets, and what machine this is.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::command;

/// The machine and the version that were measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Host {
    pub(super) kernel: String,
    pub(super) cpu: String,
    pub(super) cpus: usize,
    pub(super) memory_gib: u64,
    pub(super) commit: String,
    pub(super) date: String,
}

impl Host {
    pub(super) fn read() -> Self {
        let line = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let git = |args: &[&str]| {
            let told = command::output(command::clean("git").args(args));
            told.map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        let date = command::output(command::clean("date").args(["--utc", "+%F"]));
        Self {
            kernel: line("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: after(&line("/proc/cpuinfo"), "model name")
                .trim_matches([':', '\t', ' '])
                .to_owned(),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            memory_gib: meminfo("MemTotal:").div_ceil(1 << 30),
            commit: git(&["rev-parse", "--short", "HEAD"]),
            date: date.unwrap_or_default().trim().to_owned(),
        }
    }
}

/// What follows `name` on its line.
fn after<'a>(text: &'a str, name: &str) -> &'a str {
    let mut lines = text.lines();
    lines
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_default()
}

fn first_number(text: &str) -> u64 {
    let first = text.split_whitespace().next();
    first.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// A line of /proc/meminfo, in bytes.
pub(super) fn meminfo(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    first_number(after(&text, name)) << 10
}

/// A process and its children.
pub(super) fn family(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let children = children.split_whitespace();
    std::iter::once(pid)
        .chain(children.filter_map(|child| child.parse().ok()))
        .collect()
}

/// Memory that a process has, shared pages by their share, in bytes; 0 if it is gone.
pub(super) fn pss(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    first_number(after(&text, "Pss:")) << 10
}

/// The same of a process and its children together.
pub(super) fn pss_of_family(pid: u32) -> u64 {
    family(pid).into_iter().map(pss).sum()
}

/// TCP sockets that the host has memory for.
pub(super) fn sockets() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let tcp = after(&text, "TCP:");
    let mut words = tcp.split_whitespace();
    let alloc = words
        .find(|word| *word == "alloc")
        .and_then(|_| words.next());
    alloc.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Kernel memory of both ends of a connection, and some more: what [`warm`] makes ready for each.
const WARMED: u64 = 12_000;

/// Uses the memory that `connections` will take, and frees it. A guest whose hypervisor takes free pages back (page reporting)
/// gets them again one by one, each at the price of some hundred connections: without this a run is measured by how long
/// before it somebody has used the memory that it happens to get.
pub(super) fn warm(connections: u64) {
    let bytes = (connections * WARMED).min(meminfo("MemAvailable:") / 4 * 3);
    let used = vec![1_u8; usize::try_from(bytes).unwrap_or(0)];
    // Else nobody would have to fill it.
    std::hint::black_box(&used);
}

/// How many sockets a host may have left over: other programs have some, too.
const SOCKETS_LEFT: u64 = 2_000;
/// How long the sockets of a run may take to go.
const GONE: Duration = Duration::from_secs(120);

/// Waits until the sockets of the run before are gone, and with them its memory. Errors: they stay.
pub(super) fn settle() -> Result<()> {
    let end = Instant::now() + GONE;
    while sockets() > SOCKETS_LEFT {
        if Instant::now() > end {
            bail!(
                "{} TCP sockets are there before a run: end what holds them",
                sockets()
            );
        }
        thread::sleep(Duration::from_millis(100));
    }
    // What waits for an RCU grace period is counted as memory in use.
    let (mut slab, quiet) = (meminfo("Slab:"), 64 << 20);
    for _ in 0..40 {
        thread::sleep(Duration::from_millis(250));
        let now = meminfo("Slab:");
        if now + quiet > slab {
            break;
        }
        slab = now;
    }
    Ok(())
}
