//! Somebody's command under the tracer: started as the user who called sudo, in a process group of its own,
//! so that Ctrl-C reaches the tracer first.

use std::{
    io::{self, IsTerminal as _},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};

use crate::options::Identity;

/// How long it gets to end by itself once asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look whether its children are gone, whom nobody here can wait for.
const POLL: Duration = Duration::from_millis(20);

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
        if io::stdin().is_terminal() {
            // Not in the foreground, it would be stopped for good if it read from there.
            command.stdin(Stdio::null());
        }
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

    /// Its process group, as long as it has not ended.
    fn group(&self) -> Option<Pid> {
        self.child.id().and_then(|pid| Pid::from_raw(pid as i32))
    }

    /// Asks it and its children to end, where nothing can be waited for.
    pub(super) fn ask_to_end(&self) -> impl FnOnce() + Send + use<> {
        let group = self.group();
        move || {
            if let Some(group) = group {
                // It may have ended meanwhile.
                let _ = kill_process_group(group, Signal::TERM);
            }
        }
    }

    /// Asks it and its children to end, and does not take no for an answer. One that has ended by itself may have left
    /// children on purpose, as a daemon does.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        let Some(group) = self.group() else {
            return Ok(());
        };
        for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, signal);
            if tokio::time::timeout(PATIENCE, self.gone(group))
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
        // Children that are dead may stay in the group as long as nobody reaps them.
        match self.group() {
            Some(_) => anyhow::bail!("{} does not end", self.name),
            None => Ok(()),
        }
    }

    /// Returns when it has ended and nobody of its group is left.
    async fn gone(&mut self, group: Pid) {
        let _ = self.child.wait().await;
        while test_kill_process_group(group).is_ok() {
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Workload {
    /// A run that fails leaves nobody of it behind.
    fn drop(&mut self) {
        if let Some(group) = self.group() {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
