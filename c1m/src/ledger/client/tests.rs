#![expect(clippy::unwrap_used, reason = "tests")]
use c1m_common::fact::{Facts, SkbDrop, last_drop, segment};
use proptest::prelude::*;

use super::*;
use crate::{
    causes::Cause,
    load::outcome::Outcome,
    trace::read::Names,
    verdict::{Context, Sight},
};

const TARGET: ([u8; 4], u16) = ([127, 0, 0, 1], 8000);

fn dropped(first_ns: u64, reason: u16) -> Facts {
    let mut facts = Facts {
        first_ns,
        first_drop_ns: first_ns,
        last_drop: last_drop::SKB + segment::SYN as u8,
        ..Facts::default()
    };
    facts.skb_drops[segment::SYN] = SkbDrop {
        count: 1,
        reason,
        ..SkbDrop::default()
    };
    facts
}

fn booked(tuples: &Tuples, slab: &Slab, snapshot: &Snapshot) -> Ledger {
    let names = Names::of_drops(&[(1, "NETFILTER_DROP"), (2, "NO_SOCKET"), (3, "NEIGH_FAILED")]);
    let context = Context {
        sight: Sight {
            states: true,
            drops: true,
            drop_reasons: true,
            syns: true,
            resets: true,
            ..Sight::default()
        },
        names: &names,
    };
    let run = Run {
        tuples,
        target: TARGET.into(),
        slab,
        epoch_ns: 1_000,
        translated: &HashSet::new(),
    };
    let looked_up = |tuple: &Tuple| Ok(snapshot.facts.get(tuple).copied());
    let ends = ServerEnds::new(slab.len(), TARGET.into());
    let booked = book(&run, &ends, snapshot, &looked_up, &context);
    booked.unwrap().0
}

#[test]
fn attempts_that_had_the_same_port_one_after_another_keep_their_own_facts() {
    let tuples = Tuples::new([127, 0, 1, 1].into(), 1, 3, None, 3).unwrap();
    let slab = Slab::create(3).unwrap();
    for (index, started_ms) in [0, 500, 1000].into_iter().enumerate() {
        let outcome = Outcome {
            stage: Stage::GaveUp,
            tries: 1,
            port: 30_000,
            started_ms,
            settle_us: 300_000,
            ..Outcome::default()
        };
        slab.set(index, outcome);
    }
    let tuple = tuple(([127, 0, 1, 1], 30_000).into(), TARGET.into());
    let mut snapshot = Snapshot::default();
    let ms = 1_000_000;
    snapshot.generations.push((tuple, dropped(20 * ms, 1)));
    snapshot.generations.push((tuple, dropped(520 * ms, 3)));
    snapshot.facts.insert(tuple, dropped(1020 * ms, 1));
    let ledger = booked(&tuples, &slab, &snapshot);
    let lost = |cause| ledger.lost.get(&cause).map_or(0, |loss| loss.count);
    assert_eq!(
        (lost(Cause::NetfilterIn), lost(Cause::Neighbour)),
        (2, 1),
        "{ledger:#?}"
    );
}

#[test]
fn attempts_that_never_learnt_their_port_have_what_nobody_else_has() {
    let tuples = Tuples::new([127, 0, 1, 1].into(), 1, 4, None, 4).unwrap();
    let slab = Slab::create(4).unwrap();
    let refused = |port, started_ms, stage| Outcome {
        stage,
        tries: 1,
        errno: libc::ECONNREFUSED as u16,
        port,
        started_ms,
        settle_us: 100,
        ..Outcome::default()
    };
    // The second began after the third: it was tried again.
    slab.set(0, refused(0, 10, Stage::Failed));
    slab.set(1, refused(0, 30, Stage::Connect));
    slab.set(2, refused(0, 20, Stage::Failed));
    slab.set(3, refused(30_003, 20, Stage::Failed));
    let ms = 1_000_000;
    let mut snapshot = Snapshot::default();
    for (port, first_ns, reason) in [
        (30_000, 10 * ms, 2),
        (30_001, 20 * ms, 3),
        (30_002, 30 * ms, 1),
        (30_003, 20 * ms, 2),
    ] {
        let tuple = tuple(([127, 0, 1, 1], port).into(), TARGET.into());
        snapshot
            .facts
            .insert(tuple, dropped(first_ns + 2_000, reason));
    }
    let ledger = booked(&tuples, &slab, &snapshot);
    let found: Vec<_> = ledger
        .attempts
        .iter()
        .map(|attempt| (&*attempt.source, &*attempt.verdict))
        .collect();
    let expected = [
        ("127.0.1.1:30000", "refused"),
        ("127.0.1.1:30002", "netfilter-in"),
        ("127.0.1.1:30001", "neighbour"),
        ("127.0.1.1:30003", "refused"),
    ];
    assert_eq!(found, expected);

    // Without an entry nothing is known: least of all that no RST came.
    let ledger = booked(&tuples, &slab, &Snapshot::default());
    let verdicts: Vec<_> = ledger
        .attempts
        .iter()
        .map(|attempt| &*attempt.verdict)
        .collect();
    assert_eq!(verdicts[..3], ["not-observable"; 3]);
}

proptest! {
    #[test]
    fn a_client_s_ledger_balances_whatever_happened(
        outcomes in prop::collection::vec((0..12_u8, 0..140_u16, 0..4_u16, 0..2000_u32), 1..40),
        facts in prop::collection::vec((0..4_u16, 0..2000_u64, 0..4_u16), 0..8),
        kernel in any::<bool>(),
    ) {
        let len = outcomes.len();
        let first_port = (!kernel).then_some(0);
        let tuples = Tuples::new([127, 0, 1, 1].into(), 1, 40, first_port, len).unwrap();
        let slab = Slab::create(len).unwrap();
        let mut attempted = 0;
        for (index, (stage, errno, port, started_ms)) in outcomes.into_iter().enumerate() {
            let stage = Stage::from_u8(stage);
            attempted += u64::from(stage != Stage::Planned);
            slab.set(index, Outcome { stage, errno, port, started_ms, ..Outcome::default() });
        }
        let mut snapshot = Snapshot::default();
        for (port, ms, reason) in facts {
            let tuple = tuple(([127, 0, 1, 1], port).into(), TARGET.into());
            snapshot.facts.insert(tuple, dropped(ms * 1_000_000, reason));
        }
        let ledger = booked(&tuples, &slab, &snapshot);
        prop_assert!(ledger.is_balanced() && ledger.attempted == attempted, "{:?}", ledger);
    }
}

#[test]
fn a_server_s_end_at_another_address_is_another_run_s() {
    let tuples = Tuples::new([127, 0, 1, 1].into(), 1, 1, Some(10_000), 1).unwrap();
    let slab = Slab::create(1).unwrap();
    let index = Index::new(&tuples, &slab);
    let mut ends = ServerEnds::new(1, TARGET.into());
    let from = SocketAddr::from(([127, 0, 1, 1], 10_000));
    let other = tuple(from, ([127, 0, 0, 2], TARGET.1).into());
    ends.settle(&index, &HashMap::from([(other, changed::CLOSED)]));
    assert!(!ends.are_complete());
    let own = tuple(from, TARGET.into());
    ends.settle(&index, &HashMap::from([(own, changed::CLOSED)]));
    assert!(ends.are_complete());
}
