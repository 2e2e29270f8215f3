//! SIGINT and SIGTERM: the first ends the run and lets the report come, the second ends the program.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// SIGINT and SIGTERM.
pub(super) struct Interrupt {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
    /// One has come.
    has_come: bool,
}

impl Interrupt {
    /// Catches them from now on.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt()).context("SIGINT")?,
            term: signal(SignalKind::terminate()).context("SIGTERM")?,
            has_come: false,
        })
    }

    /// Returns at the first.
    pub(super) async fn first(&mut self) {
        self.next().await;
        self.has_come = true;
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }

    /// From now on the second signal ends this process at once; its workers end with it. A first that comes only now finds a
    /// run that has ended by itself, and lets its report come.
    pub(super) fn second_kills(mut self) {
        tokio::spawn(async move {
            if !self.has_come {
                self.next().await;
            }
            self.next().await;
            std::process::exit(130);
        });
    }
}
