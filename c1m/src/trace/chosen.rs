//! Which of several listeners dropped a SYN, where no hook saw it: the kernel is asked, once the run is over, to which it gives
//! such a SYN.

use std::collections::BTreeMap;

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{Array, HashMap as BpfHashMap, MapData},
    programs::{Program, SchedClassifier, TestRun as _, TestRunOptions},
};
use c1m_common::{
    fact::{Facts, last_drop, syn_drop},
    listener::{Group, LOOKUPS_MAX, Lookups, Port},
    tuple::Tuple,
};

use super::Tracer;
use crate::netns::Netns;

/// The length of an Ethernet header: no shorter packet is taken, whatever the program makes of it.
const PACKET: [u8; 14] = [0; 14];

/// Takes the map of questions out of the object: a run that is over still writes to it.
pub(super) fn questions(ebpf: &mut Ebpf) -> anyhow::Result<Array<MapData, Lookups>> {
    let map = ebpf
        .take_map("LOOKUPS")
        .context("the eBPF object has no map LOOKUPS")?;
    Ok(Array::try_from(map)?)
}

impl Tracer {
    /// Moves SYN drops whose listener nothing told to the condition that they met, where it is certain: it is known which
    /// of the listeners had a full accept queue at that moment, none has come or gone since, and the kernel would give the SYN
    /// to one of the full. Returns how many drops it moved.
    pub fn name_drops<'a>(
        &self,
        facts: impl Iterator<Item = (Tuple, &'a mut Facts)>,
    ) -> anyhow::Result<u64> {
        let is_open = |facts: &Facts| facts.full_slots != 0 && unknown(facts) > 0;
        let mut by_port = BTreeMap::<u16, Vec<_>>::new();
        for (tuple, facts) in facts.filter(|(_, facts)| is_open(facts)) {
            let port = by_port.entry(tuple.server_port).or_default();
            port.push((tuple, facts));
        }
        let mut moved = 0;
        for (port, mut open) in by_port {
            let Some((namespace, group)) = self.group_of(port)? else {
                continue;
            };
            open.retain(|(_, facts)| facts.first_drop_ns > group.changed_ns);
            for some in open.chunks_mut(LOOKUPS_MAX) {
                let tuples: Vec<Tuple> = some.iter().map(|(tuple, _)| *tuple).collect();
                // A kernel that does not answer leaves it open.
                let Ok(socks) = self.which_listeners(namespace, &tuples) else {
                    continue;
                };
                for ((_, facts), sock) in some.iter_mut().zip(socks) {
                    moved += name(facts, &group, sock);
                }
            }
        }
        Ok(moved)
    }

    /// The listeners of a port, and where they are; none if it has some in several namespaces.
    fn group_of(&self, port: u16) -> anyhow::Result<Option<(&Netns, Group)>> {
        let map = self
            .ebpf
            .map("LISTENERS")
            .context("the eBPF object has no map LISTENERS")?;
        let map = BpfHashMap::<_, Port, Group>::try_from(map)?;
        let group = |namespace: &Netns| {
            let key = Port {
                namespace: namespace.inum,
                port,
                pad: 0,
            };
            map.get(&key, 0).ok()
        };
        let namespaces = self.filter.namespaces.iter();
        let mut found = namespaces.filter_map(|namespace| Some((namespace, group(namespace)?)));
        let first = found.next();
        Ok(first.filter(|_| found.next().is_none()))
    }

    /// To which listener the kernel gives a SYN of each tuple: their `struct sock`, 0 for none.
    fn which_listeners(&self, namespace: &Netns, tuples: &[Tuple]) -> anyhow::Result<Vec<u64>> {
        let program: &SchedClassifier = match self.ebpf.program("which_listener") {
            Some(Program::SchedClassifier(program)) => program,
            _ => anyhow::bail!("the eBPF object has no program which_listener"),
        };
        let mut asked = Lookups::default();
        asked.tuples[..tuples.len()].copy_from_slice(tuples);
        let mut questions = self.questions.lock().map_err(|_| {
            anyhow::anyhow!("a thread panicked while it asked which listener has a connection")
        })?;
        questions.set(0, asked, 0)?;
        namespace.run(|| {
            program.test_run(TestRunOptions {
                data_in: Some(&PACKET),
                ..TestRunOptions::default()
            })
        })??;
        let answered = questions.get(&0, 0)?;
        Ok(answered.socks[..tuples.len()].to_vec())
    }
}

fn unknown(facts: &Facts) -> u16 {
    facts.syn_drops[syn_drop::UNKNOWN]
}

/// Names the drops whose listener was not known, if `sock` was full at each of them. Returns how many.
fn name(facts: &mut Facts, group: &Group, sock: u64) -> u64 {
    let slot = group.socks.iter().position(|&its| its == sock && sock != 0);
    let is_full = |slot: usize| facts.full_slots >> slot & 1 == 1;
    if !slot.is_some_and(is_full) {
        return 0;
    }
    let moved = std::mem::take(&mut facts.syn_drops[syn_drop::UNKNOWN]);
    let full = &mut facts.syn_drops[syn_drop::ACCEPT_QUEUE_FULL];
    *full = full.saturating_add(moved);
    if facts.last_drop == last_drop::LISTENER + syn_drop::UNKNOWN as u8 {
        facts.last_drop = last_drop::LISTENER + syn_drop::ACCEPT_QUEUE_FULL as u8;
    }
    u64::from(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_drops(full_slots: u64) -> Facts {
        let mut facts = Facts {
            full_slots,
            last_drop: last_drop::LISTENER + syn_drop::UNKNOWN as u8,
            ..Facts::default()
        };
        facts.syn_drops[syn_drop::UNKNOWN] = 3;
        facts
    }

    fn group() -> Group {
        let mut group = Group {
            overflow: 0,
            pad: 0,
            changed_ns: 0,
            socks: [0; _],
        };
        group.socks[1] = 0xffff_8880_0000_1000;
        group.socks[3] = 0xffff_8880_0000_3000;
        group
    }

    #[test]
    fn the_full_one_that_the_kernel_names_dropped_it() {
        let mut facts = of_drops(1 << 3);
        assert_eq!(name(&mut facts, &group(), 0xffff_8880_0000_3000), 3);
        assert_eq!(facts.syn_drops[syn_drop::ACCEPT_QUEUE_FULL], 3);
        assert_eq!(unknown(&facts), 0);
        assert_eq!(facts.last_drop, last_drop::LISTENER);
    }

    #[test]
    fn another_leaves_it_open() {
        for sock in [0, 0xffff_8880_0000_1000, 0xffff_8880_0000_5000] {
            let mut facts = of_drops(1 << 3);
            assert_eq!(name(&mut facts, &group(), sock), 0);
            assert_eq!(facts, of_drops(1 << 3));
        }
    }
}
