//! Trouble as it happens, for the live view: what the kernel side folded so far, looked at with a limit.

use c1m_common::fact::Facts;

use super::Watch;
use crate::{
    causes::Cause,
    ledger::counters::Rises,
    trace::read::Snapshot,
    verdict::{Context, trouble},
};

/// At most this many attempts are looked at at one time: it takes two system calls for each.
const LOOKED_AT_MAX: usize = 1_000;

/// How many attempts have met a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CauseSeen {
    /// The cause that an attempt would have if the run ended now.
    pub cause: Cause,
    /// How many have met it.
    pub met: u64,
    /// Of these, established at both ends since.
    pub recovered: u64,
}

/// Trouble so far. No verdict: those need the census.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// By cause, the most frequent first.
    pub causes: Vec<CauseSeen>,
    /// Whether there was more than the limit allows to look at.
    pub is_partial: bool,
}

impl Seen {
    fn note(&mut self, cause: Cause, recovered: bool) {
        let known = self.causes.iter().position(|one| one.cause == cause);
        let at = known.unwrap_or_else(|| {
            self.causes.push(CauseSeen {
                cause,
                met: 0,
                recovered: 0,
            });
            self.causes.len() - 1
        });
        self.causes[at].met += 1;
        self.causes[at].recovered += u64::from(recovered);
    }
}

/// Whether an attempt came to stand after its last drop, and stands. Whose final ACK was dropped stood at the client's end
/// before: then the server's tells.
fn is_recovered(facts: &Facts) -> bool {
    let since = facts.last_drop_ns.max(1);
    let later = facts.client_established_ns >= since || facts.server_established_ns >= since;
    later && facts.client.closed_ns == 0 && facts.server.closed_ns == 0
}

impl Watch {
    /// Trouble so far; `None` without a tracer. The work is bounded, whatever the run meets.
    pub fn seen(&self) -> Option<Seen> {
        let tracer = self.tracer.as_ref()?;
        let (facts, is_partial) = tracer.some_facts(LOOKED_AT_MAX).ok()?;
        let context = Context {
            sight: self.sight(
                &Snapshot::default(),
                true,
                &Rises::default(),
                &self.host_before,
            ),
            names: &tracer.names,
        };
        let mut seen = Seen {
            causes: Vec::new(),
            is_partial,
        };
        for facts in &facts {
            if let Some(trouble) = trouble(facts, &context) {
                seen.note(trouble.cause, is_recovered(facts));
            }
        }
        seen.causes.sort_by_key(|one| std::cmp::Reverse(one.met));
        Some(seen)
    }
}
