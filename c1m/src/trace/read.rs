//! Reads what the kernel side folded, and names what only numbers came for.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use anyhow::Context as _;
use aya::maps::{HashMap as BpfHashMap, MapError, PerCpuArray, PerCpuHashMap};
use c1m_common::{
    call::Call,
    config::{PLACE_OF_FILTER, PLACES_MAX},
    fact::{Facts, SkbDrop, drop_flag, why},
    stats::{Stats, hook, pair},
    tuple::Tuple,
};

use super::{attach::Tracer, btf::KernelTypes, symbols::Symbols};

/// Functions that free a segment of TCP's for one reason only, and what newer kernels call it.
pub(super) const PLACES: &[(&str, &str)] = &[
    ("nf_hook_slow", "NETFILTER_DROP"),
    ("enqueue_to_backlog", "CPU_BACKLOG"),
    // What a queue's enqueue() gave back (`__dev_xmit_skb`).
    ("kfree_skb_list", "QDISC_DROP"),
    ("__netif_receive_skb_core", "TC_INGRESS"),
    ("__dev_queue_xmit", "TC_EGRESS"),
    ("do_xdp_generic", "XDP"),
    ("netif_receive_generic_xdp", "XDP"),
    ("veth_xdp_rcv_skb", "XDP"),
    ("ip_finish_output", "BPF_CGROUP_EGRESS"),
    ("ip6_finish_output", "BPF_CGROUP_EGRESS"),
    // The way back that fib_validate_source did not find.
    ("ip_rcv_finish_core", "IP_INVALID_SOURCE"),
    ("ip_rcv_finish", "IP_INVALID_SOURCE"),
    ("ip_list_rcv_finish", "IP_INVALID_SOURCE"),
    ("arp_error_report", "NEIGH_FAILED"),
    ("ndisc_error_report", "NEIGH_FAILED"),
    // Those two free it by a jump, and so on their caller's behalf.
    ("neigh_invalidate", "NEIGH_FAILED"),
    ("neigh_timer_handler", "NEIGH_FAILED"),
    ("__neigh_event_send", "NEIGH_QUEUEFULL"),
    ("ip_finish_output2", "NEIGH_CREATEFAIL"),
    ("ip6_finish_output2", "NEIGH_CREATEFAIL"),
];

/// The names of what [`why`] says.
const WHY: [&str; why::COUNT] = [
    "",
    "NO_SOCKET",
    "TCP_FLAGS",
    "TIME_WAIT",
    "TCP_CHECK_REQ",
    "TCP_INVALID_SYN",
    "BPF_CGROUP",
    "TCP_DISCARDED",
];

const _: () = assert!(PLACES.len() <= PLACES_MAX && PLACE_OF_FILTER == 0);

/// Names that differ between kernels, from the running one.
#[derive(Debug, Default)]
pub struct Names {
    drop_reasons: BTreeMap<u32, String>,
    reset_reasons: BTreeMap<u32, String>,
    /// Functions.
    pub symbols: Symbols,
}

impl Names {
    pub(super) fn new(types: &KernelTypes, symbols: Symbols) -> Self {
        Self {
            drop_reasons: types.enum_names("skb_drop_reason", "SKB_DROP_REASON_"),
            reset_reasons: types.enum_names("sk_rst_reason", "SK_RST_REASON_"),
            symbols,
        }
    }

    /// A kernel with these drop reasons.
    #[cfg(test)]
    pub(crate) fn of_drops(reasons: &[(u32, &str)]) -> Self {
        let named = |(number, name): &(u32, &str)| (*number, (*name).to_owned());
        Self {
            drop_reasons: reasons.iter().map(named).collect(),
            ..Self::default()
        }
    }

    /// The number of a drop reason on this kernel.
    pub fn drop_reason(&self, name: &str) -> Option<u32> {
        self.drop_reasons
            .iter()
            .find(|(_, its)| *its == name)
            .map(|(number, _)| *number)
    }

    /// The name of a drop's reason; empty if this kernel has none for it. Before drop reasons the function tells, if
    /// there is but one that it frees a segment for.
    pub fn drop_reason_name(&self, drop: &SkbDrop) -> &str {
        if drop.flags & drop_flag::NO_REASON != 0 {
            if let Some(why) = WHY
                .get(usize::from(drop.reason))
                .filter(|why| !why.is_empty())
            {
                return why;
            }
            return self.reason_of_place(drop).unwrap_or("");
        }
        let told = self.drop_reasons.get(&u32::from(drop.reason));
        match told.map_or("", String::as_str) {
            // What XDP drops is freed without one.
            "NOT_SPECIFIED" => match self.reason_of_place(drop) {
                Some("XDP") => "XDP",
                _ => "NOT_SPECIFIED",
            },
            told => told,
        }
    }

