//! How far a run is, on stderr, where there is no view: a line now and then, without a control character.

use std::time::{Duration, Instant};

use super::scene::RunView;
use crate::{report::text::thousands, stderr::say};

/// A run that takes longer than this tells how far it is.
const QUIET: Duration = Duration::from_secs(2);
/// Nothing new is said again after this long.
const AGAIN: Duration = Duration::from_secs(10);

/// What was said.
pub(super) struct Lines {
    wanted: bool,
    started: Instant,
    last: Option<(Instant, String)>,
}

impl Lines {
    /// Nothing said yet; and nothing ever if they are not `wanted`.
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            wanted,
            started: Instant::now(),
            last: None,
        }
    }

    /// Says it, if the run is old enough to be worth it and there is news.
    pub(super) fn show(&mut self, run: &RunView) {
        if !self.wanted || self.started.elapsed() < QUIET {
            return;
        }
        let line = format!(
            "{} of {} established, {} under way, {} failed, {} lost, {} workers",
            thousands(run.standing),
            thousands(run.planned.unwrap_or(run.begun)),
            thousands(run.in_flight.unwrap_or(0)),
            thousands(run.failed),
            thousands(run.lost),
            run.workers.len()
        );
        let is_news = self
            .last
            .as_ref()
            .is_none_or(|(at, last)| *last != line || at.elapsed() > AGAIN);
        if is_news {
            say(&line);
            self.last = Some((Instant::now(), line));
        }
    }
}
