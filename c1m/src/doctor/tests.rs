#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use clap::Parser as _;

use super::{
    ask::Ask,
    facts::{Bpf, Facts, Room},
    limit::{Bound, Finding},
    predict::Prediction,
    print,
    table::LIMITS,
};
use crate::{
    cli::{Cli, Command},
    host::Host,
};

/// A host of no particular kind: nothing of it binds a million connections.
fn large() -> Facts {
    let gigabytes = |count: u64| Some(count << 30);
    Facts {
        host: Host {
            memory_bytes: gigabytes(64),
            memory_available_bytes: gigabytes(60),
            nofile_hard: Some(1_048_576),
            nr_open: Some(1_048_576),
            file_max: Some(9_223_372_036_854_775_807),
            file_nr: Some(1_000),
            somaxconn: Some(4_096),
            netdev_max_backlog: Some(1_000),
            tcp_max_syn_backlog: Some(4_096),
            tcp_syncookies: Some(1),
            ip_local_port_range: Some(vec![32_768, 60_999]),
            tcp_tw_reuse: Some(2),
            tcp_max_tw_buckets: Some(262_144),
            tcp_max_orphans: Some(262_144),
            tcp_mem: Some(vec![700_000, 900_000, 1_400_000]),
            ..Host::default()
        },
        user: "uid 1000".to_owned(),
        tcp_pages: Some(Room {
            limit: 1_400_000,
            used: 100,
        }),
        tasks: Some((
            Room {
                limit: 32_768,
                used: 200,
            },
            "kernel.pid_max".to_owned(),
        )),
        epoll_watches_max: Some(10_000_000),
        neighbours: Some(Room {
            limit: 1_024,
            used: 3,
        }),
        rp_filter: Some(0),
        bpf: Bpf {
            btf: true,
            kprobes: true,
            jit: true,
            lockdown: None,
            object: true,
        },
        is_root: true,
        may_trace: true,
        ..Facts::default()
    }
}

/// As `c1m doctor` is told by these words.
fn ask(words: &str) -> Ask {
    let words = ["c1m", "doctor"]
        .into_iter()
        .chain(words.split_whitespace());
    match Cli::try_parse_from(words).unwrap().command {
        Command::Doctor(args) => Ask::of_doctor(&args).unwrap(),
        _ => unreachable!(),
    }
}

/// What binds, and how many stand.
fn binding(facts: &Facts, words: &str) -> (&'static str, u64) {
    let prediction = Prediction::new(facts, &ask(words));
    let id = prediction.binding().map_or("", |one| one.limit.id);
    (id, prediction.stands())
}

fn finding<'a>(prediction: &'a Prediction, id: &str) -> &'a Finding {
    prediction
        .findings
        .iter()
        .find(|one| one.limit.id == id)
        .unwrap()
}

#[test]
fn the_table_is_complete() {
    let ids: BTreeSet<_> = LIMITS.iter().map(|limit| limit.id).collect();
    assert_eq!(ids.len(), LIMITS.len());
    for limit in LIMITS {
        assert!(!limit.name.is_empty() && !limit.how.is_empty(), "{limit:?}");
    }
    // A host that says nothing has no limits, and nothing panics.
    assert_eq!(
        binding(&Facts::default(), "--connections 1000000"),
        ("", 1_000_000)
    );
}

#[test]
fn a_large_host_holds_a_million() {
    assert_eq!(binding(&large(), "--connections 1000000"), ("", 1_000_000));
}

fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = large();
    change(&mut facts);
    facts
}

/// What binds a million connections, and how many stand then.
#[track_caller]
fn assert_binds(facts: &Facts, words: &str, id: &str, stands: u64) {
    let words = format!("--connections 1000000 {words}");
    assert_eq!(binding(facts, &words), (id, stands), "{words}");
}

#[test]
fn descriptors_and_files_bind() {
    // (64 − 24) ÷ 3 workers of 58 connections; a server alone has (64 − 19) ÷ 3.
    let few = with(|f| f.host.nofile_hard = Some(64));
    assert_binds(&few, "", "descriptors", 13 * 58);
    assert_binds(&few, "--end server", "descriptors", 15 * 58);
    let some = with(|f| f.host.nofile_hard = Some(20_000));
    assert_binds(&some, "--processes 3", "descriptors", 3 * 19_994);
    // (100,000 − 1,000) ÷ 2, less what 1,048,570 connections' worth of workers have open.
    let files = with(|f| f.host.file_max = Some(100_000));
    assert_binds(&files, "", "files", 49_475);
    assert_binds(&files, "--end server", "files", 98_974);
}

#[test]
fn ports_bind() {
    let kernel = "--ips 1 --ports kernel";
    assert_binds(
        &large(),
        "--ips 4 --port-range 10001-20000",
        "ports",
        40_000,
    );
    assert_binds(&large(), "--ips 4 --ports kernel", "ports", 4 * 28_232);
    assert_binds(&with(|f| f.reserved_ports = 232), kernel, "ports", 28_000);
    assert_binds(&with(|f| f.holders.live = 1_000), kernel, "ports", 27_232);
    // On one host a port in TIME_WAIT is taken again (tcp_tw_reuse 2).
    let mut closed = with(|f| f.holders.time_wait = 1_000);
    assert_binds(&closed, kernel, "ports", 28_232);
    closed.host.tcp_tw_reuse = Some(0);
    assert_binds(&closed, kernel, "ports", 27_232);
    let missing = with(|f| f.sources_missing = vec!["127.0.1.1".to_owned()]);
    assert_binds(&missing, "--ips 2", "sources", 55_536);
}

