use super::*;
use crate::{causes::TABLE, host::Host};

/// The words alone.
fn remedy(cause: Cause, context: &RemedyContext) -> String {
    super::remedy(cause, context).text
}

/// The settings, as they are pasted.
fn fixes(cause: Cause, context: &RemedyContext) -> Vec<String> {
    let remedy = super::remedy(cause, context);
    remedy.fixes.iter().map(Fix::to_string).collect()
}

fn context() -> RemedyContext {
    RemedyContext {
        host: Host {
            somaxconn: Some(4_096),
            ip_local_port_range: Some(vec![32_768, 60_999]),
            nofile_soft: Some(1_024),
            nofile_hard: Some(20_000),
            nr_open: Some(1_048_576),
            file_max: Some(100_000),
            file_nr: Some(99_968),
            tcp_syncookies: Some(0),
            tcp_syn_retries: Some(6),
            tcp_tw_reuse: Some(2),
            ..Host::default()
        },
        nofile: Some(1_024),
        lost: 483,
        accept_limit: Some(128),
        listener: Some("127.0.0.1:8000".to_owned()),
        server_is_c1m: true,
        client_is_c1m: true,
        timeout_ms: Some(2_500),
        sources: vec!["127.0.1.7".to_owned()],
        holders: Some(Holders {
            live: 28_056,
            time_wait: 176,
            fin_wait_2: 0,
        }),
        processes: vec!["4711 (signal 9)".to_owned()],
        ..RemedyContext::default()
    }
}

#[test]
fn a_backlog_is_the_next_power_of_two_that_holds_the_burst() {
    let text = remedy(Cause::AcceptQueueFullCookie, &context());
    assert_eq!(
        text,
        "listen backlog 128 at 127.0.0.1:8000 < burst of up to 611: restart the server with --backlog \
         1024 (somaxconn 4,096 allows it)"
    );
    let exact = RemedyContext {
        lost: 896,
        server_is_c1m: false,
        ..context()
    };
    assert!(remedy(Cause::AcceptQueueFullAck, &exact).contains("listen(fd, 1024)"));
    let shared = RemedyContext {
        listeners: 2,
        ..exact
    };
    let text = remedy(Cause::AcceptQueueFullAck, &shared);
    assert!(text.contains("one of 2 listeners") && text.contains("listen(fd, 2048)"));
}

#[test]
fn somaxconn_is_raised_only_where_it_is_in_the_way() {
    let mut context = context();
    context.host.somaxconn = Some(128);
    let text = remedy(Cause::AcceptQueueFullSyn, &context);
    assert!(text.ends_with("--backlog 1024, after sysctl -w net.core.somaxconn=1024 (now 128)"));
    context.lost = 900_000;
    let text = remedy(Cause::AcceptQueueFullSyn, &context);
    assert!(!text.contains("sysctl"), "{text}");
}

#[test]
fn syncookies_are_named_where_they_are_off() {
    let mut context = context();
    let cookies = "sysctl -w net.ipv4.tcp_syncookies=1";
    assert!(remedy(Cause::SynBacklogFull, &context).contains(cookies));
    context.host.tcp_syncookies = Some(1);
    assert!(!remedy(Cause::SynBacklogFull, &context).contains(cookies));
}

#[test]
fn the_next_limit_of_requests_is_raised_with_the_first() {
    let mut context = context();
    context.host.tcp_max_syn_backlog = Some(1_024);
    let backlog = "--backlog 1024";
    assert_eq!(fixes(Cause::SynBacklogFull, &context), [backlog]);
    context.host.tcp_max_syn_backlog = Some(256);
    let max = "sysctl -w net.ipv4.tcp_max_syn_backlog=1024";
    assert_eq!(fixes(Cause::SynBacklogFull, &context), [backlog, max]);
    let text = remedy(Cause::SynBacklogFull, &context);
    assert!(
        text.contains(&format!("{max} (now 256), or sysctl")),
        "{text}"
    );
    // The other way round.
    context.queue_seen_max = Some(193);
    assert_eq!(
        fixes(Cause::SynBacklogLastQuarter, &context),
        [max, backlog]
    );
    context.accept_limit = Some(1_024);
    assert_eq!(fixes(Cause::SynBacklogLastQuarter, &context), [max]);
}

#[test]
fn a_queue_has_room_for_those_too_that_got_over_it() {
    let context = RemedyContext {
        lost: 5,
        met: 4_005,
        ..context()
    };
    let text = remedy(Cause::AcceptQueueFullSyn, &context);
    assert!(
        text.contains("burst of up to 4,133") && text.contains("--backlog 8192"),
        "{text}"
    );
}

