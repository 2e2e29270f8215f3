//! How far a run is, while it goes on: by counters alone, without a look at any single connection.

use std::collections::HashMap;

use c1m_common::{state, stats::EndStats};

use super::Watch;
use crate::{
    ledger::{
        census::{Side, Socket},
        server,
    },
    report::record::States,
    trace::{Tracer, hooks::Fact},
};

/// One look at a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Attempts begun so far.
    pub attempted: u64,
    /// Established now, as this end sees it: a half-open one is among them.
    pub established: u64,
    /// Failed or lost so far, as this end sees it.
    pub failed: u64,
    /// Connections in the listeners' accept queues now.
    pub accept_queue: u64,
}

impl Watch {
    /// The server's end as the kernel side counts it, or the client's where no server's is in sight; `None` without a tracer.
    pub fn moment(&self) -> Option<Moment> {
        let stats = self.live_stats()?;
        let servers = self.listened || stats.ends[1].established + self.stood_before[1] > 0;
        let counted = match servers || !self.counts_clients {
            true => Side::Server,
            false => Side::Client,
        };
        let end = &stats.ends[counted as usize];
        let attempted = end.established + self.stood_before[counted as usize];
        Some(Moment {
            attempted,
            // The CPUs' counters are not read at one moment: a close may be seen before its beginning.
            established: attempted.saturating_sub(end.gone()),
            failed: server::failures(counted, end),
            accept_queue: self.waiting_now(),
        })
    }

    /// Connections in the listeners' accept queues; 0 where they can't be listed.
    pub fn waiting_now(&self) -> u64 {
        self.waiting().unwrap_or(0)
    }

    /// Requests that wait for their final ACK, by port, of the listener that has the most; with the tracer, or if they
    /// may be listed. `None` where nobody can tell.
    pub fn requests(&self, may_list: bool) -> Option<HashMap<u16, u64>> {
        let mut requests = HashMap::new();
        if let Some(tracer) = &self.tracer {
            for namespace in &self.namespaces {
                for waiting in tracer.queues(namespace).ok()? {
                    let most: &mut u64 = requests.entry(waiting.at.port).or_default();
                    *most = (*most).max(waiting.queue.syn_queue.into());
                }
            }
            return Some(requests);
        }
        let mut count = |socket: Socket| {
            *requests.entry(socket.tuple.server_port).or_default() += 1;
        };
        may_list.then(|| {
            self.each(Side::Server, 1 << state::SYN_RECV, &mut count)
                .ok()
        })??;
        Some(requests)
    }

    /// The kernel side's counters now; `None` without a tracer.
    pub fn live_stats(&self) -> Option<c1m_common::stats::Stats> {
        self.tracer.as_ref()?.stats().ok()
    }

    /// Transitions so far into the states that outlive a connection.
    pub fn states(&self) -> States {
        let Some(Ok(stats)) = self.tracer.as_ref().map(Tracer::stats) else {
            return States::default();
        };
        let hooked = self.is_seen_in_functions(Fact::TimeWait);
        let time_wait = |end: &EndStats| match hooked {
            true => end.time_wait_seen,
            false => end.time_wait,
        };
        States {
            time_wait: stats.ends.iter().map(time_wait).sum(),
            fin_wait_2: stats.ends.iter().map(|end| end.fin_wait_2).sum(),
        }
    }
}
