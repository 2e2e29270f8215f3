//! `cargo xtask demo`: the main job on real sockets, with a real loss in it, on a machine that has nothing yet.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{command, ebpf, setup};

/// What the demo runs: demand at the server's capacity, default syncookies and a small backlog; then the same with
/// what the table says to change. It exits with 0 when both losses are the ones that were provoked.
const LAB: &str = "field-notes";
/// The exit status of `c1m report` for a run that lost connections, and whose table adds up.
const SOME_LOST: i32 = 1;

/// Installs what is missing, builds, runs the lab, and ends in the table of its loss.
pub(crate) fn run() -> Result<()> {
    setup::must_be_root("demo")?;
    setup::tools()?;
    ebpf::build_object()?;
    ebpf::build_c1m()?;
    let records = command::target_dir().join("demo");
    let mut lab = Command::new(ebpf::c1m());
    lab.args(["lab", LAB, "--records"]).arg(&records);
    command::run(lab.current_dir(command::root()))?;
    println!("\nThe loss once more, from its record:\n");
    let record = records.join(format!("{LAB}-1.json"));
    let mut report = Command::new(ebpf::c1m());
    let status = report
        .arg("report")
        .arg(&record)
        .status()
        .context("c1m report does not start")?;
    ensure!(
        status.code() == Some(SOME_LOST),
        "c1m report of a run with losses ended with {status}, not with {SOME_LOST}"
    );
    Ok(())
}
