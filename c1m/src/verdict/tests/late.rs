//! Cases of what goes wrong when the handshake seems over, and later.

use super::*;

#[test]
fn a_syn_ack_that_the_client_refused_is_told_from_one_that_was_lost() {
    for (reason, flags, cause) in [
        ("TCP_INVALID_ACK_SEQUENCE", 0, Cause::SynackRejected),
        ("TCP_RFC7323_PAWS", 0, Cause::SynackRejected),
        ("NETFILTER_DROP", 0, Cause::SynackLost),
        ("NEIGH_FAILED", drop_flag::OUTPUT, Cause::SynackLost),
    ] {
        let facts = freed(segment::SYNACK, reason, flags);
        let lost = Verdict::Lost(cause);
        client(Stage::GaveUp, 0, Some(facts), ServerEnd::Request, lost);
        let lost = ServerVerdict::NeverEstablished(cause);
        server(facts, ServerEnd::Request, lost);
    }
}

#[test]
fn a_final_ack_that_fails_the_request_s_checks_is_rejected_wherever_the_kernel_says_so() {
    for flags in [0, drop_flag::RX_LISTENER, drop_flag::RX_REQUEST] {
        let facts = freed(segment::ACK, "TCP_RFC7323_PAWS", flags);
        let lost = Verdict::Lost(Cause::AckRejected);
        client(Stage::Established, 0, Some(facts), ServerEnd::Request, lost);
    }
}

#[test]
fn who_was_reset_before_he_saw_that_he_stood_is_told_like_one_who_did() {
    let mut facts = freed(segment::ACK, "TCP_LISTEN_OVERFLOW", drop_flag::RX_LISTENER);
    facts.skb_drops[segment::ACK].flags |= drop_flag::ACCEPT_QUEUE_FULL;
    facts.server.resets_sent = 1;
    facts.client = left(ESTABLISHED, CLOSE, libc::ECONNRESET, 0);
    for stage in [Stage::Failed, Stage::Lost] {
        let lost = Verdict::Lost(Cause::AcceptQueueFullReset);
        client(
            stage,
            libc::ECONNRESET,
            Some(facts),
            ServerEnd::Absent,
            lost,
        );
    }
}

#[test]
fn a_syn_that_meets_an_earlier_connection_is_told_by_what_the_server_has_of_it() {
    for (reason, flags, cause) in [
        ("NOT_SPECIFIED", drop_flag::RX_TIME_WAIT, Cause::TimeWaitHit),
        (
            "TCP_INVALID_SYN",
            drop_flag::RX_OTHER,
            Cause::StaleEstablished,
        ),
    ] {
        let mut facts = freed(segment::SYN, reason, flags);
        // The client answers the server's ACK with a reset.
        facts.client.resets_sent = 2;
        let lost = Verdict::Lost(cause);
        client(Stage::GaveUp, 0, Some(facts), ServerEnd::Absent, lost);
        facts.server_established_ns = 3;
        let stands = Verdict::Standing(Some(cause));
        client(
            Stage::Established,
            0,
            Some(facts),
            ServerEnd::Accepted,
            stands,
        );
    }
}

#[test]
fn an_ack_without_a_listener_or_without_a_child_is_told_when_the_client_is_reset() {
    let mut facts = freed(segment::ACK, "NO_SOCKET", 0);
    facts.server.resets_sent = 1;
    let lost = Verdict::Lost(Cause::ListenerGone);
    let reset = libc::ECONNRESET;
    client(Stage::Lost, reset, Some(facts), ServerEnd::Absent, lost);
    let facts = freed(segment::ACK, "TCP_LISTEN_OVERFLOW", drop_flag::RX_LISTENER);
    let lost = Verdict::Lost(Cause::ChildFailed);
    client(Stage::Established, 0, Some(facts), ServerEnd::Absent, lost);
}

#[test]
fn a_server_that_aborts_loses_its_client_unless_that_had_closed() {
    let mut facts = Facts {
        server: left(ESTABLISHED, CLOSE, 0, end_flag::LOCAL),
        client: left(ESTABLISHED, CLOSE, libc::ECONNRESET, 0),
        ..Facts::default()
    };
    let lost = ServerVerdict::Lost(Cause::ResetByPeer, Counted::Failed);
    server(facts, ServerEnd::Absent, lost);
    facts.client = left(ESTABLISHED, FIN_WAIT1, 0, end_flag::LOCAL);
    facts.server.closed_ns = facts.client.closed_ns + 1;
    server(facts, ServerEnd::Absent, ServerVerdict::ClosedBefore);
    facts.server.flags |= end_flag::EXITING;
    server(facts, ServerEnd::Absent, ServerVerdict::ClosedBefore);
    facts.client.closed_ns = facts.server.closed_ns + 1;
    let lost = ServerVerdict::Lost(Cause::ServerExited, Counted::Failed);
    server(facts, ServerEnd::Absent, lost);
    facts.filtered.closed = 1;
    server(facts, ServerEnd::Absent, ServerVerdict::ClosedBefore);
    facts.server = left(ESTABLISHED, FIN_WAIT1, 0, end_flag::LOCAL);
    server(facts, ServerEnd::Absent, ServerVerdict::Counted);
}

