//! What must hold for any facts at all: a verdict for each attempt, and a ledger that balances.

use c1m_common::{
    fact::{End, Facts, SkbDrop, ack_refusal, end_flag, last_drop, segment, syn_drop},
    state::{CLOSE, ESTABLISHED, FIN_WAIT1},
    tuple::Tuple,
};
use proptest::prelude::*;

use super::{tests::names, *};
use crate::{
    ledger::{
        census::Side,
        server::{Before, Standing, book},
    },
    load::outcome::Stage,
    trace::read::Snapshot,
};

fn any_end() -> impl Strategy<Value = End> {
    let errors = prop_oneof![Just(0_u16), Just(104), Just(110), Just(113), any::<u16>()];
    (any::<[u8; 5]>(), errors, any::<[u16; 2]>(), 0..3_u64).prop_map(
        |([from, to, flags, resets_sent, resets_received], err, [reason, icmp], closed_ns)| End {
            closed_ns,
            pid: 7,
            err,
            from: from % 13,
            to: to % 13,
            flags: flags % 128,
            resets_sent: resets_sent % 3,
            reset_reason: reason,
            icmp_err: icmp % 2 * 113,
            resets_received: resets_received % 3,
            reset_state: reason as u8 % 13,
        },
    )
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let drop = (0..3_u32, 0..13_u16, any::<u8>()).prop_map(|(count, reason, flags)| SkbDrop {
        count,
        reason,
        flags,
        ..SkbDrop::default()
    });
    (
        any_end(),
        any_end(),
        any::<[u16; syn_drop::COUNT]>(),
        prop::array::uniform3(drop),
        prop::array::uniform5(0..3_u64),
        (0..3_u16, 0..3_u16, any::<u8>(), 0..3_u32),
        any::<[u16; ack_refusal::COUNT + 3]>(),
    )
        .prop_map(
            |(client, server, syn_drops, skb_drops, times, counts, more)| Facts {
                client,
                server,
                syn_drops: syn_drops.map(|count| count % 3),
                skb_drops,
                first_drop_ns: times[0],
                last_drop_ns: times[1],
                client_established_ns: times[2],
                server_established_ns: times[3],
                first_ns: times[4],
                syn_retransmits: counts.0,
                synack_retransmits: counts.1,
                last_drop: counts.2,
                unsent: counts.3,
                ack_refusals: std::array::from_fn(|kind| more[kind] % 3),
                syns_freed_unseen: more[ack_refusal::COUNT] % 3,
                requests_expired: more[ack_refusal::COUNT + 1] % 3,
                requests_orphaned: more[ack_refusal::COUNT + 2] % 3,
                filtered: skb_drops[0],
                ..Facts::default()
            },
        )
}

fn any_sight() -> impl Strategy<Value = Sight> {
    any::<[bool; 20]>().prop_map(|b| Sight {
        states: b[0],
        drops: b[1],
        drop_reasons: b[1],
        syns: b[2],
        resets: b[3],
        server_end: b[4],
        evidence_lost: b[5],
        drops_lost: b[6],
        conntrack_dropped: b[7],
        cookies_failed: b[8],
        acks: b[9],
        conntrack: b[10],
        listener_closed: b[11],
        request_timers: b[12],
        out_of_memory: b[13],
        ack_checks: b[14],
        files: b[15],
        synack_retries: 2 * u64::from(b[16]),
        overflows_unseen: b[17],
        interrupts_skipped: b[18],
        never_aborts: b[19],
    })
}

fn any_server_end() -> impl Strategy<Value = ServerEnd> {
    prop::sample::select(vec![
        ServerEnd::Absent,
        ServerEnd::Request,
        ServerEnd::Queued,
        ServerEnd::Accepted,
        ServerEnd::Closing,
    ])
}

fn tuple_of(number: usize) -> Tuple {
    Tuple {
        client_port: number as u16,
        server_port: 8000,
        ..Tuple::default()
    }
}

