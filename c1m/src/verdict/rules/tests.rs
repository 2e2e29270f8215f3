use c1m_common::fact::QueueState;

use super::*;
use crate::{trace::read::Names, verdict::Sight};

fn judged(reasons: &[(u32, &str)], reason: u16, flags: u8) -> Cause {
    let drop = SkbDrop {
        reason,
        flags,
        ..SkbDrop::default()
    };
    let facts = Facts {
        queue: QueueState {
            accept_queue: 9,
            accept_limit: 8,
            ..QueueState::default()
        },
        ..Facts::default()
    };
    let context = Context {
        sight: Sight::default(),
        names: &Names::of_drops(reasons),
    };
    ack_freed(&drop, &facts, &context)
}

#[test]
fn a_full_queue_tells_an_ack_without_a_reason_where_the_reason_has_no_name() {
    const FULL: u8 = drop_flag::RX_LISTENER | drop_flag::ACCEPT_QUEUE_FULL;
    let without = [(2, "NOT_SPECIFIED"), (3, "NO_SOCKET")];
    assert_eq!(judged(&without, 2, FULL), Cause::AcceptQueueFullAck);
    assert_eq!(judged(&without, 3, FULL), Cause::AcceptQueueFullCookie);
    assert_eq!(
        judged(&without, 2, drop_flag::RX_LISTENER),
        Cause::NotObservable
    );
    let no_reason = FULL | drop_flag::NO_REASON;
    assert_eq!(judged(&without, 2, no_reason), Cause::NotObservable);
    let with = [(2, "NOT_SPECIFIED"), (9, "TCP_LISTEN_OVERFLOW")];
    assert_eq!(judged(&with, 2, FULL), Cause::NotObservable);
    assert_eq!(judged(&with, 9, FULL), Cause::AcceptQueueFullAck);
}