#[test]
fn what_carries_an_mptcp_connection_is_lost_with_its_program_though_it_stands() {
    let mut facts = Facts::default();
    server(facts, ServerEnd::Accepted, ServerVerdict::Counted);
    facts.server.flags = end_flag::EXITING;
    let lost = ServerVerdict::Lost(Cause::ServerExited, Counted::Standing);
    server(facts, ServerEnd::Accepted, lost);
}

#[test]
fn a_client_whose_server_is_elsewhere_tells_by_its_own_end() {
    let names = names();
    let context = Context {
        sight: Sight {
            server_end: false,
            ..sight()
        },
        names: &names,
    };
    let lost = |cause| ServerVerdict::Lost(cause, Counted::Failed);
    for (to, err, flags, expected) in [
        (CLOSE, libc::ECONNRESET, 0, lost(Cause::ResetByPeer)),
        (CLOSE, libc::ETIMEDOUT, 0, lost(Cause::TimedOut)),
        (CLOSE, libc::EHOSTUNREACH, 0, lost(Cause::TimedOut)),
        (CLOSE, libc::ECONNABORTED, 0, lost(Cause::Destroyed)),
        (CLOSE, 0, end_flag::LOCAL, ServerVerdict::Counted),
        (FIN_WAIT1, 0, end_flag::LOCAL, ServerVerdict::Counted),
    ] {
        let facts = Facts {
            client: left(ESTABLISHED, to, err, flags),
            ..Facts::default()
        };
        let verdict = judge_elsewhere(&facts, Ends::default(), &context);
        assert_eq!(verdict, expected, "{to} {err}");
    }
    let refused = Facts {
        client: End {
            resets_received: 1,
            ..left(SYN_SENT, CLOSE, libc::ECONNREFUSED, 0)
        },
        ..Facts::default()
    };
    let expected = ServerVerdict::NeverEstablished(Cause::Refused);
    assert_eq!(
        judge_elsewhere(&refused, Ends::default(), &context),
        expected
    );
}

#[test]
fn what_somebody_destroyed_is_no_close_of_the_server() {
    let mut facts = Facts {
        server: left(ESTABLISHED, CLOSE, libc::ECONNABORTED, 0),
        ..Facts::default()
    };
    facts.server.resets_sent = 1;
    let lost = Verdict::Lost(Cause::Destroyed);
    let (reset, absent) = (libc::ECONNRESET, ServerEnd::Absent);
    client(Stage::Lost, reset, Some(facts), absent, lost);
    let counted = |counted| ServerVerdict::Lost(Cause::Destroyed, counted);
    server(facts, absent, counted(Counted::Failed));

    // The client's end.
    facts.server = left(ESTABLISHED, CLOSE, reset, 0);
    facts.client = left(ESTABLISHED, CLOSE, libc::ECONNABORTED, 0);
    client(Stage::Lost, libc::ECONNABORTED, Some(facts), absent, lost);
    server(facts, absent, counted(Counted::Closed));
    facts.server = End::default();
    facts.server_established_ns = 3;
    server(facts, ServerEnd::Accepted, counted(Counted::Standing));

    // One that had not come so far, whatever was dropped of it.
    let mut facts = freed(segment::SYN, "NETFILTER_DROP", 0);
    facts.client = left(SYN_SENT, CLOSE, libc::ECONNABORTED, 0);
    client(Stage::Failed, libc::ECONNABORTED, Some(facts), absent, lost);
    let never = ServerVerdict::NeverEstablished(Cause::Destroyed);
    server(facts, absent, never);
}

#[test]
fn a_syn_ack_that_was_refused_is_told_without_a_drop_reason() {
    let mut facts = Facts::default();
    facts.client.flags = end_flag::REFUSED_SYNACK;
    facts.client.resets_sent = 2;
    facts.syns_freed_unseen = 1;
    let lost = Verdict::Lost(Cause::SynackRejected);
    client(Stage::GaveUp, 0, Some(facts), ServerEnd::Request, lost);
    facts.syn_retransmits = 1;
    facts.server_established_ns = 3;
    let stands = Verdict::Standing(Some(Cause::SynackRejected));
    client(
        Stage::Established,
        0,
        Some(facts),
        ServerEnd::Accepted,
        stands,
    );
}

#[track_caller]
fn half_open(sight: Sight, facts: Option<Facts>, expected: Cause) {
    let (stands, lost) = ((Stage::Established, 0), Verdict::Lost(expected));
    client_with(sight, stands, facts, ServerEnd::Absent, lost);
}