/// What the kernel side counts of an attempt as these facts tell it: it never counts fewer failures than the
/// facts show, and every entry of an established one was established.
fn count(
    snapshot: &mut Snapshot,
    standing: &mut Standing,
    tuple: Tuple,
    facts: &Facts,
    end: ServerEnd,
) {
    let stats = &mut snapshot.stats.ends[1];
    let left = facts.server.closed_ns != 0 && facts.server.from == ESTABLISHED;
    match end {
        ServerEnd::Accepted => standing.accepted += 1,
        ServerEnd::Queued => standing.queued.push(tuple),
        _ if left || facts.server_established_ns != 0 => {}
        _ => return,
    }
    stats.established += 1;
    let stands = matches!(end, ServerEnd::Accepted | ServerEnd::Queued);
    let flag = |flag| facts.server.flags & flag != 0;
    let err = i32::from(facts.server.err);
    if stands {
        return;
    }
    let reset = err == 0 || err == libc::ECONNRESET;
    if left && (flag(end_flag::NO_SOCKET) || !flag(end_flag::LOCAL) && !reset) {
        stats.failed[0] += 1;
    } else if left && flag(end_flag::LOCAL) {
        if flag(end_flag::EXITING) {
            stats.exited += 1;
        } else if facts.server.to == CLOSE {
            stats.aborted_locally += 1;
        } else {
            stats.closed_locally += 1;
        }
    } else {
        stats.closed_by_peer += 1;
    }
}

/// The same at a client's end.
fn count_client(
    snapshot: &mut Snapshot,
    standing: &mut Standing,
    tuple: Tuple,
    facts: &Facts,
    stands: bool,
) {
    let (stats, end) = (&mut snapshot.stats.ends[0], &facts.client);
    let left = end.closed_ns != 0 && end.from == ESTABLISHED;
    if stands {
        standing.accepted += 1;
        standing.clients.insert(tuple);
    }
    if !stands && !left && facts.client_established_ns == 0 {
        return;
    }
    stats.established += 1;
    let by_network = left && end.to == CLOSE && end.flags & end_flag::LOCAL == 0;
    match i32::from(end.err) {
        _ if stands => {}
        libc::ECONNRESET if by_network => stats.reset_by_peer += 1,
        _ if by_network => stats.failed[0] += 1,
        libc::ECONNABORTED if left && end.to == CLOSE => stats.failed[1] += 1,
        _ => stats.closed_locally += 1,
    }
}

proptest! {
    #[test]
    fn any_facts_have_a_verdict(
        facts in any_facts(), sight in any_sight(), end in any_server_end(),
        stage in 0..12_u8, errno in 0..140_u16, port in 0..2_u16, seen in any::<bool>(),
        to_itself in any::<bool>(),
    ) {
        let names = names();
        let context = Context { sight, names: &names };
        let client_stands = seen;
        judge_server(&facts, Ends { server: end, client_stands, to_itself }, &context);
        let stage = Stage::from_u8(stage);
        let attempt = Attempt {
            outcome: Outcome { stage, errno, port, ..Outcome::default() },
            facts: seen.then_some(&facts),
            server: end,
            to_itself,
        };
        let verdict = judge_client(&attempt, &context);
        prop_assert_eq!(verdict == Verdict::NotAttempted, stage == Stage::Planned);
    }

    #[test]
    fn a_server_s_ledger_balances_whatever_happened(
        attempts in prop::collection::vec((consistent_facts(), any_server_end()), 0..40),
        sight in any_sight(), stood in 0..5_u64,
    ) {
        let names = names();
        let context = Context { sight, names: &names };
        let (mut snapshot, mut standing) = (Snapshot::default(), Standing::default());
        for (number, (facts, end)) in attempts.into_iter().enumerate() {
            let tuple = tuple_of(number);
            let mut facts = facts;
            if matches!(end, ServerEnd::Accepted | ServerEnd::Queued) {
                facts.server = End::default();
            }
            count(&mut snapshot, &mut standing, tuple, &facts, end);
            standing.ends.insert(tuple, end);
            snapshot.facts.insert(tuple, facts);
        }
        standing.accepted += stood;
        let begun = Default::default();
        let ledger = book(Side::Server, Before { stood, begun: &begun }, &standing, &snapshot, &context);
        prop_assert!(ledger.is_balanced(), "{:?}", ledger);
    }

    #[test]
    fn a_client_s_ledger_balances_whatever_happened(
        attempts in prop::collection::vec((consistent_facts(), any::<bool>()), 0..40),
        sight in any_sight(), stood in 0..5_u64,
    ) {
        let names = names();
        let context = Context { sight: Sight { server_end: false, ..sight }, names: &names };
        let (mut snapshot, mut standing) = (Snapshot::default(), Standing::default());
        for (number, (mut facts, stands)) in attempts.into_iter().enumerate() {
            let tuple = tuple_of(number);
            facts.server = End::default();
            facts.server_established_ns = 0;
            if stands {
                facts.client = End::default();
            }
            count_client(&mut snapshot, &mut standing, tuple, &facts, stands);
            snapshot.facts.insert(tuple, facts);
        }
        standing.accepted += stood;
        let begun = Default::default();
        let ledger = book(Side::Client, Before { stood, begun: &begun }, &standing, &snapshot, &context);
        prop_assert!(ledger.is_balanced(), "{:?}", ledger);
    }
}