    /// What it means that a segment was freed in a function.
    fn reason_of_place(&self, drop: &SkbDrop) -> Option<&'static str> {
        let symbol = self.symbols.name(drop.location)?;
        let function = symbol.split('.').next().unwrap_or(symbol);
        let place = PLACES.iter().find(|(place, _)| *place == function)?;
        Some(place.1)
    }

    /// The name of a reset reason; empty likewise.
    pub fn reset_reason_name(&self, number: u16) -> &str {
        self.reset_reasons
            .get(&u32::from(number))
            .map_or("", String::as_str)
    }
}

/// The name under which skipped state transitions are told.
const TRANSITIONS: &str = "inet_sock_set_state (skipped)";

/// All that the kernel side knows at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Facts of the last attempt under each tuple.
    pub facts: HashMap<Tuple, Facts>,
    /// Whether there are so many that they were not read: [`Tracer::facts_of`] has them one by one.
    pub unread: bool,
    /// Facts of earlier attempts whose tuples were used again.
    pub generations: Vec<(Tuple, Facts)>,
    /// Failed system calls of the traced command, and how often.
    pub calls: HashMap<Call, u64>,
    /// Processes that the OOM killer chose.
    pub victims: BTreeSet<u32>,
    /// Counters, all CPUs together.
    pub stats: Stats,
    /// Facts that found no room or were skipped, by hook, other than 0.
    pub lost: BTreeMap<String, u64>,
    /// Processes of the traced command in network namespaces that are not traced.
    pub elsewhere: u64,
    /// Timer interrupts in which the kernel ran no program: what happened then was not seen.
    pub interrupts_skipped: u64,
    /// Whether one of a drop, a retransmit or a reset is among them: then silence means nothing. What only tells how a
    /// connection ended is not.
    pub drops_lost: bool,
}

/// The names of [`hook`], in its order.
const HOOK_NAMES: [&str; hook::COUNT] = [
    "inet_sock_set_state",
    "kfree_skb",
    "consume_skb",
    "net_dev_queue",
    "tcp_retransmit_skb",
    "tcp_retransmit_synack",
    "tcp_send_reset",
    "tcp_receive_reset",
    "inet_sk_error_report",
    "neigh_event_send_done",
    "find_listeners",
    "tcp_conn_request",
    "tcp_v4_syn_recv_sock",
    "reqsk_timer_handler",
    "inet_child_forget, tcp_check_oom, mark_victim",
    "system calls",
];

impl Tracer {
    /// Reads all maps. If there are more than `facts_max` facts, these are left where they are.
    pub fn snapshot(&mut self, facts_max: usize) -> anyhow::Result<Snapshot> {
        let stats = self.stats()?;
        let facts = self.hash_up_to("FACTS", facts_max)?;
        let mut snapshot = Snapshot {
            stats,
            unread: facts.is_none(),
            facts: facts.unwrap_or_default(),
            generations: self.generations.finish()?,
            calls: self.calls()?,
            victims: self.victims()?,
            elsewhere: self.elsewhere(&stats)?,
            interrupts_skipped: self.interrupts_skipped,
            ..Snapshot::default()
        };
        let earlier = snapshot.generations.iter_mut();
        let last = snapshot.facts.iter_mut();
        let named = self.name_drops(
            last.map(|(tuple, facts)| (*tuple, facts))
                .chain(earlier.map(|(tuple, facts)| (*tuple, facts))),
        )?;
        snapshot.stats.name_drops(named);
        for (hook, (name, lost)) in HOOK_NAMES.into_iter().zip(stats.lost).enumerate() {
            add(&mut snapshot.lost, name, lost);
            snapshot.drops_lost |= lost > 0 && !matches!(hook, hook::END | hook::CALL);
        }
        for (name, missed) in self.recursion_misses() {
            let taken = match name {
                // The state programs watch each other, which is exact: most of what one misses is not its own.
                // What the third missed, the others may have missed, too: it counts.
                "set_state_by_program" | "set_state_by_network" => continue,
                // What a twin misses, its first program has seen, or misses too.
                "kfree_skb_again"
                | "consume_skb_again"
                | "tcp_send_reset_again"
                | "tcp_receive_reset_again" => continue,
                "kfree_skb" => stats.twins[pair::DROP],
                "consume_skb" => stats.twins[pair::CONSUME],
                "tcp_send_reset" => stats.twins[pair::SEND_RESET],
                "tcp_receive_reset" => stats.twins[pair::RECEIVE_RESET],
                _ => 0,
            };
            let lost = missed.saturating_sub(taken);
            snapshot.drops_lost |= lost > 0 && self.choice.breaks_silence(name);
            add(&mut snapshot.lost, &format!("{name} (recursion)"), lost);
        }
        add(&mut snapshot.lost, TRANSITIONS, stats.transitions_lost());
        add(
            &mut snapshot.lost,
            "earlier generations",
            stats.generations_lost,
        );
        snapshot.drops_lost |= stats.generations_lost > 0;
        Ok(snapshot)
    }

