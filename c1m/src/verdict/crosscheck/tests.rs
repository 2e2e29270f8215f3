#![expect(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeMap;

use c1m_common::fact::{End, SkbDrop};

use super::*;
use crate::load::outcome::{Outcome, Stage};

const CLIENT: usize = 0;
const SERVER: usize = 1;
const ELSEWHERE: usize = 2;

/// The counters of a client's namespace, a server's, and of a third one that is traced too.
fn rises(risen: &[(usize, &str, u64)]) -> Rises {
    let mut by_namespace = vec![BTreeMap::new(); 3];
    for &(namespace, name, by) in risen {
        by_namespace[namespace].insert(name.to_owned(), by);
    }
    Rises {
        by_namespace,
        client: [CLIENT].into(),
        server: [SERVER].into(),
    }
}

fn ledger(counted: &[(Cause, u64)]) -> Ledger {
    Ledger {
        counted: counted.iter().copied().collect(),
        ..Ledger::default()
    }
}

/// What is told, in short.
fn told(ledger: &Ledger, stats: &Stats, rises: &Rises) -> Vec<String> {
    told_with(ledger, stats, rises, true)
}

/// The same on a kernel that shows what listeners drop, or on one that does not.
fn told_with(ledger: &Ledger, stats: &Stats, rises: &Rises, sees: bool) -> Vec<String> {
    let short = |check: Crosscheck| {
        let sign = match (check.at_least, check.delta < check.explained) {
            (true, _) => ">=",
            (false, true) if check.agrees() => "<=",
            (false, _) => "=",
        };
        let verdict = if check.agrees() { "agrees" } else { "differs" };
        let Crosscheck {
            counter,
            delta,
            made_of,
            ..
        } = check;
        format!("{counter} {delta} {sign} {made_of}: {verdict}")
    };
    let sight = Sight {
        syns: sees,
        acks: sees,
        ..Sight::default()
    };
    crosscheck(ledger, stats, rises, &sight)
        .into_iter()
        .map(short)
        .collect()
}

#[test]
fn every_counter_that_a_row_names_is_known() {
    for row in TABLE {
        let Some(name) = row.counter else { continue };
        let known = COUNTERS.iter().filter(|counter| counter.name == name);
        assert_eq!(known.count(), 1, "{}: {name}", row.slug);
    }
    for counter in COUNTERS {
        let named = TABLE.iter().any(|row| row.counter == Some(counter.name));
        assert!(named, "no row names {}", counter.name);
    }
}

#[test]
fn what_the_kernel_side_counts_itself_must_be_equal() {
    let stats = Stats {
        syn_drops: [7, 2, 1, 0, 0],
        ack_overflows: [3, 4],
        ..Stats::default()
    };
    let mut risen = vec![
        (SERVER, "TcpExtListenOverflows", 14),
        (SERVER, "TcpExtTCPReqQFullDrop", 2),
        (SERVER, "TcpExtListenDrops", 22),
        // Somebody else's.
        (CLIENT, "TcpExtListenOverflows", 1_000),
        (ELSEWHERE, "TcpExtListenDrops", 1_000),
    ];
    let ledger = ledger(&[(Cause::ChildFailed, 5)]);
    let all = [
        "ListenOverflows 14 = 7 SYNs + 7 final ACKs: agrees",
        "TCPReqQFullDrop 2 = 2 SYNs: agrees",
        "ListenDrops 22 = 10 SYNs + 7 final ACKs + 5 failed children: agrees",
    ];
    assert_eq!(told(&ledger, &stats, &rises(&risen)), all);
    for off in [13, 15] {
        risen[0].2 = off;
        let differs = format!("ListenOverflows {off} = 7 SYNs + 7 final ACKs: differs");
        assert_eq!(told(&ledger, &stats, &rises(&risen))[0], differs);
    }
    // A counter that moved for no reason is told, one that did not is not.
    risen.truncate(1);
    let nothing = Ledger::default();
    let moved = told(&nothing, &Stats::default(), &rises(&risen));
    assert_eq!(moved, ["ListenOverflows 15 = : differs"]);
    assert_eq!(
        told(&nothing, &Stats::default(), &Rises::default()),
        [""; 0]
    );
}

