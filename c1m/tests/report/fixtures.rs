//! Records to try things on.

use std::collections::BTreeMap;

use c1m::{
    causes::Cause,
    load::outcome::Stage,
    report::record::{
        Attempt, Bucket, CauseCount, Crosscheck, Detail, Latency, LossTimes, Observability,
        Percentile, Place, Point, Record, Recovery, SCHEMA, Share, States, Step, Timeline,
    },
};
use serde_json::json;

fn place(name: &str, count: u64) -> Place {
    Place {
        name: name.to_owned(),
        count,
    }
}

pub(crate) fn cause(
    cause: Cause,
    count: u64,
    places: Vec<Place>,
    evidence: &str,
    remedy: &str,
) -> CauseCount {
    CauseCount {
        slug: cause.slug().to_owned(),
        phase: cause.row().phase.slug().to_owned(),
        count,
        places,
        places_unlisted: 0,
        evidence: evidence.to_owned(),
        remedy: remedy.to_owned(),
        fixes: Vec::new(),
    }
}

pub(crate) fn attempt(source: &str, end: &str, verdict: Cause) -> Attempt {
    Attempt {
        source: source.to_owned(),
        target: "127.0.0.1:8000".into(),
        end: end.into(),
        verdict: verdict.slug().into(),
        facts: vec!["final ACK freed: NO_SOCKET at a listener with 129 of 128 queued".to_owned()]
            .into(),
        stage: Some(Stage::Established),
        errno: None,
        connect_us: Some(120),
    }
}

/// Nothing was lost.
pub(crate) fn quiet() -> Record {
    Record {
        schema: SCHEMA,
        role: "client".to_owned(),
        started: "2026-01-02T03:04:05Z".to_owned(),
        elapsed_s: 12.4,
        establish_s: 10.9,
        conn_per_s: 45_872,
        host: BTreeMap::from([("somaxconn", json!(4096))])
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        target: "127.0.0.1:8000".to_owned(),
        attempted: 500_000,
        before: 0,
        standing: 500_000,
        closed: 0,
        lost: 0,
        recovered: 0,
        balanced: true,
        causes: Vec::new(),
        recoveries: Vec::new(),
        evidence_lost: 0,
        not_observable: 0,
        unexplained: 0,
        observability: Observability {
            backend: "tracepoint".to_owned(),
            ..Observability::default()
        },
        crosscheck: Vec::new(),
        states: States::default(),
        notes: Vec::new(),
        detail: Detail::default(),
        attempts: Vec::new(),
    }
}

pub(crate) fn recovery(slug: Cause, drops: u32, delay_ms: u64, count: u64) -> Recovery {
    Recovery {
        slug: slug.slug().to_owned(),
        drops,
        delay_ms,
        count,
    }
}

/// How long the attempts of [`lossy`] took.
fn latency() -> Latency {
    let bucket = |at_most_us, count| Bucket { at_most_us, count };
    let step = |from_s, count| Step { from_s, count };
    let percentile = |(percent, at_most_us)| Percentile {
        percent,
        at_most_us,
    };
    Latency {
        count: 499_824,
        min_us: 38,
        mean_us: 6_412,
        sum_us: 0,
        max_us: 3_049_000,
        percentiles: [(50.0, 91), (99.0, 5_210), (99.99, 3_012_607)]
            .map(percentile)
            .to_vec(),
        buckets: vec![
            bucket(64, 100_000),
            bucket(128, 396_704),
            bucket(1_048_576, 3_105),
            bucket(4_194_304, 15),
        ],
        steps: vec![step(0, 496_704), step(1, 3_105), step(3, 15)],
    }
}

/// Its time line.
fn timeline() -> Timeline {
    let point = |at_ms, attempted, established, failed, accept_queue_max| Point {
        at_ms,
        attempted,
        established,
        failed,
        accept_queue_max,
    };
    let losses = |cause: Cause, counts: [u64; 4], undated| LossTimes {
        slug: cause.slug().to_owned(),
        counts: counts.to_vec(),
        undated,
    };
    Timeline {
        interval_ms: 3_000,
        points: vec![
            point(3_000, 140_000, 139_200, 0, 12),
            point(6_000, 290_000, 289_000, 0, 129),
            point(9_000, 430_000, 429_824, 100, 4_097),
            point(12_000, 500_000, 499_824, 176, 0),
        ],
        losses: vec![
            losses(Cause::AcceptQueueFullCookie, [0, 12, 500, 0], 0),
            losses(Cause::PortsExhausted, [0, 0, 100, 70], 6),
        ],
    }
}

