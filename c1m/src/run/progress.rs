//! How far a client is, on stderr.

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use crate::{load::client::Progress, report::text::thousands};

/// A run that takes longer than this tells how far it is.
const QUIET: Duration = Duration::from_secs(2);

/// How often it tells.
const PERIOD: Duration = Duration::from_secs(1);

/// How far a client is, on stderr: a line that changes on a terminal, one line each second elsewhere.
pub(super) struct ProgressLine {
    started: Instant,
    terminal: bool,
    shown: bool,
    last: Instant,
}

impl ProgressLine {
    /// Nothing shown yet.
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
            shown: false,
            last: Instant::now(),
        }
    }

    /// Shows it, if the run is old enough to be worth it.
    pub(super) fn show(&mut self, progress: &Progress) {
        if self.started.elapsed() < QUIET || self.last.elapsed() < PERIOD {
            return;
        }
        self.last = Instant::now();
        self.shown = true;
        let Progress {
            planned,
            in_flight,
            established,
            failed,
            lost,
            workers,
            ..
        } = *progress;
        let line = format!(
            "c1m: {} of {} established, {} under way, {} failed, {} lost, {workers} workers",
            thousands(established),
            thousands(planned),
            thousands(in_flight),
            thousands(failed),
            thousands(lost)
        );
        if self.terminal {
            eprint!("\r\x1b[K{line}");
            // Nothing to do about a terminal that is gone.
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    /// Ends the line.
    pub(super) fn end(&self) {
        if self.shown && self.terminal {
            eprintln!();
        }
    }
}
