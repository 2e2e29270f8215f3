//! What changed while a census was being taken.

use std::collections::HashMap;

use anyhow::Context as _;
use aya::maps::HashMap as BpfHashMap;
use c1m_common::{config::changed, tuple::Tuple};

use super::attach::Tracer;

impl Tracer {
    /// What changed at the clients' ends and at the servers' while a census was being taken, as `changed` values.
    pub fn changed(&self) -> anyhow::Result<[HashMap<Tuple, u32>; 2]> {
        Ok(by_end(self.hash("CHANGED")?))
    }

    /// The same for the census at the start; forgets it, for the one at the end.
    pub fn take_changed(&mut self) -> anyhow::Result<[HashMap<Tuple, u32>; 2]> {
        let all: HashMap<Tuple, u32> = self.hash("CHANGED")?;
        let map = self
            .ebpf
            .map_mut("CHANGED")
            .context("the eBPF object has no map CHANGED")?;
        let mut map = BpfHashMap::<_, Tuple, u32>::try_from(map)?;
        for tuple in all.keys() {
            map.remove(tuple).context("cannot clear CHANGED")?;
        }
        Ok(by_end(all))
    }
}

/// What changed, the clients' ends and the servers'.
fn by_end(changed: HashMap<Tuple, u32>) -> [HashMap<Tuple, u32>; 2] {
    let mut ends = [HashMap::new(), HashMap::new()];
    for (mut tuple, what) in changed {
        let end = usize::from(tuple.pad != changed::CLIENT);
        tuple.pad = 0;
        ends[end].insert(tuple, what);
    }
    ends
}