#[test]
fn what_the_client_has_to_change_is_of_its_namespace() {
    let mut context = context();
    context.client_host = Some(Host {
        ip_local_port_range: Some(vec![1_024, 65_535]),
        ..Host::default()
    });
    assert_eq!(
        remedy(Cause::PortsExhausted, &context),
        "range 1024–65535 has 64,512 ports per source: 28,056 live, 176 in TIME_WAIT; one more source address"
    );
}

#[test]
fn ports_name_their_holders() {
    assert_eq!(
        remedy(Cause::PortsExhausted, &context()),
        "range 32768–60999 has 28,232 ports per source: 28,056 live, 176 in TIME_WAIT; sysctl -w \
         net.ipv4.ip_local_port_range='1024 65535', or one more source address"
    );
    let many = RemedyContext {
        lost: 60_000,
        ..context()
    };
    assert!(remedy(Cause::PortsExhausted, &many).ends_with("; 3 more source addresses"));
}

#[test]
fn descriptors_respect_the_limits_of_the_host() {
    let mut context = context();
    let text = remedy(Cause::Emfile, &context);
    assert_eq!(
        text,
        "RLIMIT_NOFILE is 1,024 per process: ulimit -n 2048 before it starts, or more processes \
         (--per-worker)"
    );
    context.lost = 50_000;
    let text = remedy(Cause::Emfile, &context);
    assert!(text.contains("the hard limit here is 20,000"), "{text}");
    context.lost = 2_000_000;
    let text = remedy(Cause::Emfile, &context);
    assert!(text.contains("fs.nr_open is 1,048,576"), "{text}");
}

#[test]
fn a_timeout_lets_one_more_syn_out() {
    assert_eq!(
        remedy(Cause::GaveUp, &context()),
        "it waited 2.5 s, the next SYN would have gone after 3 s: --timeout 4s; if nothing answers then \
         either, look at the path and the server"
    );
    let mut linear = context();
    linear.host.tcp_syn_linear_timeouts = Some(4);
    for (timeout_ms, next) in [
        (2_500, "after 3 s: --timeout 4s"),
        (10_000, "after 11 s: --timeout 12s"),
    ] {
        linear.timeout_ms = Some(timeout_ms);
        let text = remedy(Cause::GaveUp, &linear);
        assert!(text.contains(next), "{text}");
    }
    assert!(remedy(Cause::SynUnanswered, &linear).starts_with("up to 11 SYNs"));
    assert!(remedy(Cause::SynUnanswered, &context()).starts_with("up to 7 SYNs"));
}

#[test]
fn an_unknown_host_gets_the_general_remedy() {
    for row in TABLE {
        let text = remedy(row.cause, &RemedyContext::default());
        assert_eq!(text, row.remedy, "{}", row.slug);
    }
}

#[test]
fn no_number_makes_it_panic() {
    let mut most = context();
    most.lost = u64::MAX;
    most.timeout_ms = Some(u64::MAX);
    most.accept_limit = Some(u32::MAX);
    most.queue_seen_max = Some(u32::MAX);
    most.host.tcp_max_syn_backlog = Some(u64::MAX);
    most.host.netdev_max_backlog = Some(u64::MAX);
    most.host.ip_local_port_range = Some(vec![0, 65_535]);
    for row in TABLE {
        assert!(!remedy(row.cause, &most).is_empty());
    }
}

#[test]
fn who_closed_is_named() {
    let text = remedy(Cause::ClosedByServer, &context());
    assert!(
        text.starts_with("pid 4711 (signal 9) closed them"),
        "{text}"
    );
    let nobody = remedy(Cause::ClosedByServer, &RemedyContext::default());
    assert_eq!(nobody, Cause::ClosedByServer.row().remedy);
}

#[test]
fn every_setting_stands_in_the_words_and_has_a_value() {
    let mut known = context();
    known.server_nofile = Some(1_024);
    known.host.tcp_max_syn_backlog = Some(64);
    known.host.nf_conntrack_max = Some(1_000);
    known.host.tcp_max_tw_buckets = Some(1_000);
    known.host.neigh_gc_thresh3 = Some(1_024);
    known.host.neighbours = Some(1_024);
    known.host.tcp_max_orphans = Some(10);
    known.host.tcp_orphans = Some(20);
    known.host.tcp_mem = Some(vec![1, 2, 3]);
    for context in [
        known.clone(),
        RemedyContext {
            server_is_c1m: false,
            client_is_c1m: false,
            ..known
        },
    ] {
        for row in TABLE {
            let text = remedy(row.cause, &context);
            for fix in fixes(row.cause, &context) {
                assert!(text.contains(&fix), "{}: {fix} is not in: {text}", row.slug);
            }
        }
    }
}

