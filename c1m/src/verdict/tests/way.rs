//! What happens to an attempt before it meets the listener.

use c1m_common::{fact::ack_refusal, state::SYN_RECV};

use super::*;

#[test]
fn an_icmp_error_is_told_from_a_reset_and_from_a_drop() {
    let lost = |cause| Verdict::Lost(cause);
    let absent = ServerEnd::Absent;
    for errno in [libc::EHOSTUNREACH, libc::ENETUNREACH, libc::ECONNREFUSED] {
        let ended = Facts {
            client: left(SYN_SENT, CLOSE, errno, 0),
            ..Facts::default()
        };
        let icmp = lost(Cause::IcmpError);
        client(Stage::Failed, errno, Some(ended), absent, icmp);
        let never = ServerVerdict::NeverEstablished(Cause::IcmpError);
        server(ended, absent, never);
        // The program took the error first, and closed.
        let closed = Facts {
            client: left(SYN_SENT, CLOSE, 0, end_flag::LOCAL),
            ..Facts::default()
        };
        client(Stage::Failed, errno, Some(closed), absent, icmp);
        client(Stage::Failed, errno, None, absent, icmp);
    }
    let mut reset = Facts {
        client: left(SYN_SENT, CLOSE, libc::ECONNREFUSED, 0),
        ..Facts::default()
    };
    reset.client.resets_received = 1;
    let refused = libc::ECONNREFUSED;
    let elsewhere = lost(Cause::NotObservable);
    client(Stage::Failed, refused, Some(reset), absent, elsewhere);
    // What is left of the facts may be another attempt's.
    let older = Facts {
        reused: 1,
        ..Facts::default()
    };
    client(Stage::Failed, refused, Some(older), absent, elsewhere);
    let mut dropped = freed(segment::SYN, "NEIGH_FAILED", drop_flag::OUTPUT);
    dropped.client = left(SYN_SENT, CLOSE, libc::EHOSTUNREACH, 0);
    let neighbour = lost(Cause::Neighbour);
    client(
        Stage::Failed,
        libc::EHOSTUNREACH,
        Some(dropped),
        absent,
        neighbour,
    );
}

#[test]
fn whoever_connects_to_itself_stands_nowhere() {
    let names = names();
    let context = Context {
        sight: sight(),
        names: &names,
    };
    let itself = |stage| Attempt {
        outcome: Outcome {
            stage,
            ..Outcome::default()
        },
        to_itself: true,
        ..Attempt::default()
    };
    for stage in [Stage::Established, Stage::Lost, Stage::Closed] {
        let lost = Verdict::Lost(Cause::SelfConnect);
        assert_eq!(judge_client(&itself(stage), &context), lost);
    }
    let ends = Ends {
        to_itself: true,
        ..Ends::default()
    };
    let open = Facts {
        client: left(SYN_SENT, SYN_RECV, 0, end_flag::FAILURE),
        ..Facts::default()
    };
    let lost = ServerVerdict::NeverEstablished(Cause::SelfConnect);
    assert_eq!(judge_server(&open, ends, &context), lost);
    // A SYN that met nobody is refused, also where its own port is the server's.
    let gave_up = Facts {
        client: left(SYN_SENT, CLOSE, 0, end_flag::LOCAL),
        ..Facts::default()
    };
    let lost = ServerVerdict::NeverEstablished(Cause::GaveUp);
    assert_eq!(judge_server(&gave_up, ends, &context), lost);
}

#[test]
fn a_drop_on_the_way_decides_only_if_the_listener_can_have_dropped_nothing_unseen() {
    let names = names();
    let blind = Sight {
        syns: false,
        acks: false,
        ..sight()
    };
    let cause = |facts: &Facts, sight| {
        let context = Context {
            sight,
            names: &names,
        };
        trouble(facts, &context).unwrap().cause
    };
    for kind in [segment::SYN, segment::ACK] {
        let mut facts = freed(kind, "NETFILTER_DROP", 0);
        assert_eq!(cause(&facts, blind), Cause::NetfilterIn);
        (facts.syn_retransmits, facts.synack_retransmits) = (2, 2);
        assert_eq!(cause(&facts, sight()), Cause::NetfilterIn);
        assert_eq!(cause(&facts, blind), Cause::NotObservable);
        facts.skb_drops[kind].count = 3;
        assert_eq!(cause(&facts, blind), Cause::NetfilterIn);
        facts.skb_drops[kind].count = 2;
        facts.server_established_ns = 1;
        assert_eq!(cause(&facts, blind), Cause::NetfilterIn);
    }
}

#[test]
fn an_ack_whose_answer_reset_the_client_was_its_last() {
    let names = names();
    let blind = Sight {
        acks: false,
        ..sight()
    };
    let context = Context {
        sight: blind,
        names: &names,
    };
    let mut facts = freed(segment::ACK, "NO_SOCKET", 0);
    facts.synack_retransmits = 1;
    let cause = |facts: &Facts| trouble(facts, &context).unwrap().cause;
    assert_eq!(cause(&facts), Cause::NotObservable);
    facts.client.resets_received = 1;
    assert_eq!(cause(&facts), Cause::ListenerGone);
}

#[test]
fn what_became_of_the_final_ack_decides_and_not_a_syn_ack_that_was_dropped_later() {
    let mut facts = freed(segment::ACK, "NETFILTER_DROP", 0);
    facts.synack_retransmits = 1;
    let late = freed(segment::SYNACK, "IP_RPFILTER", 0);
    facts.skb_drops[segment::SYNACK] = late.skb_drops[segment::SYNACK];
    facts.last_drop = late.last_drop;
    let lost = Verdict::Lost(Cause::NetfilterIn);
    for end in [ServerEnd::Request, ServerEnd::Absent] {
        client(Stage::Established, 0, Some(facts), end, lost);
    }
    client(
        Stage::Lost,
        libc::ECONNRESET,
        Some(facts),
        ServerEnd::Absent,
        lost,
    );
    facts.client = left(ESTABLISHED, CLOSE, 0, end_flag::LOCAL);
    let lost = ServerVerdict::NeverEstablished(Cause::NetfilterIn);
    server(facts, ServerEnd::Absent, lost);
    // It came as far as the listener.
    facts.ack_refusals[ack_refusal::QUEUE_FULL] = 1;
    let lost = ServerVerdict::NeverEstablished(Cause::AcceptQueueFullAck);
    server(facts, ServerEnd::Absent, lost);
}