proptest! {
    #[test]
    fn what_no_rule_names_changes_no_verdict(
        facts in any_facts(), sight in any_sight(), end in any_server_end(), client_stands in any::<bool>(),
        stage in 0..12_u8, errno in 0..140_u16, which in 0..8_u8, value in 1..9_u32,
    ) {
        let names = names();
        let context = Context { sight, names: &names };
        let ends = Ends { server: end, client_stands, to_itself: false };
        let mut more = facts;
        add_unnamed(&mut more, which, value);
        prop_assert_eq!(judge_server(&more, ends, &context), judge_server(&facts, ends, &context));
        let stage = Stage::from_u8(stage);
        let client = |facts| {
            let outcome = Outcome { stage, errno, port: 9, ..Outcome::default() };
            judge_client(&Attempt { outcome, facts: Some(facts), server: end, to_itself: false }, &context)
        };
        prop_assert_eq!(client(&more), client(&facts));
    }

    #[test]
    fn a_dropped_syn_or_its_answer_decides_whatever_follows_from_it(
        facts in consistent_facts(), sight in any_sight(), end in any_server_end(),
        which in prop::collection::vec(0..7_u8, 0..12), value in 1..4_u16, timed_out in any::<bool>(),
    ) {
        let names = names();
        // Else a SYN that is sent again may have been dropped unseen.
        let sight = Sight { syns: true, ..sight };
        let context = Context { sight, names: &names };
        let Some(trouble) = trouble(&facts, &context) else { return Ok(()) };
        // Of a client that was established, its final ACK decides.
        if trouble.segment == segment::ACK || facts.client.from == ESTABLISHED {
            return Ok(());
        }
        let mut more = facts;
        for which in which {
            add_consequence(&mut more, which, value);
        }
        let ends = Ends { server: end, ..Ends::default() };
        let before = judge_server(&facts, ends, &context);
        if let ServerVerdict::NeverEstablished(cause) = before {
            prop_assert_eq!(cause, trouble.cause);
            prop_assert_eq!(judge_server(&more, ends, &context), before);
        }
        let (stage, errno) = match timed_out {
            true => (Stage::Failed, libc::ETIMEDOUT as u16),
            false => (Stage::GaveUp, 0),
        };
        for facts in [&facts, &more] {
            let outcome = Outcome { stage, errno, port: 9, ..Outcome::default() };
            let attempt = Attempt { outcome, facts: Some(facts), server: end, to_itself: false };
            prop_assert_eq!(judge_client(&attempt, &context), Verdict::Lost(trouble.cause));
        }
    }
}

/// Adds a fact that no rule names.
fn add_unnamed(facts: &mut Facts, which: u8, value: u32) {
    match which {
        0 => facts.first_ns += u64::from(value),
        1 => facts.first_drop_ns += u64::from(value),
        2 => facts.last_drop_ns += u64::from(value),
        3 => facts.full_slots += u64::from(value),
        4 => facts.client.pid += value,
        5 => facts.server.pid += value,
        6 => facts.unsent += value,
        _ => facts.server.reset_reason = value as u16,
    }
}

/// Adds what follows from a SYN or SYN-ACK that was dropped, or came before it: the drop that decided stays the last.
fn add_consequence(facts: &mut Facts, which: u8, value: u16) {
    match which {
        0 => facts.syn_retransmits += value,
        1 => facts.synack_retransmits += value,
        2 => facts.client.icmp_err = 113,
        3 => facts.skb_drops[segment::ACK].count += u32::from(value),
        4 => facts.requests_expired += value,
        5 => facts.syns_freed_unseen += value,
        _ => {
            // The same drop, once more.
            let class = usize::from(facts.last_drop.wrapping_sub(last_drop::LISTENER));
            if class < syn_drop::UNKNOWN {
                facts.syn_drops[class] += value;
            }
        }
    }
}

/// Facts as the kernel side can write them: an end that has not left a state tells nothing, and what stands has
/// not left it.
fn consistent_facts() -> impl Strategy<Value = Facts> {
    any_facts().prop_map(|mut facts| {
        for end in [&mut facts.client, &mut facts.server] {
            if end.closed_ns == 0 {
                (end.from, end.to, end.err, end.flags) = (0, 0, 0, 0);
            }
            // A close by the program leaves no error behind.
            if end.err != 0 {
                end.flags &= !(end_flag::LOCAL | end_flag::EXITING);
            } else if end.to == CLOSE || end.to == FIN_WAIT1 {
                end.flags |= end_flag::LOCAL;
            } else {
                end.flags &= !(end_flag::LOCAL | end_flag::EXITING);
            }
        }
        facts
    })
}