#[test]
fn settings_can_be_applied_as_they_are() {
    let mut context = context();
    context.host.somaxconn = Some(128);
    assert_eq!(
        fixes(Cause::AcceptQueueFullSyn, &context),
        ["sysctl -w net.core.somaxconn=1024", "--backlog 1024"]
    );
    context.server_is_c1m = false;
    assert_eq!(
        fixes(Cause::AcceptQueueFullSyn, &context)[1],
        "listen(fd, 1024)"
    );
    context.host.tcp_syncookies = Some(0);
    assert_eq!(
        fixes(Cause::SynBacklogFull, &context)[1],
        "listen(fd, 1024)"
    );
    context.lost = 900_000;
    assert_eq!(fixes(Cause::AcceptQueueFullSyn, &context), [""; 0]);
    assert_eq!(
        fixes(Cause::SynBacklogFull, &context),
        ["sysctl -w net.ipv4.tcp_syncookies=1"]
    );
    assert_eq!(fixes(Cause::Refused, &context), [""; 0]);
    context.lost = 483;
    assert_eq!(fixes(Cause::AcceptStarved, &context), [""; 0]);
    context.server_nofile = Some(1_024);
    assert_eq!(fixes(Cause::AcceptStarved, &context), ["ulimit -n 2048"]);
    assert_eq!(
        fixes(Cause::SourceNotLocal, &context),
        ["ip address add 127.0.1.7/32 dev DEV"]
    );
    assert_eq!(
        fixes(Cause::PortsExhausted, &context),
        ["sysctl -w net.ipv4.ip_local_port_range='1024 65535'"]
    );
}

#[test]
fn a_setting_reads_back_as_it_was_written() {
    let mut context = context();
    context.server_nofile = Some(1_024);
    for row in TABLE {
        let fixes = super::remedy(row.cause, &context).fixes;
        let json = serde_json::to_string(&fixes).expect("JSON");
        assert_eq!(serde_json::from_str::<Vec<Fix>>(&json).expect(&json), fixes);
    }
}

#[test]
fn a_syn_that_looks_old_is_helped_by_timestamps_where_they_are_off() {
    let mut context = context();
    assert!(super::remedy(Cause::TimeWaitHit, &context).fixes.is_empty());
    context.host.tcp_timestamps = Some(0);
    let remedy = super::remedy(Cause::TimeWaitHit, &context);
    let on = Fix::sysctl(Who::Server, "net.ipv4.tcp_timestamps", 1);
    assert!(remedy.text.contains(&on.to_string()), "{}", remedy.text);
    assert_eq!(remedy.fixes, [on]);
}

#[test]
fn what_the_server_waited_for_is_told_with_its_numbers() {
    let mut context = context();
    context.host.tcp_synack_retries = Some(5);
    let text = remedy(Cause::RequestExpired, &context);
    assert!(text.contains("6 SYN-ACKs within 63 s"), "{text}");
    context.host.tcp_migrate_req = Some(0);
    let text = remedy(Cause::ListenerGone, &context);
    assert!(text.contains("tcp_migrate_req=1 (now 0)"), "{text}");
    context.host.tcp_migrate_req = Some(1);
    let text = remedy(Cause::ListenerGone, &context);
    assert!(text.contains("no other listener was there"), "{text}");
}

#[test]
fn the_kernel_chooses_no_port_outside_its_range() {
    let mut context = context();
    assert_eq!(fixes(Cause::SelfConnect, &context), ["--ports kernel"]);
    context.listener = Some("[::1]:40000".to_owned());
    assert_eq!(fixes(Cause::SelfConnect, &context), [""; 0]);
}

#[test]
fn what_is_beyond_its_limit_is_raised() {
    let mut context = context();
    context.host.tcp_mem = Some(vec![1, 2, 300]);
    context.host.tcp_max_orphans = Some(10);
    context.host.tcp_pages = Some(200);
    context.host.tcp_orphans = Some(10);
    assert_eq!(fixes(Cause::MemoryPressure, &context), [""; 0]);
    context.host.tcp_orphans = Some(40);
    let raise = "sysctl -w net.ipv4.tcp_max_orphans=1024";
    assert_eq!(fixes(Cause::MemoryPressure, &context), [raise]);
    context.host.tcp_pages = Some(301);
    let raise = "sysctl -w net.ipv4.tcp_mem='512 768 1024'";
    assert_eq!(fixes(Cause::MemoryPressure, &context), [raise]);
    context.host.neigh_gc_thresh3 = Some(1_024);
    context.host.neighbours = Some(1_023);
    assert_eq!(fixes(Cause::Neighbour, &context), [""; 0]);
    context.host.neighbours = Some(1_024);
    let raise = "sysctl -w net.ipv4.neigh.default.gc_thresh3=4096";
    assert_eq!(fixes(Cause::Neighbour, &context), [raise]);
}
