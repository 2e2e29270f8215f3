//! SIGINT and SIGTERM: the first ends the run and lets the report come, the second ends the program.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// SIGINT and SIGTERM.
pub(super) struct Interrupt {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
}

impl Interrupt {
    /// Catches them from now on.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt()).context("SIGINT")?,
            term: signal(SignalKind::terminate()).context("SIGTERM")?,
        })
    }

    /// Returns at the first.
    pub(super) async fn first(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }

    /// From now on a signal ends this process at once; its workers end with it.
    pub(super) fn second_kills(mut self) {
        tokio::spawn(async move {
            self.first().await;
            std::process::exit(130);
        });
    }
}
