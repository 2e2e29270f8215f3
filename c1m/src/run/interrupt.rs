//! SIGINT, SIGTERM and SIGHUP: the first ends the run and lets the report come, the second ends the program.

use std::fs;

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

/// The signals that end a run.
pub(super) struct Interrupt {
    int: Signal,
    term: Signal,
    /// Unless it is ignored, as nohup(1) has it.
    hup: Option<Signal>,
    /// One has come.
    has_come: bool,
}

impl Interrupt {
    /// Catches them from now on.
    pub(super) fn new() -> anyhow::Result<Self> {
        let hup = (!ignores_hangup()).then(|| signal(SignalKind::hangup()));
        Ok(Self {
            int: signal(SignalKind::interrupt()).context("SIGINT")?,
            term: signal(SignalKind::terminate()).context("SIGTERM")?,
            hup: hup.transpose().context("SIGHUP")?,
            has_come: false,
        })
    }

    /// Returns at the first.
    pub(super) async fn first(&mut self) {
        let hung_up = async {
            match &mut self.hup {
                Some(hup) => hup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
            _ = hung_up => {}
        }
        self.has_come = true;
    }

    /// From now on the second signal ends this process at once, after `last`; its workers end with it. A first that comes only
    /// now finds a run that has ended by itself, and lets its report come. That of a terminal counts as a first alone: the
    /// shell and the kernel both send it.
    pub(super) fn second_kills(mut self, last: impl FnOnce() + Send + 'static) -> Impatience {
        Impatience(tokio::spawn(async move {
            if !self.has_come {
                self.first().await;
            }
            tokio::select! {
                _ = self.int.recv() => {}
                _ = self.term.recv() => {}
            }
            last();
            std::process::exit(130);
        }))
    }
}

/// As long as this lives, a second signal ends the process.
#[must_use = "it lasts as long as it is kept"]
pub(super) struct Impatience(JoinHandle<()>);

impl Drop for Impatience {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether this process was started with SIGHUP ignored.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first bit is that of signal 1.
    ignored.is_some_and(|mask| mask & 1 << (libc::SIGHUP - 1) != 0)
}
