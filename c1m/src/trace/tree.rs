//! The processes of a traced command that is not c1m's.

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::Context as _;
use aya::{Ebpf, maps::HashMap as BpfHashMap};
use c1m_common::stats::{Stats, event};

use super::attach::Tracer;

/// From here on, whoever this process starts belongs to the traced command.
pub(super) fn name(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    let map = ebpf
        .map_mut("TREE")
        .context("the eBPF object has no map TREE")?;
    BpfHashMap::<_, u32, u32>::try_from(map)?
        .insert(std::process::id(), 1, 0)
        .context("cannot name the process whose children are traced")
}

impl Tracer {
    /// How many of the command's processes are, or ended, in a network namespace that is not traced.
    pub(super) fn elsewhere(&self, stats: &Stats) -> anyhow::Result<u64> {
        let map = self
            .ebpf
            .map("TREE")
            .context("the eBPF object has no map TREE")?;
        let map = BpfHashMap::<_, u32, u32>::try_from(map)?;
        // One that ends under the look is counted by its end, or was in sight.
        let live = map.keys().filter_map(Result::ok);
        let live = live.filter(|&pid| self.is_elsewhere(pid)).count() as u64;
        Ok(live + stats.events[event::ENDED_ELSEWHERE])
    }

    fn is_elsewhere(&self, pid: u32) -> bool {
        let Ok(own) = fs::metadata(format!("/proc/{pid}/ns/net")) else {
            return false;
        };
        let mut traced = self.filter.namespaces.iter();
        traced.all(|namespace| u64::from(namespace.inum) != own.ino())
    }
}
