//! What a run could see at all.

use c1m_common::stats::event;

use super::Watch;
use crate::{
    host::Host,
    ledger::counters::{At, Rises},
    trace::{
        hooks::{Backend, Fact},
        read::Snapshot,
    },
    verdict::{Sight, crosscheck},
};

impl Watch {
    /// Whether `fact` is seen in the functions that make it, and not inferred.
    pub(super) fn is_seen_in_functions(&self, fact: Fact) -> bool {
        let taken = self.tracer.iter().flat_map(|tracer| &tracer.choice.taken);
        let mut told = taken.filter(|hook| hook.fact == fact);
        told.any(|hook| hook.backend != Backend::Tracepoint)
    }

    /// What this run could see.
    pub(super) fn sight(
        &self,
        snapshot: &Snapshot,
        server_end: bool,
        rises: &Rises,
        host: &Host,
    ) -> Sight {
        let choice = self.tracer.as_ref().map(|tracer| &tracer.choice);
        let has = |fact| choice.is_some_and(|choice| choice.has(fact));
        let lacks = |fact| choice.is_some_and(|choice| choice.lacks(fact));
        let rose = |name: &str, at| rises.get(name, at) > 0;
        let names = |reason| {
            let tracer = self.tracer.as_ref();
            tracer.is_some_and(|tracer| tracer.names.drop_reason(reason).is_some())
        };
        Sight {
            // Without the third program nobody counts what the other two were skipped for.
            states: has(Fact::States)
                && has(Fact::StatesByNetwork)
                && !lacks(Fact::StatesPreempted),
            // Without a reason a drop is one all the same, where any has some.
            drops: has(Fact::Drops) && (!lacks(Fact::DropReasons) || names("NOT_SPECIFIED")),
            drop_reasons: !lacks(Fact::DropReasons),
            syns: has(Fact::SynDrops),
            acks: has(Fact::AckRefusals),
            conntrack: has(Fact::ConntrackFull),
            resets: has(Fact::ResetsSent) && has(Fact::ResetsReceived),
            server_end,
            evidence_lost: !snapshot.lost.is_empty(),
            drops_lost: snapshot.drops_lost,
            interrupts_skipped: snapshot.interrupts_skipped > 0,
            conntrack_dropped: rose("ConntrackDrop", At::Both)
                || rose("ConntrackEarlyDrop", At::Both),
            // For two minutes after the first five of its life a kernel takes every ACK that no socket knows for one with a cookie
            // (`tcp_synq_no_recent_overflow` of a listener that never overflowed: jiffies pass 0 then). None was sent.
            cookies_failed: rose("TcpExtSyncookiesFailed", At::Server)
                && rose("TcpExtSyncookiesSent", At::Server),
            overflows_unseen: rises.get("TcpExtListenOverflows", At::Server)
                > crosscheck::known_overflows(&snapshot.stats),
            listener_closed: snapshot.stats.events[event::LISTENER_CLOSED] > 0,
            request_timers: self.is_seen_in_functions(Fact::RequestsExpired),
            never_aborts: [&self.host_before, host]
                .iter()
                .all(|host| host.tcp_abort_on_overflow == Some(0)),
            synack_retries: host.tcp_synack_retries.unwrap_or(0),
            files: has(Fact::FilesRefused),
            out_of_memory: has(Fact::OutOfMemory),
            // `tcp_check_req` gives reasons from when on it has one of its own.
            ack_checks: self.is_seen_in_functions(Fact::AckChecks)
                || has(Fact::AckChecks) && names("TCP_RFC7323_TSECR"),
        }
    }
}
