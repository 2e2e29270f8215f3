//! Records to try things on.

use std::collections::BTreeMap;

use c1m::{
    causes::Cause,
    load::outcome::Stage,
    report::record::{
        Attempt, CauseCount, Crosscheck, Observability, Place, Record, Recovery, SCHEMA, States,
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
        evidence: evidence.to_owned(),
        remedy: remedy.to_owned(),
        fixes: Vec::new(),
    }
}

pub(crate) fn attempt(source: &str, end: &str, verdict: Cause) -> Attempt {
    Attempt {
        source: source.to_owned(),
        target: "127.0.0.1:8000".to_owned(),
        end: end.to_owned(),
        verdict: verdict.slug().to_owned(),
        facts: vec!["final ACK freed: NO_SOCKET at a listener with 129 of 128 queued".to_owned()],
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

/// Two causes, recoveries, counters that agree.
pub(crate) fn lossy() -> Record {
    let counter = |counter: &str, delta, explained, made_of: &str| Crosscheck {
        counter: counter.to_owned(),
        at: "server".to_owned(),
        delta,
        explained,
        at_least: false,
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
        ],
        attempts: vec![
            attempt("127.0.1.1:10000", "lost", Cause::AcceptQueueFullCookie),
            attempt("127.0.1.1:10001", "recovered", Cause::AcceptQueueFullSyn),
        ],
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
