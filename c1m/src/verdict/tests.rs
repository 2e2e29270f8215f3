//! Rules as cases: facts as data, and the verdict they must give.
#![expect(clippy::unwrap_used, reason = "tests")]

use c1m_common::{
    fact::{End, Facts, SkbDrop, drop_flag, end_flag, last_drop, segment, syn_drop},
    state::{CLOSE, CLOSE_WAIT, ESTABLISHED, FIN_WAIT1, SYN_SENT},
    tuple::Tuple,
};

use super::*;
use crate::load::outcome::Stage;

mod after;

mod late;

mod functions;

mod way;

const REASONS: [&str; 13] = [
    "NOT_SPECIFIED",
    "NETFILTER_DROP",
    "TCP_FLAGS",
    "TCP_LISTEN_OVERFLOW",
    "NO_SOCKET",
    "TCP_INVALID_SYN",
    "NEIGH_FAILED",
    "IP_RPFILTER",
    "TCP_INVALID_ACK_SEQUENCE",
    "TCP_RFC7323_PAWS",
    "TCP_FASTOPEN",
    "TCP_OVERWINDOW",
    "TCP_CSUM",
];

fn sight() -> Sight {
    Sight {
        states: true,
        drops: true,
        drop_reasons: true,
        syns: true,
        acks: true,
        resets: true,
        server_end: true,
        ..Sight::default()
    }
}

