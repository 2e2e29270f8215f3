//! What there was when a watch begins: who stands already, and who is under way.

use std::collections::{HashMap, HashSet};

use c1m_common::{config::changed, state, tuple::Tuple};

use super::Watch;
use crate::ledger::census::Side;

impl Watch {
    /// What stood before: what the census finds, but for what the tracer saw changing until the run began.
    pub(super) fn count_before(&mut self) -> anyhow::Result<()> {
        if let Some(tracer) = &mut self.tracer {
            tracer.note_changes()?;
        }
        let clients = match self.counts_clients {
            true => self.established(Side::Client)?,
            false => HashSet::new(),
        };
        let mut found = [clients, self.established(Side::Server)?];
        let changed = match &mut self.tracer {
            Some(tracer) => {
                tracer.run()?;
                tracer.take_changed()?
            }
            None => Default::default(),
        };
        for (found, changed) in found.iter_mut().zip(changed) {
            apply(found, changed);
        }
        self.stood_before = found.map(|found| found.len() as u64);
        let mut begun = HashSet::new();
        self.each(Side::Client, 1 << state::SYN_SENT, |socket| {
            begun.insert(socket.tuple);
        })?;
        self.each(Side::Server, 1 << state::SYN_RECV, |socket| {
            begun.insert(socket.tuple);
        })?;
        self.begun_before = begun;
        Ok(())
    }

    /// Who is established at these ends now, as the census finds them.
    pub(super) fn established(&self, side: Side) -> anyhow::Result<HashSet<Tuple>> {
        let mut found = HashSet::new();
        self.each(side, 1 << state::ESTABLISHED, |socket| {
            found.insert(socket.tuple);
        })?;
        Ok(found)
    }
}

/// The last change of each tuple is right, whatever the census has found.
fn apply(found: &mut HashSet<Tuple>, changed: HashMap<Tuple, u32>) {
    for (tuple, what) in changed {
        match what {
            changed::ESTABLISHED => found.insert(tuple),
            _ => found.remove(&tuple),
        };
    }
}
