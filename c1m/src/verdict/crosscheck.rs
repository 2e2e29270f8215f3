//! The host's own counters against the table and the facts. They prove it right or wrong, and are never a
//! source of it.

use c1m_common::{
    fact::{Facts, ack_refusal, end_flag, segment, syn_drop},
    state::{CLOSE, ESTABLISHED},
    stats::Stats,
};

use super::Sight;
use crate::{
    causes::{Cause, TABLE},
    ledger::{
        Case, Ledger,
        counters::{At, QDISC_DROPPED, Rises, SOFTNET_DROPPED},
    },
    report::{record::Crosscheck, text::thousands},
    trace::read::Names,
};

/// So many events of that kind.
type Part = (u64, &'static str);

/// A counter that rows of the cause table name.
struct Counter {
    /// As the rows name it.
    name: &'static str,
    /// Its names in [`crate::ledger::counters::Counters`], which are added up.
    keys: &'static [&'static str],
    at: At,
    /// The events that the kernel side counted itself, one for one; where there are none, every attempt of the
    /// rows that name the counter raised it at least as often as [`events`] says, and others may have, too.
    exactly: Option<fn(&Stats, &Ledger) -> Vec<Part>>,
}

impl Counter {
    const fn at_least(name: &'static str, keys: &'static [&'static str], at: At) -> Self {
        Self {
            name,
            keys,
            at,
            exactly: None,
        }
    }
}

static COUNTERS: &[Counter] = &[
    Counter {
        name: "ListenOverflows",
        keys: &["TcpExtListenOverflows"],
        at: At::Server,
        exactly: Some(|stats, _| {
            let syns = stats.syn_drops[syn_drop::ACCEPT_QUEUE_FULL];
            vec![(syns, "SYNs"), (final_acks(stats), "final ACKs")]
        }),
    },
    Counter {
        name: "TCPReqQFullDrop",
        keys: &["TcpExtTCPReqQFullDrop"],
        at: At::Server,
        exactly: Some(|stats, _| vec![(stats.syn_drops[syn_drop::SYN_QUEUE_FULL], "SYNs")]),
    },
    Counter {
        name: "ListenDrops",
        keys: &["TcpExtListenDrops"],
        at: At::Server,
        exactly: Some(|stats, ledger| {
            vec![
                (stats.syn_drops.iter().sum(), "SYNs"),
                (final_acks(stats), "final ACKs"),
                (failed_children(stats, ledger), "failed children"),
            ]
        }),
    },
    Counter::at_least(
        "IpOutNoRoutes",
        &["IpOutNoRoutes", "Ip6OutNoRoutes"],
        At::Client,
    ),
    Counter::at_least("nf_conntrack drop", &["ConntrackDrop"], At::Both),
    Counter::at_least("qdisc dropped", &[QDISC_DROPPED], At::Both),
    Counter::at_least(
        "neighbour table_fulls",
        &["ArpCacheTableFulls", "NdiscCacheTableFulls"],
        At::Host,
    ),
    Counter::at_least("softnet dropped", &[SOFTNET_DROPPED], At::Host),
    Counter::at_least(
        "IPReversePathFilter",
        &["TcpExtIPReversePathFilter"],
        At::Both,
    ),
    Counter::at_least("TcpOutRsts", &["TcpOutRsts"], At::Server),
    Counter::at_least("PAWSEstab", &["TcpExtPAWSEstab"], At::Server),
    Counter::at_least("TCPSYNChallenge", &["TcpExtTCPSYNChallenge"], At::Server),
    Counter::at_least(
        "TCPFastOpenListenOverflow",
        &["TcpExtTCPFastOpenListenOverflow"],
        At::Server,
    ),
    Counter::at_least("PAWSActive", &["TcpExtPAWSActive"], At::Client),
    Counter::at_least("TCPTimeouts", &["TcpExtTCPTimeouts"], At::Client),
    Counter::at_least("SyncookiesFailed", &["TcpExtSyncookiesFailed"], At::Server),
    Counter::at_least(
        "TCPMigrateReqFailure",
        &["TcpExtTCPMigrateReqFailure"],
        At::Server,
    ),
    Counter::at_least("TcpEstabResets", &["TcpEstabResets"], At::Both),
    Counter::at_least("TCPAbortOnTimeout", &["TcpExtTCPAbortOnTimeout"], At::Both),
    Counter::at_least("TCPAbortOnMemory", &["TcpExtTCPAbortOnMemory"], At::Both),
    Counter::at_least(
        "TCPTimeWaitOverflow",
        &["TcpExtTCPTimeWaitOverflow"],
        At::Both,
    ),
];

/// How many of `ListenOverflows` are known.
pub fn known_overflows(stats: &Stats) -> u64 {
    stats.syn_drops[syn_drop::ACCEPT_QUEUE_FULL] + final_acks(stats)
}

fn final_acks(stats: &Stats) -> u64 {
    stats.ack_overflows.iter().sum()
}

/// By the function that fails to make one where it is hooked, else by the verdicts.
fn failed_children(stats: &Stats, ledger: &Ledger) -> u64 {
    match stats.ack_failures {
        0 => counted(ledger, Cause::ChildFailed),
        seen => seen,
    }
}

fn counted(ledger: &Ledger, cause: Cause) -> u64 {
    ledger.counted.get(&cause).copied().unwrap_or(0)
}

/// How often an attempt that was lost to `cause`, or recovered from it, has certainly raised the counter that the
/// row names: 0 where the row's condition has variants that the kernel does not count, and this may be one.
pub fn events(cause: Cause, case: &Case<'_>, names: &Names) -> u64 {
    let nothing = Facts::default();
    let facts = case.facts.unwrap_or(&nothing);
    let freed = |reason: &str| {
        let mut drops = facts.skb_drops.iter().filter(|drop| drop.count > 0);
        drops.any(|drop| names.drop_reason_name(drop) == reason)
    };
    let ends = [facts.client, facts.server];
    let is_certain = match cause {
        Cause::ChildFailed => {
            let refused = &facts.ack_refusals[ack_refusal::NO_CHILD..=ack_refusal::NO_CHILD_COOKIE];
            let seen: u64 = refused.iter().map(|&count| u64::from(count)).sum();
            return seen + u64::from(facts.skb_drops[segment::ACK].count);
        }
        // `tcp_v4_connect` and `ip6_dst_lookup_tail` count ENETUNREACH alone.
        Cause::NoRoute => case
            .outcome
            .is_some_and(|outcome| i32::from(outcome.errno) == libc::ENETUNREACH),
        Cause::RpFilter => freed("IP_RPFILTER"),
        // A rule that rejects sends its own.
        Cause::Refused => facts.server.resets_sent > 0,
        // Counted with the first retransmit (`tcp_retransmit_timer`).
        Cause::SynUnanswered => facts.syn_retransmits > 0,
        // `tcp_set_state`
        Cause::ResetQueued | Cause::ResetByPeer => ends
            .iter()
            .any(|end| end.closed_ns != 0 && (end.from, end.to) == (ESTABLISHED, CLOSE)),
        Cause::MemoryPressure => ends.iter().any(|end| {
            end.flags & end_flag::OUT_OF_MEMORY != 0
                || names.reset_reason_name(end.reset_reason) == "TCP_ABORT_ON_MEMORY"
        }),
        // By the timestamp alone.
        Cause::AckRejected => freed("TCP_RFC7323_PAWS"),
        // Not by a request, which may have sent the answer that alone tells on kernels without a reason.
        Cause::StaleEstablished => {
            facts.skb_drops[segment::SYN].location != 0 && freed("TCP_INVALID_SYN")
        }
        // By a full table alone.
        Cause::Neighbour => freed("NEIGH_CREATEFAIL"),
        // By timestamps alone; only a migration that was tried.
        Cause::TimeWaitHit | Cause::SynackRejected | Cause::ListenerGone | Cause::Fastopen => false,
        _ => true,
    };
    u64::from(is_certain)
}

/// What may have come twice: the second is dropped without a count where another CPU takes the first at that moment.
/// Of final ACKs by syncookie see [`Ledger::refused_beside`]; a SYN finds the request of the first in the hash
/// (`inet_csk_reqsk_queue_hash_add`), and its attempt is not lost to that.
fn twice(counter: &Counter, ledger: &Ledger, stats: &Stats) -> Vec<Part> {
    let cookies = (
        ledger.refused_beside,
        "refused by syncookie of connections that stand",
    );
    match counter.name {
        "ListenOverflows" => vec![cookies],
        "ListenDrops" if ledger.lost.contains_key(&Cause::NoRequestMemory) => vec![cookies],
        "ListenDrops" => {
            let syns = stats.syn_drops[syn_drop::NO_REQUEST] + stats.syn_drops[syn_drop::UNKNOWN];
            vec![cookies, (syns, "SYNs of which no full queue was seen")]
        }
        _ => Vec::new(),
    }
}

/// What may have raised a counter so many times more than the facts explain, in words: events that were not seen whole.
fn unseen(counter: &Counter, ledger: &Ledger, stats: &Stats, more: u64) -> Option<String> {
    if counter.exactly.is_none() || more == 0 {
        return None;
    }
    if counter.name == "ListenDrops" {
        // What a listener did with the final ACKs of these is not known, nor how often each came.
        let attempts = ledger.lost.get(&Cause::NotObservable)?.count;
        let (more, attempts) = (thousands(more), thousands(attempts));
        return Some(format!(
            "{more} that may be of the {attempts} attempts that are not observable"
        ));
    }
    // Each of these raised one of the counters that tell conditions apart, and which is not known.
    let syns = stats.syn_drops[syn_drop::UNKNOWN];
    (more <= syns).then(|| {
        let (more, syns) = (thousands(more), thousands(syns));
        format!("{more} of {syns} SYNs whose condition was not seen")
    })
}

fn sum(parts: &[Part]) -> u64 {
    parts.iter().map(|(count, _)| count).sum()
}

/// The parts that there are.
fn in_words(parts: &[Part]) -> Vec<String> {
    let some = parts.iter().filter(|(count, _)| *count > 0);
    some.map(|(count, what)| format!("{} {what}", thousands(*count)))
        .collect()
}

/// Compares each counter that rows name with what the facts explain of it. Counters that did not move and had no
/// reason to are left out, and of those that others raise too, the ones that no row needs. Where `sight` lacks what a
/// listener drops, its counters may rise by more.
pub fn crosscheck(ledger: &Ledger, stats: &Stats, rises: &Rises, sight: &Sight) -> Vec<Crosscheck> {
    let sees_listener = sight.syns && sight.acks;
    let compare = |counter: &Counter| {
        let rose = |key: &&str| rises.get(key, counter.at);
        let delta: u64 = counter.keys.iter().map(rose).sum();
        let rows = TABLE.iter().filter(|row| row.counter == Some(counter.name));
        let met = rows.filter(|row| ledger.counted.contains_key(&row.cause));
        let of_rows: Vec<_> = met
            .map(|row| (counted(ledger, row.cause), row.slug))
            .collect();
        let has_rows = !of_rows.is_empty();
        let parts = match counter.exactly {
            Some(exactly) => exactly(stats, ledger),
            None => of_rows,
        };
        let explained = sum(&parts);
        let twice = twice(counter, ledger, stats);
        let unseen = unseen(counter, ledger, stats, delta.saturating_sub(explained));
        let is_told = has_rows || counter.exactly.is_some() && (delta > 0 || explained > 0);
        let mut made_of = in_words(&parts);
        made_of.extend(unseen.clone());
        let mut made_of = made_of.join(" + ");
        if delta < explained && sum(&twice) > 0 {
            let twice = in_words(&twice).join(" and ");
            made_of.push_str(&format!(", of which {twice} may have come twice"));
        }
        is_told.then(|| Crosscheck {
            counter: counter.name.to_owned(),
            at: counter.at.slug().to_owned(),
            delta,
            explained,
            at_least: counter.exactly.is_none() || !sees_listener || unseen.is_some(),
            uncounted_at_most: sum(&twice).min(explained),
            made_of,
        })
    };
    COUNTERS.iter().filter_map(compare).collect()
}

#[cfg(test)]
mod tests;
