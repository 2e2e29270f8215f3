//! The host's own counters against what the facts explain. They prove the table right or wrong, and are
//! never a source of it.

use std::collections::BTreeMap;

use c1m_common::{fact::syn_drop, stats::Stats};

use crate::report::{record::Crosscheck, text::thousands};

/// Compares the counters that the kernel side's events must explain to the last one. Those that did not
/// move and had no reason to are left out.
pub fn crosscheck(stats: &Stats, delta: &BTreeMap<String, u64>) -> Vec<Crosscheck> {
    let syns = stats.syn_drops;
    let [by_request, by_cookie] = stats.ack_overflows;
    let acks = by_request + by_cookie;
    let all_syns: u64 = syns.iter().sum();
    let rows: [(&str, &[(u64, &str)]); 3] = [
        (
            "ListenOverflows",
            &[
                (syns[syn_drop::ACCEPT_QUEUE_FULL], "SYNs"),
                (acks, "final ACKs"),
            ],
        ),
        (
            "TCPReqQFullDrop",
            &[(syns[syn_drop::SYN_QUEUE_FULL], "SYNs")],
        ),
        ("ListenDrops", &[(all_syns, "SYNs"), (acks, "final ACKs")]),
    ];
    let compare = |(counter, parts): (&str, &[(u64, &str)])| {
        let delta = delta.get(&format!("TcpExt{counter}")).copied().unwrap_or(0);
        let explained = parts.iter().map(|(count, _)| count).sum();
        let made_of: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", thousands(*count)))
            .collect();
        (delta > 0 || explained > 0).then(|| Crosscheck {
            counter: counter.to_owned(),
            delta,
            explained,
            made_of: made_of.join(" + "),
        })
    };
    rows.into_iter().filter_map(compare).collect()
}
