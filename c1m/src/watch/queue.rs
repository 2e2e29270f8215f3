//! Who stands at the end, and who only waits to be accepted: what is on its way into a program's hands at that
//! moment is not stuck.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use c1m_common::{config::changed, state, tuple::Tuple};

use super::Watch;
use crate::{
    ledger::{
        census::{self, Side},
        server::{Asked, Standing},
    },
    trace::read::Snapshot,
};

/// How long the listeners get to accept what waits, once the run is over, as long as they make headway.
const DRAIN: Duration = Duration::from_secs(5);
/// Without headway for this long, nobody accepts.
const STUCK: Duration = Duration::from_millis(400);
/// How often to look.
const POLL: Duration = Duration::from_millis(10);

impl Watch {
    /// Waits until the listeners have accepted what waits, or do not accept any more.
    pub async fn drain(&self) -> anyhow::Result<()> {
        let end = Instant::now() + DRAIN;
        let (mut last, mut moved) = (u64::MAX, Instant::now());
        loop {
            let waiting = self.waiting()?;
            if waiting < last {
                (last, moved) = (waiting, Instant::now());
            }
            if waiting == 0 || moved.elapsed() > STUCK || Instant::now() > end {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Connections in the listeners' accept queues.
    fn waiting(&self) -> anyhow::Result<u64> {
        let listeners = self.listeners().context("the census of listeners failed")?;
        Ok(listeners
            .iter()
            .map(|listener| u64::from(listener.accept_queue))
            .sum())
    }

    /// Who stood at the server's end when [`Watch::end`] was called. What waited to be accepted then gets the
    /// time to be, as long as the listeners make headway.
    pub async fn standing(&self, snapshot: &Snapshot) -> anyhow::Result<Standing> {
        let mut sockets = Vec::new();
        // Two passes, because what changed is complete only after the first.
        self.each(Side::Server, census::CONNECTED, |socket| {
            sockets.push(socket)
        })?;
        let changed = self.changed()?;
        let mut standing = Standing::default();
        let asked = Asked {
            snapshot: Some(snapshot),
            changed: Some(&changed),
        };
        for socket in &sockets {
            standing.note(socket, &asked);
        }
        standing.settle(&changed);
        if !snapshot.facts.is_empty() {
            self.each(Side::Client, 1 << state::ESTABLISHED, |socket| {
                if snapshot.facts.contains_key(&socket.tuple) {
                    standing.clients.insert(socket.tuple);
                }
            })?;
        }
        if !standing.queued.is_empty() {
            let left = self.still_queued(&standing.queued).await?;
            standing.leave_queued(&left);
        }
        Ok(standing)
    }

    /// Who of `queued` is not accepted once the listeners make no more headway. Nobody, if they accept all that
    /// still waits: whoever left by himself meanwhile did not wait for long.
    async fn still_queued(&self, queued: &[Tuple]) -> anyhow::Result<HashSet<Tuple>> {
        let end = Instant::now() + DRAIN;
        let asked: HashSet<Tuple> = queued.iter().copied().collect();
        let (mut last, mut moved) = (usize::MAX, Instant::now());
        let waiting = loop {
            let begun = Instant::now();
            let mut waiting = HashSet::new();
            self.each(Side::Server, 1 << state::ESTABLISHED, |socket| {
                if socket.inode == 0 && asked.contains(&socket.tuple) {
                    waiting.insert(socket.tuple);
                }
            })?;
            // A tuple that was closed since the end is another connection now.
            let changed = self.changed()?;
            waiting.retain(|tuple| !changed.contains_key(tuple));
            if waiting.len() < last {
                (last, moved) = (waiting.len(), Instant::now());
            }
            if waiting.is_empty() || moved.elapsed() > STUCK || Instant::now() > end {
                break waiting;
            }
            // A census of a million takes a second: looking must not be all that this machine does.
            tokio::time::sleep(POLL.max(begun.elapsed())).await;
        };
        if waiting.is_empty() {
            return Ok(waiting);
        }
        let changed = self.changed()?;
        let gave_up = |tuple: &&Tuple| changed.get(tuple) == Some(&changed::CLOSED_QUEUED);
        Ok(asked
            .iter()
            .filter(gave_up)
            .copied()
            .chain(waiting)
            .collect())
    }

    /// What changed first at each server's end since [`Watch::end`]; nothing without a tracer.
    pub fn changed(&self) -> anyhow::Result<HashMap<Tuple, u32>> {
        match &self.tracer {
            Some(tracer) => tracer.changed(),
            None => Ok(HashMap::new()),
        }
    }
}
