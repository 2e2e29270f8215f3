//! What the processors do for traced connections, by sampling: what the programs take of it, with all that enters and leaves
//! them, and what nobody here can save.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{
    Row, measure,
    measure::{Ask, Kind, Values},
};
use crate::command;

/// The name that c1m's workers go by: they are started as /proc/self/exe.
const WORKERS: &str = "exe";

/// Groups of functions, each by how their names begin; a function belongs to the first that it fits. Other functions of the
/// kernel are the last.
const GROUPS: &[(&str, &[&str])] = &[
    ("c1m's programs", &["[k] bpf_prog_"]),
    (
        "entering and leaving them, and what they call",
        &[
            "[k] bpf_trace_run",
            "[k] __bpf_trace_",
            "[k] __traceiter_",
            "[k] bpf_probe_read_",
            "[k] copy_from_kernel_nofault",
            "[k] bpf_ktime_get_",
            "[k] bpf_get_current_",
        ],
    ),
    (
        "memory of sockets, inodes and files used for the first time",
        &[
            "[k] allocate_slab",
            "[k] inode_init_once",
            "[k] clear_page",
            "[k] get_page_from_freelist",
        ],
    ),
    ("the workers' own code", &["[.] "]),
    ("the rest of the kernel", &["[k] "]),
];

/// Samples a traced run; a row for each group.
pub(super) fn run(ask: &Ask) -> Result<Vec<Row>> {
    let data = measure::file("perf.data");
    let mut record = Command::new("perf");
    record.args(["record", "--quiet", "--all-cpus", "--event", "cpu-clock"]);
    record.args(["--freq", "1999", "--output"]).arg(&data);
    let mut record = record
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start perf: `apt-get install linux-perf`")?;
    let ran = measure::run(Kind::Traced, ask);
    command::run(Command::new("kill").args(["-INT", &record.id().to_string()]))?;
    record.wait()?;
    ran?;
    let mut report = Command::new("perf");
    report.args(["report", "--stdio", "--no-children", "--comms", WORKERS]);
    report.args(["--fields", "sample,symbol", "--field-separator", "|"]);
    let report = command::output(report.arg("--input").arg(&data))?;
    rows(&report, ask.connections)
}

/// What a report of perf's says, by groups.
fn rows(report: &str, connections: u64) -> Result<Vec<Row>> {
    let mut samples = vec![0.0; GROUPS.len()];
    for line in report.lines().filter(|line| !line.starts_with('#')) {
        let Some((count, symbol)) = line.split_once('|') else {
            continue;
        };
        let fits =
            |(_, names): &(_, &[&str])| names.iter().any(|name| symbol.trim().starts_with(name));
        if let (Ok(count), Some(group)) =
            (count.trim().parse::<f64>(), GROUPS.iter().position(fits))
        {
            samples[group] += count;
        }
    }
    let all: f64 = samples.iter().sum();
    ensure!(all > 0.0, "perf has no sample of c1m's workers");
    let row = |((label, _), samples): (&(&str, _), f64)| Row {
        label: (*label).to_owned(),
        connections,
        rounds: 1,
        values: Values::from([
            ("samples".to_owned(), samples),
            ("share".to_owned(), samples / all),
        ]),
    };
    Ok(GROUPS.iter().zip(samples).map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_belongs_to_one_group() -> Result<()> {
        let report = "# Samples|Symbol\n\n   20|[k] allocate_slab\n 3|[k] bpf_trace_run3\n5|[k] tcp_v4_rcv\n\
                      2|[k] bpf_prog_0c065487d2253788_set_state_by_network\n10|[.] c1m::load::dial::run\n";
        let rows = rows(report, 200_000)?;
        let shares: Vec<f64> = rows.iter().map(|row| row.values["share"]).collect();
        assert_eq!(shares, [0.05, 0.075, 0.5, 0.25, 0.125]);
        assert!(super::rows("", 1).is_err());
        Ok(())
    }
}
