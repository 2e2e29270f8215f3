//! What only hooks of functions tell.

use c1m_common::fact::{Facts, ack_refusal, last_drop};

use super::{client, names, server, server_with, sight};
use crate::{
    causes::Cause,
    load::outcome::Stage,
    verdict::{Context, ServerEnd, ServerVerdict, Sight, Verdict, rules::trouble},
};

#[test]
fn a_refused_ack_is_told_by_what_the_listener_did() {
    let kinds = [
        (ack_refusal::QUEUE_FULL, 0, Cause::AcceptQueueFullAck),
        (ack_refusal::QUEUE_FULL, 1, Cause::AcceptQueueFullReset),
        (
            ack_refusal::QUEUE_FULL_COOKIE,
            0,
            Cause::AcceptQueueFullCookie,
        ),
        (ack_refusal::NO_CHILD, 0, Cause::ChildFailed),
        (ack_refusal::NO_CHILD_COOKIE, 0, Cause::ChildFailed),
    ];
    for (kind, resets_sent, cause) in kinds {
        let mut facts = Facts {
            last_drop: last_drop::ACK + kind as u8,
            ..Facts::default()
        };
        facts.ack_refusals[kind] = 1;
        facts.server.resets_sent = resets_sent;
        let lost = Verdict::Lost(cause);
        client(Stage::Established, 0, Some(facts), ServerEnd::Absent, lost);
        let never = ServerVerdict::NeverEstablished(cause);
        server(facts, ServerEnd::Absent, never);
        // A queue may have been accepted before it was read.
        let unseen = Sight {
            overflows_unseen: true,
            ..sight()
        };
        let never = ServerVerdict::NeverEstablished(match cause {
            Cause::ChildFailed => Cause::NotObservable,
            cause => cause,
        });
        server_with(unseen, facts, ServerEnd::Absent, never);
    }
}

#[test]
fn our_own_stack_s_reset_for_no_socket_is_a_refusal_without_a_drop_s_reason() {
    let mut facts = Facts::default();
    facts.client.resets_received = 1;
    facts.server.resets_sent = 1;
    let refused = |facts, cause| {
        let lost = Verdict::Lost(cause);
        client(
            Stage::Failed,
            libc::ECONNREFUSED,
            Some(facts),
            ServerEnd::Absent,
            lost,
        );
    };
    refused(facts, Cause::Refused);
    facts.server.reset_state = c1m_common::state::LISTEN;
    refused(facts, Cause::Unexplained);
}

#[test]
fn a_syn_freed_without_a_reason_forbids_to_speak_of_silence() {
    let mut facts = Facts {
        syns_freed_unseen: 2,
        syn_retransmits: 2,
        ..Facts::default()
    };
    let judged = |facts, cause| {
        let lost = Verdict::Lost(cause);
        client(
            Stage::Failed,
            libc::ETIMEDOUT,
            Some(facts),
            ServerEnd::Absent,
            lost,
        );
    };
    judged(facts, Cause::NotObservable);
    facts.synack_retransmits = 1;
    judged(facts, Cause::SynackLost);
}

#[test]
fn a_failed_check_is_told_only_if_the_queue_within_was_seen() {
    let mut facts = Facts {
        last_drop: last_drop::ACK + ack_refusal::CHECK as u8,
        ..Facts::default()
    };
    facts.ack_refusals[ack_refusal::CHECK] = 1;
    let judged = |acks| {
        let names = names();
        let sight = Sight { acks, ..sight() };
        let context = Context {
            names: &names,
            sight,
        };
        trouble(&facts, &context).map(|trouble| trouble.cause)
    };
    assert_eq!(judged(true), Some(Cause::AckRejected));
    assert_eq!(judged(false), Some(Cause::NotObservable));
}
