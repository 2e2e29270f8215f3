//! The labs: each provokes one cause in network namespaces of its own, knows the true count by
//! construction, and compares the record of a traced run with it, to the last connection.
//!
//! A lab is a process: `c1m lab` starts one per lab, which first leaves the host's network namespace. What
//! it sets, adds and drops there ends with it.

use std::path::PathBuf;

use anyhow::bail;

mod ack;
mod awake;
mod backlog;
mod bench;
mod bpf;
mod cgroup;
mod child;
mod close;
mod dice;
mod fastopen;
mod fix;
mod foreign;
mod gone;
mod host;
mod injected;
mod life;
mod limits;
mod line;
mod link;
mod listener;
mod local;
mod memory;
mod mixed;
mod notes;
mod path;
pub mod plain;
mod policy;
mod ports;
mod process;
mod reuse;
mod rewrite;
mod ring;
mod route;
mod rules;
mod runner;
mod scratch;
mod show;
mod silence;
mod sum;
mod syn;
mod table;
mod teardown;
mod traced;
mod truth;
mod view;
mod witness;

pub use runner::main;
pub use table::LABS;

use bench::Bench;
use traced::Run;
use truth::Truth;

/// A lab: what it proves, and how.
pub struct Lab {
    /// Its name; that of the cause, but for variants and stories.
    pub name: &'static str,
    /// The slug of the cause it proves.
    pub cause: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    run: fn(&mut Bench) -> anyhow::Result<Vec<Outcome>>,
}

/// One traced run of a lab and what it should have said.
struct Outcome {
    truth: Truth,
    run: Run,
}

/// Why a lab cannot run here: this kernel or host lacks what it takes. It is counted as skipped, and never as
/// passed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Skip(String);

/// This program, to start it again.
fn own_program() -> anyhow::Result<PathBuf> {
    let Ok(program) = std::env::current_exe() else {
        bail!("/proc/self/exe cannot be read: a lab starts c1m itself and needs /proc");
    };
    Ok(program)
}