pub(super) fn names() -> Names {
    let numbered = |(number, name): (usize, &&'static str)| (number as u32, *name);
    Names::of_drops(&REASONS.iter().enumerate().map(numbered).collect::<Vec<_>>())
}

fn reason(name: &str) -> u16 {
    REASONS.iter().position(|its| *its == name).unwrap() as u16
}

/// One freed segment of a kind.
fn freed(kind: usize, name: &str, flags: u8) -> Facts {
    let mut facts = Facts {
        first_drop_ns: 1,
        last_drop_ns: 1,
        last_drop: last_drop::SKB + kind as u8,
        ..Facts::default()
    };
    facts.skb_drops[kind] = SkbDrop {
        count: 1,
        reason: reason(name),
        flags,
        ..SkbDrop::default()
    };
    facts
}

fn left(from: u8, to: u8, err: i32, flags: u8) -> End {
    End {
        closed_ns: 2,
        from,
        to,
        err: err as u16,
        flags,
        ..End::default()
    }
}

#[track_caller]
fn server(facts: Facts, end: ServerEnd, expected: ServerVerdict) {
    server_with(sight(), facts, end, expected);
}

#[track_caller]
fn server_with(sight: Sight, facts: Facts, end: ServerEnd, expected: ServerVerdict) {
    let names = names();
    let context = Context {
        sight,
        names: &names,
    };
    let ends = Ends {
        server: end,
        ..Ends::default()
    };
    assert_eq!(judge_server(&facts, ends, &context), expected);
}

#[track_caller]
fn client(stage: Stage, errno: i32, facts: Option<Facts>, end: ServerEnd, expected: Verdict) {
    client_with(sight(), (stage, errno), facts, end, expected);
}

#[track_caller]
fn client_with(
    sight: Sight,
    (stage, errno): (Stage, i32),
    facts: Option<Facts>,
    end: ServerEnd,
    expected: Verdict,
) {
    let names = names();
    let context = Context {
        sight,
        names: &names,
    };
    let attempt = Attempt {
        outcome: Outcome {
            stage,
            errno: errno as u16,
            port: 10_000,
            ..Outcome::default()
        },
        facts: facts.as_ref(),
        server: end,
        to_itself: false,
    };
    assert_eq!(judge_client(&attempt, &context), expected);
}

#[test]
fn an_ack_that_is_dropped_after_both_ends_are_gone_is_no_attempt() {
    use ServerVerdict::*;
    let dropped = freed(segment::ACK, "NETFILTER_DROP", 0);
    server(dropped, ServerEnd::Absent, Stray);
    let lost = NeverEstablished(Cause::NetfilterIn);
    server(dropped, ServerEnd::Request, lost);
    let repeated = Facts {
        synack_retransmits: 1,
        ..dropped
    };
    server(repeated, ServerEnd::Absent, lost);
    let half_open = Facts {
        client: left(ESTABLISHED, FIN_WAIT1, 0, end_flag::LOCAL),
        ..dropped
    };
    server(half_open, ServerEnd::Absent, lost);
}

#[test]
fn an_ack_that_is_dropped_after_its_server_has_closed_is_no_attempt() {
    let dropped = freed(segment::ACK, "NETFILTER_DROP", 0);
    let met_fin = Facts {
        client: left(ESTABLISHED, CLOSE_WAIT, 0, 0),
        ..dropped
    };
    server(met_fin, ServerEnd::Absent, ServerVerdict::Counted);
    let half_open = left(ESTABLISHED, FIN_WAIT1, 0, end_flag::LOCAL);
    let closing = Facts {
        client: half_open,
        ..dropped
    };
    server(closing, ServerEnd::Closing, ServerVerdict::Stray);
}

#[test]
fn a_client_that_times_out_is_lost_though_its_server_stands() {
    let mut facts = Facts {
        client: left(ESTABLISHED, CLOSE, libc::ETIMEDOUT, 0),
        ..Facts::default()
    };
    let lost = |counted| ServerVerdict::Lost(Cause::TimedOut, counted);
    server(facts, ServerEnd::Accepted, lost(Counted::Standing));
    // Its RST came through.
    facts.server = left(ESTABLISHED, CLOSE, libc::ECONNRESET, 0);
    server(facts, ServerEnd::Absent, lost(Counted::Closed));
}

#[test]
fn a_syn_that_is_still_sent_when_the_run_ends_is_given_up() {
    let sent = Facts {
        syn_retransmits: 1,
        ..Facts::default()
    };
    let gave_up = ServerVerdict::NeverEstablished(Cause::GaveUp);
    server(sent, ServerEnd::Absent, gave_up);
}

#[test]
fn a_damaged_segment_is_no_attempt_by_itself() {
    let damaged = freed(segment::SYN, "TCP_CSUM", 0);
    server(damaged, ServerEnd::Absent, ServerVerdict::Damaged);
    let again = Facts {
        syn_retransmits: 1,
        ..damaged
    };
    let lost = ServerVerdict::NeverEstablished(Cause::BadSegment);
    server(again, ServerEnd::Absent, lost);
}

#[test]
fn an_ack_that_is_dropped_in_the_life_of_a_connection_is_no_trouble_of_its_handshake() {
    let dropped = freed(segment::ACK, "NETFILTER_DROP", 0);
    server(dropped, ServerEnd::Accepted, ServerVerdict::Counted);
    let stands = Verdict::Standing(None);
    client(
        Stage::Established,
        0,
        Some(dropped),
        ServerEnd::Accepted,
        stands,
    );
    let before = Facts {
        server_established_ns: 3,
        ..dropped
    };
    let cause = Cause::NetfilterIn;
    server(before, ServerEnd::Accepted, ServerVerdict::Recovered(cause));
    client(
        Stage::Established,
        0,
        Some(before),
        ServerEnd::Accepted,
        Verdict::Standing(Some(cause)),
    );
}

#[test]
fn an_ack_of_a_connection_long_gone_is_no_invalid_syncookie() {
    let mut stray = freed(segment::ACK, "TCP_FLAGS", drop_flag::RX_LISTENER);
    stray.server.resets_sent = 1;
    server(stray, ServerEnd::Absent, ServerVerdict::Stray);
    let cookies = Sight {
        cookies_failed: true,
        ..sight()
    };
    server_with(cookies, stray, ServerEnd::Absent, ServerVerdict::Stray);
    // Its client had closed, or its server had.
    stray.client.resets_received = 1;
    server(stray, ServerEnd::Absent, ServerVerdict::Stray);
    server_with(cookies, stray, ServerEnd::Absent, ServerVerdict::Stray);
    stray.client = End {
        resets_received: 1,
        ..left(ESTABLISHED, CLOSE, libc::ECONNRESET, 0)
    };
    server(stray, ServerEnd::Absent, ServerVerdict::Stray);
    let invalid = ServerVerdict::NeverEstablished(Cause::CookieInvalid);
    server_with(cookies, stray, ServerEnd::Absent, invalid);
}

#[test]
fn a_time_out_that_met_icmp_errors_is_a_time_out() {
    let gone = |err, flags| Facts {
        server: left(ESTABLISHED, CLOSE, err, flags),
        ..Facts::default()
    };
    for err in [libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ENETUNREACH] {
        let lost = ServerVerdict::Lost(Cause::TimedOut, Counted::Failed);
        server(gone(err, 0), ServerEnd::Absent, lost);
    }
    let queued = gone(libc::ECONNRESET, end_flag::NO_SOCKET);
    let lost = ServerVerdict::Lost(Cause::ResetQueued, Counted::Failed);
    server(queued, ServerEnd::Absent, lost);
    let reset = gone(libc::ECONNRESET, 0);
    server(reset, ServerEnd::Absent, ServerVerdict::Counted);
}

#[test]
fn a_request_that_expired_is_told_although_the_server_then_answers_with_a_reset() {
    let mut facts = freed(segment::ACK, "TCP_FLAGS", drop_flag::RX_LISTENER);
    facts.synack_retransmits = 2;
    let lost = Verdict::Lost(Cause::RequestExpired);
    client(
        Stage::Lost,
        libc::ECONNRESET,
        Some(facts),
        ServerEnd::Absent,
        lost,
    );
}

#[test]
fn a_connect_without_a_syn_is_told_by_its_errno() {
    for (errno, cause) in [
        (libc::EINVAL, Cause::NoRoute),
        (libc::ENETUNREACH, Cause::NoRoute),
        (libc::EACCES, Cause::Denied),
        (libc::EADDRNOTAVAIL, Cause::TupleBusy),
    ] {
        let lost = Verdict::Lost(cause);
        client(Stage::Connect, errno, None, ServerEnd::Absent, lost);
    }
    for (errno, cause) in [
        (libc::EADDRNOTAVAIL, Cause::SourceNotLocal),
        (libc::EADDRINUSE, Cause::BindConflict),
        (libc::EPERM, Cause::Denied),
        (libc::ENOMEM, Cause::NoMemory),
    ] {
        let lost = Verdict::Lost(cause);
        client(Stage::Bind, errno, None, ServerEnd::Absent, lost);
    }
    let tuple = |client_port| Tuple {
        client_port,
        ..Tuple::default()
    };
    assert_eq!(judge_unsent(&tuple(0)), Cause::PortsExhausted);
    assert_eq!(judge_unsent(&tuple(1)), Cause::TupleBusy);
}

#[test]
fn who_gave_up_is_told_from_a_drop_before() {
    let gave_up = Facts {
        client: left(SYN_SENT, CLOSE, 0, end_flag::LOCAL),
        ..Facts::default()
    };
    let lost = ServerVerdict::NeverEstablished;
    server(gave_up, ServerEnd::Absent, lost(Cause::GaveUp));
    let mut dropped = gave_up;
    dropped.last_drop = last_drop::LISTENER + syn_drop::ACCEPT_QUEUE_FULL as u8;
    dropped.syn_drops[syn_drop::ACCEPT_QUEUE_FULL] = 2;
    server(dropped, ServerEnd::Absent, lost(Cause::AcceptQueueFullSyn));
}

#[test]
fn who_died_in_syn_sent_is_told_like_one_who_gave_up() {
    let mut facts = Facts {
        client: left(SYN_SENT, CLOSE, 0, end_flag::LOCAL | end_flag::EXITING),
        ..Facts::default()
    };
    let lost = Verdict::Lost;
    let died = |facts, cause| client(Stage::WorkerDied, 0, facts, ServerEnd::Absent, lost(cause));
    died(None, Cause::ClientExited);
    died(Some(facts), Cause::ClientExited);
    facts.last_drop = last_drop::LISTENER + syn_drop::ACCEPT_QUEUE_FULL as u8;
    facts.syn_drops[syn_drop::ACCEPT_QUEUE_FULL] = 1;
    died(Some(facts), Cause::AcceptQueueFullSyn);
    let unmade = ServerVerdict::NeverEstablished(Cause::AcceptQueueFullSyn);
    server(facts, ServerEnd::Absent, unmade);
    // What it got over does not count.
    facts.client = left(
        ESTABLISHED,
        FIN_WAIT1,
        0,
        end_flag::LOCAL | end_flag::EXITING,
    );
    died(Some(facts), Cause::ClientExited);
}

#[test]
fn another_host_s_reset_is_a_refusal_in_every_view() {
    let mut facts = Facts {
        client: left(SYN_SENT, CLOSE, libc::ECONNREFUSED, 0),
        ..Facts::default()
    };
    facts.client.resets_received = 1;
    let elsewhere = Sight {
        server_end: false,
        ..sight()
    };
    let refused = ServerVerdict::NeverEstablished;
    server_with(elsewhere, facts, ServerEnd::Absent, refused(Cause::Refused));
    // Here its sender would have been seen.
    server(facts, ServerEnd::Absent, refused(Cause::Unexplained));
}