    /// The counters, all CPUs together.
    pub fn stats(&self) -> anyhow::Result<Stats> {
        let map = self
            .ebpf
            .map("STATS")
            .context("the eBPF object has no map STATS")?;
        let per_cpu = PerCpuArray::<_, Stats>::try_from(map)?.get(&0, 0)?;
        let mut sum = Stats::default();
        for cpu in per_cpu.iter() {
            sum.add(cpu);
        }
        Ok(sum)
    }

    /// Facts of some attempts, at most `limit`, and whether there are more: for a look while the run lasts.
    pub fn some_facts(&self, limit: usize) -> anyhow::Result<(Vec<Facts>, bool)> {
        let map = self
            .ebpf
            .map("FACTS")
            .context("the eBPF object has no map FACTS")?;
        let map = BpfHashMap::<_, Tuple, Facts>::try_from(map)?;
        let mut some = Vec::new();
        // An entry that goes away under the look ends it.
        for (_, facts) in map.iter().map_while(Result::ok) {
            if some.len() == limit {
                return Ok((some, true));
            }
            some.push(facts);
        }
        Ok((some, false))
    }

    /// The facts of one attempt, if it has any; `named` counts the drops that are named in them ([`Tracer::name_drops`]).
    pub fn facts_of(&self, tuple: &Tuple, named: &Cell<u64>) -> anyhow::Result<Option<Facts>> {
        let map = self
            .ebpf
            .map("FACTS")
            .context("the eBPF object has no map FACTS")?;
        match BpfHashMap::<_, Tuple, Facts>::try_from(map)?.get(tuple, 0) {
            Ok(mut facts) => {
                let drops = self.name_drops(std::iter::once((*tuple, &mut facts)))?;
                named.set(named.get() + drops);
                Ok(Some(facts))
            }
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).context("cannot read the map FACTS"),
        }
    }

    /// A map as a whole.
    pub(super) fn hash<V: aya::Pod>(&self, name: &str) -> anyhow::Result<HashMap<Tuple, V>> {
        Ok(self.hash_up_to(name, usize::MAX)?.unwrap_or_default())
    }

    /// A map as a whole; none if it has more than `max` entries.
    fn hash_up_to<V: aya::Pod>(
        &self,
        name: &str,
        max: usize,
    ) -> anyhow::Result<Option<HashMap<Tuple, V>>> {
        let map = self
            .ebpf
            .map(name)
            .with_context(|| format!("the eBPF object has no map {name}"))?;
        let map = BpfHashMap::<_, Tuple, V>::try_from(map)?;
        let mut all = HashMap::new();
        for entry in map.iter() {
            let (tuple, value) = entry.with_context(|| format!("cannot read the map {name}"))?;
            if all.len() == max {
                return Ok(None);
            }
            all.insert(tuple, value);
        }
        Ok(Some(all))
    }

    fn calls(&self) -> anyhow::Result<HashMap<Call, u64>> {
        let map = self
            .ebpf
            .map("CALLS")
            .context("the eBPF object has no map CALLS")?;
        let map = PerCpuHashMap::<_, Call, u64>::try_from(map)?;
        map.iter()
            .map(|entry| entry.map(|(call, counts)| (call, counts.iter().sum())))
            .collect::<Result<_, _>>()
            .context("cannot read the map CALLS")
    }

    fn victims(&self) -> anyhow::Result<BTreeSet<u32>> {
        let map = self
            .ebpf
            .map("VICTIMS")
            .context("the eBPF object has no map VICTIMS")?;
        let map = BpfHashMap::<_, u32, u32>::try_from(map)?;
        let victims: Result<_, _> = map.keys().collect();
        victims.context("cannot read the map VICTIMS")
    }
}

fn add(lost: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    if count != 0 {
        *lost.entry(name.to_owned()).or_default() += count;
    }
}