#[test]
fn memory_and_tables_of_the_kernel_bind() {
    let (limit, used) = (20_100, 100);
    let buffers = with(|f| f.tcp_pages = Some(Room { limit, used }));
    // One segment each is let in, whatever it takes.
    assert_eq!(binding(&buffers, "--connections 100000 --queued 1").0, "");
    assert_binds(&buffers, "--queued 33000", "tcp-mem", 2_222);
    // As this kernel was seen to take it.
    let seen = Facts {
        queued_pages: Some(10),
        ..buffers.clone()
    };
    assert_binds(&seen, "--queued 33000", "tcp-mem", 2_000);
    // Two segments: the second one is refused where there is pressure, unless all sockets could have as much.
    let pressed = |pressure| Facts {
        host: Host {
            tcp_mem: Some(vec![5_000, pressure, limit]),
            ..buffers.host.clone()
        },
        ..buffers.clone()
    };
    assert_binds(&pressed(15_100), "--queued 60000", "tcp-mem", 937);
    assert_binds(&pressed(5_100), "--queued 60000", "tcp-mem", 628);
    assert_binds(
        &pressed(5_100),
        "--queued 60000 --end server",
        "tcp-mem",
        1_250,
    );
    let tracked = with(|f| {
        f.host.nf_conntrack_max = Some(65_536);
        f.host.nf_conntrack_count = Some(36);
        f.tracks_connections = true;
    });
    assert_binds(&tracked, "", "conntrack", 65_500);
    let small = with(|f| f.host.memory_available_bytes = Some(1 << 30));
    assert_binds(&small, "", "memory", 123_000);
    let group = Room {
        limit: 1 << 30,
        used: 1 << 29,
    };
    let group = with(|f| f.memory_cgroup = Some((group, "memory.max".to_owned())));
    assert_binds(&group, "", "memory-cgroup", 65_000);
}

#[test]
fn who_has_cap_sys_admin_is_exempt_from_file_max() {
    let mut facts = large();
    facts.host.file_max = Some(10_000);
    facts.exempt_from_file_max = true;
    let prediction = Prediction::new(&facts, &ask("--connections 100000"));
    assert!(prediction.binding().is_none());
    let judged = &finding(&prediction, "files").judged;
    assert!(judged.here.contains("exempt"), "{judged:?}");
    assert_eq!(judged.need, "users: up to 4,475");
}

#[test]
fn loaded_but_idle_connection_tracking_is_no_limit() {
    let mut facts = large();
    facts.host.nf_conntrack_max = Some(100);
    assert_eq!(binding(&facts, "--connections 1000"), ("", 1_000));
}

#[test]
fn bursts_do_not_bound_the_count() {
    let prediction = Prediction::new(&large(), &ask("--connections 100000 --in-flight 8192"));
    assert!(prediction.binding().is_none());
    let queue = finding(&prediction, "accept-queue");
    assert_eq!(queue.judged.bound, Bound::Short);
    let fixes: Vec<String> = queue.judged.fixes.iter().map(ToString::to_string).collect();
    assert_eq!(fixes, ["sysctl -w net.core.somaxconn=8192"]);
    assert_eq!(prediction.in_the_way().count(), 1);
}

#[test]
fn what_a_limit_needs_is_what_its_setting_gives() {
    let mut facts = large();
    facts.host.nofile_hard = Some(1_024);
    facts.host.file_max = Some(50_000);
    facts.host.nf_conntrack_max = Some(1_000);
    facts.tracks_connections = true;
    let words = "--connections 2000000 --ports kernel --ips 40";
    let fixes: Vec<String> = Prediction::new(&facts, &ask(words))
        .in_the_way()
        .flat_map(|one| one.judged.fixes.iter().map(ToString::to_string))
        .collect();
    assert_eq!(
        fixes,
        [
            "sysctl -w net.netfilter.nf_conntrack_max=2097152",
            "sysctl -w fs.file-max=4194304",
            "ulimit -n 4096",
            "ulimit -n 4096",
            "sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
        ]
    );
    facts.host.nofile_hard = Some(4_096);
    facts.host.file_max = Some(4_194_304);
    facts.host.nf_conntrack_max = Some(2_097_152);
    facts.host.ip_local_port_range = Some(vec![1_024, 65_535]);
    assert_eq!(binding(&facts, words), ("", 2_000_000));
}

#[test]
fn the_answer_names_what_binds_first() {
    let mut facts = large();
    facts.host.nofile_hard = Some(64);
    facts.host.file_max = Some(5_000);
    let ask = ask("--connections 10000");
    let prediction = Prediction::new(&facts, &ask);
    let text = print::render(&facts, &ask, &prediction, 100);
    assert!(
        text.contains("754 of 10,000 will stand. Descriptors × processes will stop them"),
        "{text}"
    );
    let at = |name: &str| text.find(&format!("  {name}")).unwrap();
    assert!(at("descriptors ×") < at("open files (fs"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    assert!(!text.contains('\x1b'));
}
