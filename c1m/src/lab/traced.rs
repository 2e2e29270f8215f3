//! A run under the tracer, and what it leaves.

use std::{fs, path::PathBuf};

use anyhow::{Context, bail};
use rustix::process::Signal;

use super::{
    bench::Bench,
    process::{Place, Process},
};
use crate::{netns::Netns, report::record::Record};

/// A client, or a port, under the tracer.
#[derive(Debug)]
pub(super) struct Traced {
    pub(super) process: Process,
    /// Where the record will be.
    pub(super) record: PathBuf,
}

/// What a traced run left.
#[derive(Debug)]
pub(super) struct Run {
    /// The JSON record.
    pub(super) record: Record,
    /// The table, as the user reads it.
    pub(super) printed: String,
    /// What it complained of.
    pub(super) complaints: String,
    /// The exit status.
    pub(super) status: i32,
}

impl Bench {
    /// A whole run of `c1m trace -- client` with these arguments, in the lab's own namespace. `also` is traced too.
    pub(super) fn client_run(&mut self, also: Option<&Netns>, args: &str) -> anyhow::Result<Run> {
        self.traced_client(Place::default(), also, args)?
            .finish(self)
    }
}

impl Traced {
    /// The tracer's process; the client's workers descend from it.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends the hold: what Ctrl-C does.
    pub(super) fn interrupt(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::INT)
    }

    /// Errors if it ended: the lab is not through with it.
    pub(super) fn must_run(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.process.ended()? {
            bail!(
                "the trace ended too early, with {status}: {}",
                self.process.complaints().trim()
            );
        }
        Ok(())
    }

    /// Waits for its end, and reads the record.
    pub(super) fn finish(mut self, bench: &Bench) -> anyhow::Result<Run> {
        let mut ended = None;
        bench.until("the end of the trace", || {
            ended = self.process.ended()?;
            Ok(ended.is_some())
        })?;
        let status = ended.and_then(|status| status.code()).unwrap_or(-1);
        let text = fs::read_to_string(&self.record).with_context(|| {
            let complaints = self.process.complaints();
            format!(
                "c1m trace left no record, exit status {status}: {}",
                complaints.trim()
            )
        })?;
        let record = serde_json::from_str(&text).context("the record of c1m trace")?;
        Ok(Run {
            record,
            printed: self.process.output(),
            complaints: self.process.complaints(),
            status,
        })
    }
}
