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
    verdict::program_exited,
};

/// How long the listeners get to accept what waits, once the run is over, as long as they make headway.
const DRAIN: Duration = Duration::from_secs(5);
/// Without headway for this long, nobody accepts.
const STUCK: Duration = Duration::from_millis(400);
/// How often to look.
const POLL: Duration = Duration::from_millis(10);

/// Whether the listeners still accept what waits.
struct Headway {
    end: Instant,
    least: u64,
    moved: Instant,
}

impl Headway {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            end: now + DRAIN,
            least: u64::MAX,
            moved: now,
        }
    }

    /// Whether there is nothing to wait for any more, now that `waiting` wait.
    fn is_over(&mut self, waiting: u64) -> bool {
        if waiting < self.least {
            (self.least, self.moved) = (waiting, Instant::now());
        }
        waiting == 0 || self.moved.elapsed() > STUCK || Instant::now() > self.end
    }
}

impl Watch {
    /// Waits until the listeners have accepted what waits, or do not accept any more.
    pub async fn drain(&self) -> anyhow::Result<()> {
        let mut headway = Headway::new();
        while !headway.is_over(self.waiting()?) {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Connections in the listeners' accept queues.
    pub(super) fn waiting(&self) -> anyhow::Result<u64> {
        let listeners = self.listeners().context("the census of listeners failed")?;
        Ok(listeners
            .iter()
            .map(|(_, listener)| u64::from(listener.accept_queue))
            .sum())
    }

    /// Who stood at the server's end when [`Watch::end`] was called. What waited to be accepted then gets the
    /// time to be, as long as the listeners make headway.
    pub async fn standing(&self, snapshot: &Snapshot) -> anyhow::Result<Standing> {
        let mut sockets = Vec::new();
        // All of them before the first is judged: what changed under the census is complete only after it.
        self.each(Side::Server, census::CONNECTED, |socket| {
            sockets.push(socket)
        })?;
        let changed = self.changed(Side::Server)?;
        let mut standing = Standing::default();
        let asked = Asked {
            snapshot,
            changed: &changed,
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
            let mut left = self.still_queued(&standing.queued).await?;
            // What carries an MPTCP connection that its program has let go of belongs to nobody, and waits nowhere.
            let listeners = self.listeners()?;
            let waits = |(_, listener): &(_, census::Listener)| listener.accept_queue > 0;
            if !listeners.is_empty() && !listeners.iter().any(waits) {
                left.clear();
            }
            left.retain(|tuple| !snapshot.facts.get(tuple).is_some_and(program_exited));
            standing.leave_queued(&left);
        }
        Ok(standing)
    }

    /// Who stood at the clients' ends when [`Watch::end`] was called.
    pub(super) fn standing_clients(&self, snapshot: &Snapshot) -> anyhow::Result<Standing> {
        let mut found = self.established(Side::Client)?;
        for (tuple, what) in self.changed(Side::Client)? {
            // What changed first tells how it was before.
            match what {
                changed::ESTABLISHED => found.remove(&tuple),
                _ => found.insert(tuple),
            };
        }
        let mut standing = Standing {
            accepted: found.len() as u64,
            ..Standing::default()
        };
        found.retain(|tuple| snapshot.facts.contains_key(tuple));
        standing.clients = found;
        Ok(standing)
    }

    /// Who of `queued` is not accepted once the listeners make no more headway. Nobody, if they accept all that
    /// still waits: whoever left by himself meanwhile did not wait for long.
    async fn still_queued(&self, queued: &[Tuple]) -> anyhow::Result<HashSet<Tuple>> {
        let mut headway = Headway::new();
        let asked: HashSet<Tuple> = queued.iter().copied().collect();
        let waiting = loop {
            let begun = Instant::now();
            let mut waiting = HashSet::new();
            self.each(Side::Server, 1 << state::ESTABLISHED, |socket| {
                if socket.inode == 0 && asked.contains(&socket.tuple) {
                    waiting.insert(socket.tuple);
                }
            })?;
            // A tuple that was closed since the end is another connection now.
            let changed = self.changed(Side::Server)?;
            waiting.retain(|tuple| !changed.contains_key(tuple));
            if headway.is_over(waiting.len() as u64) {
                break waiting;
            }
            // A census of a million takes a second: looking must not be all that this machine does.
            tokio::time::sleep(POLL.max(begun.elapsed())).await;
        };
        if waiting.is_empty() {
            return Ok(waiting);
        }
        let changed = self.changed(Side::Server)?;
        let gave_up = |tuple: &&Tuple| changed.get(tuple) == Some(&changed::CLOSED_QUEUED);
        Ok(asked
            .iter()
            .filter(gave_up)
            .copied()
            .chain(waiting)
            .collect())
    }

    /// What changed first at these ends since [`Watch::end`]; nothing without a tracer.
    pub fn changed(&self, ends: Side) -> anyhow::Result<HashMap<Tuple, u32>> {
        let Some(tracer) = &self.tracer else {
            return Ok(HashMap::new());
        };
        let [clients, servers] = tracer.changed()?;
        Ok(match ends {
            Side::Client => clients,
            Side::Server => servers,
        })
    }
}