#[test]
fn what_others_raise_too_must_not_be_less() {
    let stats = Stats::default();
    let all = [
        (Cause::Refused, 20),
        (Cause::CpuBacklog, 3),
        (Cause::SynUnanswered, 9),
    ];
    let ledger = ledger(&all);
    let mut risen = vec![
        (SERVER, "TcpOutRsts", 20),
        (SERVER, "SoftnetDropped", 4),
        (ELSEWHERE, "SoftnetDropped", 4),
        (CLIENT, "TcpExtTCPTimeouts", 9),
        // Nobody asks for it.
        (CLIENT, "TcpEstabResets", 9),
    ];
    let expected = [
        "softnet dropped 4 >= 3 cpu-backlog: agrees",
        "TcpOutRsts 20 >= 20 refused: agrees",
        "TCPTimeouts 9 >= 9 syn-unanswered: agrees",
    ];
    assert_eq!(told(&ledger, &stats, &rises(&risen)), expected);
    risen[0] = (CLIENT, "TcpOutRsts", 20);
    risen[3].2 = 8;
    let off = told(&ledger, &stats, &rises(&risen));
    assert_eq!(off[1], "TcpOutRsts 0 >= 20 refused: differs");
    assert_eq!(off[2], "TCPTimeouts 8 >= 9 syn-unanswered: differs");
}

#[test]
fn rows_of_one_counter_are_added_up_in_both_namespaces() {
    let ledger = ledger(&[(Cause::ResetByPeer, 2), (Cause::ResetQueued, 1)]);
    let risen = [(CLIENT, "TcpEstabResets", 2), (SERVER, "TcpEstabResets", 1)];
    let expected = ["TcpEstabResets 3 >= 1 reset-queued + 2 reset-by-peer: agrees"];
    assert_eq!(told(&ledger, &Stats::default(), &rises(&risen)), expected);
}

#[test]
fn an_attempt_counts_only_where_the_kernel_certainly_did() {
    let names = Names::of_drops(&[(5, "IP_RPFILTER"), (6, "IP_INVALID_SOURCE")]);
    let freed = |reason, segment: usize| {
        let mut facts = Facts::default();
        facts.skb_drops[segment] = SkbDrop {
            reason,
            count: 3,
            ..SkbDrop::default()
        };
        facts
    };
    let reset = Facts {
        client: End {
            closed_ns: 1,
            from: ESTABLISHED,
            to: CLOSE,
            ..End::default()
        },
        ..Facts::default()
    };
    let mut refused = Facts::default();
    refused.server.resets_sent = 2;
    let failed = |errno| Outcome {
        stage: Stage::Connect,
        errno: errno as u16,
        ..Outcome::default()
    };
    let nothing = Facts::default();
    for (cause, facts, errno, expected) in [
        (Cause::RpFilter, freed(5, segment::SYN), 0, 1),
        (Cause::RpFilter, freed(6, segment::SYN), 0, 0),
        (Cause::ChildFailed, freed(6, segment::ACK), 0, 3),
        (Cause::NoRoute, nothing, libc::ENETUNREACH, 1),
        (Cause::NoRoute, nothing, libc::EHOSTUNREACH, 0),
        (Cause::Refused, refused, libc::ECONNREFUSED, 1),
        (Cause::Refused, nothing, libc::ECONNREFUSED, 0),
        (Cause::ResetByPeer, reset, libc::ECONNRESET, 1),
        (Cause::ResetByPeer, nothing, libc::ECONNRESET, 0),
        (Cause::TimeWaitHit, nothing, 0, 0),
        (Cause::QdiscDrop, nothing, 0, 1),
    ] {
        let case = Case {
            source: "127.0.0.1:1".parse().unwrap(),
            target: "127.0.0.1:2".parse().unwrap(),
            outcome: Some(failed(errno)),
            facts: Some(&facts),
        };
        assert_eq!(events(cause, &case, &names), expected, "{cause} {errno}");
    }
}

