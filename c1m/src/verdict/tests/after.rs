//! What follows from a refusal is not taken for the cause.

use c1m_common::fact::ack_refusal;

use super::*;

/// A final ACK that met a full accept queue, as functions tell it.
fn refused(kind: usize) -> Facts {
    let mut facts = Facts {
        last_drop: last_drop::ACK + kind as u8,
        client: left(ESTABLISHED, CLOSE, libc::ECONNRESET, 0),
        ..Facts::default()
    };
    facts.ack_refusals[kind] = 3;
    facts
}

/// Then its client sent data, when the request was no more: the listener answered with a RST.
fn and_met_the_listener(mut facts: Facts) -> Facts {
    let stray = freed(segment::ACK, "TCP_FLAGS", drop_flag::RX_LISTENER);
    facts.skb_drops[segment::ACK] = stray.skb_drops[segment::ACK];
    facts.last_drop = stray.last_drop;
    facts.server.resets_sent = 1;
    facts.client.resets_received = 1;
    facts.requests_expired = 1;
    facts
}

#[track_caller]
fn in_both_views(sight: Sight, facts: Facts, cause: Cause) {
    let reset = (Stage::Lost, libc::ECONNRESET);
    let verdict = Verdict::Lost(cause);
    client_with(sight, reset, Some(facts), ServerEnd::Absent, verdict);
    let lost = ServerVerdict::NeverEstablished(cause);
    server_with(sight, facts, ServerEnd::Absent, lost);
    // A client on another host tells nothing.
    let remote = Facts {
        client: End::default(),
        ..facts
    };
    server_with(sight, remote, ServerEnd::Absent, lost);
}

#[test]
fn what_a_client_sends_after_its_request_is_gone_does_not_change_why_it_went() {
    let late = and_met_the_listener(refused(ack_refusal::QUEUE_FULL));
    let by_cookie = and_met_the_listener(refused(ack_refusal::QUEUE_FULL_COOKIE));
    for cookies_failed in [false, true] {
        let never = Sight {
            never_aborts: true,
            cookies_failed,
            ..sight()
        };
        in_both_views(never, late, Cause::AcceptQueueFullAck);
        in_both_views(never, by_cookie, Cause::AcceptQueueFullCookie);
    }
    // Where the queue answers by itself.
    in_both_views(sight(), late, Cause::AcceptQueueFullReset);
    // As tracepoints tell it.
    let full = drop_flag::RX_LISTENER | drop_flag::ACCEPT_QUEUE_FULL;
    let mut told = freed(segment::ACK, "TCP_LISTEN_OVERFLOW", full);
    told.client = left(ESTABLISHED, CLOSE, libc::ECONNRESET, 0);
    told.server.resets_sent = 1;
    in_both_views(sight(), told, Cause::AcceptQueueFullReset);
    let never = Sight {
        never_aborts: true,
        ..sight()
    };
    in_both_views(never, told, Cause::AcceptQueueFullAck);
}

#[test]
fn who_died_without_a_server_is_told_by_what_its_listener_refused() {
    let lost = Verdict::Lost;
    let died = |facts, cause| {
        client(
            Stage::WorkerDied,
            0,
            Some(facts),
            ServerEnd::Absent,
            lost(cause),
        );
    };
    let dying = left(
        ESTABLISHED,
        FIN_WAIT1,
        0,
        end_flag::LOCAL | end_flag::EXITING,
    );
    let half_open = Facts {
        client: dying,
        ..refused(ack_refusal::QUEUE_FULL_COOKIE)
    };
    died(half_open, Cause::AcceptQueueFullCookie);
    // Its server got it in the end.
    let stood = Facts {
        server_established_ns: 1,
        ..half_open
    };
    died(stood, Cause::ClientExited);
    // Dropped on the way, it may have been one of a connection that stood.
    let dropped = Facts {
        client: dying,
        ..freed(segment::ACK, "NETFILTER_DROP", 0)
    };
    died(dropped, Cause::ClientExited);
}

#[test]
fn a_reset_is_no_rule_s_if_its_client_is_out_of_sight() {
    let mut facts = Facts {
        filtered: SkbDrop {
            count: 1,
            reason: reason("NETFILTER_DROP"),
            ..SkbDrop::default()
        },
        server_established_ns: 1,
        server: left(ESTABLISHED, CLOSE, libc::ECONNRESET, 0),
        ..Facts::default()
    };
    server(facts, ServerEnd::Absent, ServerVerdict::Counted);
    facts.client = left(ESTABLISHED, CLOSE, 0, end_flag::LOCAL);
    let rule = ServerVerdict::Lost(Cause::NetfilterIn, Counted::Closed);
    server(facts, ServerEnd::Absent, rule);
}