/// Latency, time line and addresses of [`lossy`].
fn detail() -> Detail {
    let share = |name: &str, lost, recovered| Share {
        name: name.to_owned(),
        attempted: Some(250_000),
        standing: Some(250_000 - lost),
        closed: Some(0),
        lost,
        recovered,
    };
    Detail {
        latency: Some(latency()),
        timeline: Some(timeline()),
        sources: vec![share("127.0.1.7", 412, 3_000), share("127.0.1.8", 276, 120)],
        listeners: vec![Share {
            attempted: None,
            standing: None,
            closed: None,
            ..share("127.0.0.1:8000", 688, 3_120)
        }],
        shares_unlisted: 2,
    }
}

/// Two causes, recoveries, counters that agree.
pub(crate) fn lossy() -> Record {
    let counter = |counter: &str, delta, explained, made_of: &str| Crosscheck {
        counter: counter.to_owned(),
        at: "server".to_owned(),
        delta,
        explained,
        at_least: false,
        uncounted_at_most: 0,
        made_of: made_of.to_owned(),
    };
    Record {
        standing: 499_312,
        lost: 688,
        recovered: 3_120,
        causes: vec![
            cause(
                Cause::AcceptQueueFullCookie,
                512,
                vec![place("listener :8000", 512)],
                "final ACK freed with reason NO_SOCKET at a listener with 129 of 128 queued; no child",
                "listen backlog 128 < burst of up to 640: restart the server with --backlog 1024 (somaxconn \
                 4,096 allows it)",
            ),
            cause(
                Cause::PortsExhausted,
                176,
                vec![place("127.0.1.7", 100), place("127.0.1.8", 76)],
                "connect() failed with EADDRNOTAVAIL",
                "range 32768–60999 has 28,232 ports per source: 28,056 live, 176 in TIME_WAIT; sysctl -w \
                 net.ipv4.ip_local_port_range='1024 65535', or one more source address",
            ),
        ],
        recoveries: vec![
            recovery(Cause::AcceptQueueFullSyn, 1, 1_000, 3_101),
            recovery(Cause::AcceptQueueFullSyn, 2, 3_000, 15),
            recovery(Cause::SynackLost, 1, 1_000, 4),
        ],
        crosscheck: vec![
            counter(
                "ListenOverflows",
                3_643,
                3_643,
                "512 final ACKs + 3,131 SYNs",
            ),
            counter("SyncookiesFailed", 0, 0, ""),
            Crosscheck {
                at: "host".to_owned(),
                at_least: true,
                ..counter("softnet dropped", 9, 4, "4 cpu-backlog")
            },
            Crosscheck {
                uncounted_at_most: 2,
                ..counter(
                    "ListenDrops",
                    3_642,
                    3_643,
                    "512 final ACKs + 3,131 SYNs, of which 2 refused by syncookie of connections that stand may have \
                     come twice",
                )
            },
        ],
        attempts: vec![
            attempt("127.0.1.1:10000", "lost", Cause::AcceptQueueFullCookie),
            attempt("127.0.1.1:10001", "recovered", Cause::AcceptQueueFullSyn),
        ],
        detail: detail(),
        ..quiet()
    }
}

/// Everything that can be wrong with a run, at once.
pub(crate) fn troubled() -> Record {
    let mut record = lossy();
    record.role = "server".to_owned();
    record.before = 12;
    record.closed = 100;
    record.standing -= 120;
    record.lost += 20;
    record.evidence_lost = 7;
    record.not_observable = 8;
    record.unexplained = 5;
    record.crosscheck[0].delta = 3_650;
    record.crosscheck[1].explained = 2;
    record.states = States {
        time_wait: 100,
        fin_wait_2: 3,
    };
    record.notes = vec!["root is exempt from fs.file-max".to_owned()];
    record.observability.missing =
        vec!["SYN without an answer: net_dev_queue is missing".to_owned()];
    record
        .observability
        .lost_facts
        .insert("kfree_skb".to_owned(), 9);
    record
}