#[test]
fn a_request_that_went_with_its_listener_is_told_only_where_it_is_seen() {
    let closed = Sight {
        listener_closed: true,
        ..sight()
    };
    let seen = Sight {
        request_timers: true,
        ..closed
    };
    let orphaned = Facts {
        requests_orphaned: 1,
        ..Facts::default()
    };
    half_open(seen, Some(orphaned), Cause::ListenerGone);
    half_open(closed, None, Cause::NotObservable);
    half_open(seen, None, Cause::Unexplained);
    let repeated = Facts {
        synack_retransmits: 1,
        ..Facts::default()
    };
    half_open(sight(), Some(repeated), Cause::RequestExpired);
    half_open(closed, Some(repeated), Cause::NotObservable);
    half_open(seen, Some(repeated), Cause::RequestExpired);
    let retries = |synack_retries| Sight {
        synack_retries,
        ..sight()
    };
    half_open(retries(1), Some(repeated), Cause::RequestExpired);
    half_open(retries(2), Some(repeated), Cause::NotObservable);
}

#[test]
fn an_ack_that_no_listener_knows_went_with_one_only_if_one_was_closed() {
    let mut stray = freed(segment::ACK, "TCP_FLAGS", drop_flag::RX_LISTENER);
    stray.client = left(ESTABLISHED, CLOSE, libc::ECONNRESET, 0);
    stray.client.resets_received = 1;
    let closed = Sight {
        listener_closed: true,
        synack_retries: 5,
        ..sight()
    };
    let absent = ServerEnd::Absent;
    server(stray, absent, ServerVerdict::Stray);
    let gone = ServerVerdict::NeverEstablished(Cause::ListenerGone);
    server_with(closed, stray, absent, gone);
    // Too few for a request to expire after, whatever its listener's queue holds.
    stray.synack_retransmits = 1;
    server_with(closed, stray, absent, gone);
    // It may have expired before.
    let unseen = ServerVerdict::NeverEstablished(Cause::NotObservable);
    let one = Sight {
        synack_retries: 1,
        ..closed
    };
    server_with(one, stray, absent, unseen);
    stray.synack_retransmits = 2;
    server_with(closed, stray, absent, unseen);
}

#[test]
fn a_rule_that_resets_a_standing_connection_is_told_if_the_other_end_stands() {
    let mut facts = Facts {
        filtered: SkbDrop {
            count: 1,
            reason: reason("NETFILTER_DROP"),
            ..SkbDrop::default()
        },
        client: left(ESTABLISHED, CLOSE, libc::ECONNRESET, 0),
        ..Facts::default()
    };
    let reset = libc::ECONNRESET;
    let rule = Verdict::Lost(Cause::NetfilterIn);
    client(Stage::Lost, reset, Some(facts), ServerEnd::Accepted, rule);
    let elsewhere = Verdict::Lost(Cause::NotObservable);
    client(
        Stage::Lost,
        reset,
        Some(facts),
        ServerEnd::Absent,
        elsewhere,
    );
    let gone = Verdict::Lost(Cause::Unexplained);
    facts.client = End::default();
    facts.server = left(ESTABLISHED, CLOSE, libc::ECONNRESET, 0);
    client(Stage::Established, 0, Some(facts), ServerEnd::Absent, rule);
    facts.client.resets_sent = 1;
    client(Stage::Established, 0, Some(facts), ServerEnd::Absent, gone);
}

#[test]
fn a_syn_that_meets_its_own_fast_open_child_is_no_drop() {
    let mut facts = freed(segment::SYN, "TCP_FASTOPEN", drop_flag::RX_OTHER);
    facts.syn_retransmits = 1;
    facts.synack_retransmits = 1;
    let lost = Verdict::Lost(Cause::SynackLost);
    client(Stage::GaveUp, 0, Some(facts), ServerEnd::Closing, lost);
}

#[test]
fn a_stale_request_is_told_by_the_syn_that_met_it_or_by_its_answer() {
    let rejected = freed(segment::SYNACK, "TCP_INVALID_ACK_SEQUENCE", 0);
    let given_up = |facts, cause| {
        let lost = Verdict::Lost(cause);
        client(Stage::GaveUp, 0, Some(facts), ServerEnd::Absent, lost);
    };
    given_up(rejected, Cause::SynackRejected);
    let mut answered_again = rejected;
    answered_again.skb_drops[segment::SYN] =
        freed(segment::SYN, "TCP_OVERWINDOW", drop_flag::RX_LISTENER).skb_drops[segment::SYN];
    given_up(answered_again, Cause::StaleEstablished);

    // Where nothing tells how the SYN was freed.
    let mut challenged = Facts::default();
    challenged.client.flags = end_flag::CHALLENGED;
    given_up(challenged, Cause::StaleEstablished);
    challenged.syns_freed_unseen = 1;
    given_up(challenged, Cause::NotObservable);
    answered_again = rejected;
    answered_again.client.flags = end_flag::CHALLENGED | end_flag::REFUSED_SYNACK;
    given_up(answered_again, Cause::StaleEstablished);
}