#[test]
fn what_a_listener_drops_unseen_is_no_disagreement() {
    let stats = Stats::default();
    let rises = rises(&[(SERVER, "TcpExtListenOverflows", 14)]);
    let nothing = ledger(&[]);
    assert_eq!(
        told(&nothing, &stats, &rises),
        ["ListenOverflows 14 = : differs"]
    );
    assert_eq!(
        told_with(&nothing, &stats, &rises, false),
        ["ListenOverflows 14 >= : agrees"]
    );
}

#[test]
fn syns_whose_condition_was_not_seen_may_be_any_of_those_that_are_counted() {
    let mut stats = Stats::default();
    stats.syn_drops[syn_drop::ACCEPT_QUEUE_FULL] = 10;
    stats.syn_drops[syn_drop::UNKNOWN] = 4;
    let nothing = ledger(&[]);
    let of = |delta| {
        let rises = rises(&[(SERVER, "TcpExtListenOverflows", delta)]);
        told(&nothing, &stats, &rises)[0].clone()
    };
    let told = "ListenOverflows 13 >= 10 SYNs + 3 of 4 SYNs whose condition was not seen: agrees";
    assert_eq!(of(13), told);
    assert_eq!(of(10), "ListenOverflows 10 = 10 SYNs: agrees");
    assert_eq!(of(15), "ListenOverflows 15 = 10 SYNs: differs");
    assert_eq!(of(9), "ListenOverflows 9 = 10 SYNs: differs");
}

#[test]
fn what_a_listener_did_with_attempts_that_are_not_observable_may_have_raised_its_drops() {
    let rises = rises(&[(SERVER, "TcpExtListenDrops", 30)]);
    let mut ledger = ledger(&[]);
    let differs = "ListenDrops 30 = : differs";
    assert_eq!(told(&ledger, &Stats::default(), &rises), [differs]);
    ledger.lose_unnamed(Cause::NotObservable, 20, "somewhere");
    let agrees =
        "ListenDrops 30 >= 30 that may be of the 20 attempts that are not observable: agrees";
    assert_eq!(told(&ledger, &Stats::default(), &rises), [agrees]);
}

#[test]
fn what_came_twice_at_once_may_have_been_refused_without_a_count() {
    let mut stats = Stats {
        ack_overflows: [5, 0],
        ..Stats::default()
    };
    stats.syn_drops[syn_drop::NO_REQUEST] = 2;
    let mut ledger = ledger(&[]);
    ledger.refused_beside = 3;
    let of = |ledger: &Ledger, delta| {
        let rises = rises(&[(SERVER, "TcpExtListenDrops", delta)]);
        told(ledger, &stats, &rises).pop().unwrap()
    };
    let explained = "2 SYNs + 5 final ACKs";
    let agrees = format!("ListenDrops 7 = {explained}: agrees");
    assert_eq!(of(&ledger, 7), agrees);
    let twice = "3 refused by syncookie of connections that stand and 2 SYNs of which no full queue was seen may have come twice";
    let agrees = format!("ListenDrops 2 <= {explained}, of which {twice}: agrees");
    assert_eq!(of(&ledger, 2), agrees);
    let differs = format!("ListenDrops 1 = {explained}, of which {twice}: differs");
    assert_eq!(of(&ledger, 1), differs);
    // Those that were lost were not there twice.
    ledger.lose_unnamed(Cause::NoRequestMemory, 1, "somewhere");
    let cookies = "3 refused by syncookie of connections that stand";
    let differs =
        format!("ListenDrops 3 = {explained}, of which {cookies} may have come twice: differs");
    assert_eq!(of(&ledger, 3), differs);
}
