//! A program that is measured while it runs.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::command;

/// A process that is ended when it is dropped.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) lines: mpsc::Receiver<(Instant, String)>,
    pub(super) stdin: Option<ChildStdin>,
}

impl Running {
    /// Starts it, and reads what it says.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let (tell, lines) = mpsc::channel();
        for stream in [
            child
                .stdout
                .take()
                .map(|it| Box::new(it) as Box<dyn Read + Send>),
            child
                .stderr
                .take()
                .map(|it| Box::new(it) as Box<dyn Read + Send>),
        ] {
            let (stream, tell) = (stream.context("no output")?, tell.clone());
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    // Nobody listens any more once it was dropped.
                    let _ = tell.send((Instant::now(), line));
                }
            });
        }
        let stdin = child.stdin.take();
        Ok(Self {
            child,
            lines,
            stdin,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with `word`.
    pub(super) fn says(&self, word: &str, limit: Duration) -> Result<(Instant, String)> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (at, line) = self
                .lines
                .recv_timeout(left)
                .with_context(|| format!("it never said `{word}`"))?;
            if line.contains(word) {
                return Ok((at, line));
            }
        }
    }

    /// Asks it to end, and waits.
    pub(super) fn stop(mut self) -> Result<ExitStatus> {
        drop(self.stdin.take());
        command::run(Command::new("kill").args(["-TERM", &self.pid().to_string()]))?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if let Ok(None) = self.child.try_wait() {
            // It is ours, and it may be gone just now.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
