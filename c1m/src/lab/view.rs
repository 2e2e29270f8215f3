//! The labs with programs that are not c1m's: which of them can be shown so, and what their record says then.
//!
//! Such programs tell nothing. The record is made of what the kernel saw of the server's port, so the truth is the same
//! with another reading: what the server's program ended is closed, for it was its own affair.

use super::{host, truth::Truth};
use crate::report::record::Record;

/// Who runs in a lab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Programs {
    /// `c1m server` and `c1m client`.
    #[default]
    Ours,
    /// [`super::plain`].
    Foreign,
}

/// Labs that plain programs do not fit, and why.
const NOT_FOREIGN: &[(&str, &str)] = &[
    ("fastopen", ALREADY),
    ("fastopen-closed", ALREADY),
    ("io-uring", ALREADY),
    ("reset-queued", ALREADY),
    ("time-wait-overflow", ALREADY),
    ("fin-wait-2-timeout", ALREADY),
    ("server-exited-mptcp", ALREADY),
    ("accept-queue-full-ack-late", ALREADY),
    ("reset-by-peer-elsewhere-again", ALREADY),
    (
        "ack-rejected-deferred",
        "others of the lab's own connect to its server, too",
    ),
    (
        "no-memory",
        "socket() says ENFILE, and where functions are not hooked that may as well be fs.file-max",
    ),
    (
        "closed-by-server-nat",
        "the server's port is not the one that the kernel is asked about",
    ),
    (
        "client-exited",
        "it kills one of the workers that c1m's client has",
    ),
];

const ALREADY: &str = "its programs are the lab's own, and not c1m's";

/// Likewise all that change settings of the whole host.
const ALONE: &str = "it is shown in virtual machines alone, with c1m's programs";

/// Why a lab cannot be shown with plain programs.
pub(super) fn why_not_foreign(lab: &str) -> Option<&'static str> {
    if !host::changed_by(lab).is_empty() {
        return Some(ALONE);
    }
    let found = NOT_FOREIGN.iter().find(|(name, _)| *name == lab);
    found.map(|(_, why)| *why)
}

impl Truth {
    /// As the kernel alone tells it, by a run whose programs `ended` before the trace did.
    pub(super) fn of_the_kernel(&self, record: &Record, ended: bool) -> Self {
        let mut truth = self.clone();
        // An orderly close is the program's own business.
        truth.closed += truth.lost.remove("closed-by-server").unwrap_or(0);
        truth
            .places
            .retain(|(slug, ..)| *slug != "closed-by-server");
        if ended {
            truth.closed += truth.standing();
        }
        // What stood before is counted, too.
        truth.attempted += record.before;
        truth.closed += truth.closed_before;
        truth
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::LABS;

    #[test]
    fn what_is_not_for_plain_programs_is_a_lab() {
        for (name, why) in NOT_FOREIGN {
            assert!(LABS.iter().any(|lab| lab.name == *name), "{name}");
            assert!(!why.is_empty());
        }
    }
}
