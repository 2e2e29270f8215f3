//! Somebody's command under the tracer: started as the user who called sudo, in a process group of its own,
//! so that Ctrl-C reaches the tracer first.

use std::{io, time::Duration};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use crate::options::Identity;

/// How long it gets to end by itself once asked.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running command.
pub(super) struct Workload {
    child: Child,
    name: String,
}

impl Workload {
    /// Starts it. Errors name the command.
    pub(super) fn start(words: &[String], run_as: Option<Identity>) -> anyhow::Result<Self> {
        let (name, arguments) = words.split_first().context("no command")?;
        let mut command = Command::new(name);
        command.args(arguments).process_group(0).kill_on_drop(true);
        if let Some(identity) = run_as {
            // SAFETY: makes system calls only, and allocates nothing.
            unsafe { command.pre_exec(move || identity.assume()) };
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            child,
            name: name.clone(),
        })
    }

    /// Returns when it ends, with how it did. Cancel-safe.
    pub(super) async fn ended(&mut self) -> io::Result<String> {
        let status = self.child.wait().await?;
        Ok(format!("{} ended: {status}", self.name))
    }

    /// Asks it and its children to end, and does not take no for an answer.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
            let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid as i32)) else {
                return Ok(());
            };
            // It may have ended meanwhile.
            let _ = kill_process_group(pid, signal);
            if tokio::time::timeout(PATIENCE, self.child.wait())
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
        anyhow::bail!("{} does not end", self.name)
    }
}
