//! `--cost`: what the trace itself cost, in a file.

use std::{fs, os::fd::OwnedFd, time::Duration};

use anyhow::Context as _;
use aya::sys::{Stats, enable_stats};

use crate::{cli::TraceArgs, watch::Watch};

/// Has the kernel count runs and times of programs, as long as what it returns is kept.
pub(super) fn count(args: &TraceArgs) -> anyhow::Result<Option<OwnedFd>> {
    let counted = args.run_times.then(|| enable_stats(Stats::RunTime));
    counted.transpose().context(
        "--run-times: this kernel does not count what programs take, which needs Linux 5.8",
    )
}

/// Writes the file, if there is to be one. `table` is the time from the last attempt to the table, if it is known.
pub(super) fn save(
    trace: Option<&TraceArgs>,
    watch: &Watch,
    table: Option<Duration>,
) -> anyhow::Result<()> {
    let Some(file) = trace.and_then(|trace| trace.cost.as_deref()) else {
        return Ok(());
    };
    let Some(mut cost) = watch.cost()? else {
        return Ok(());
    };
    cost.table_s = table.map_or(0.0, |table| table.as_secs_f64());
    let text = serde_json::to_string_pretty(&cost)?;
    fs::write(file, text + "\n")
        .with_context(|| format!("cannot write the trace's cost to {}", file.display()))
}
