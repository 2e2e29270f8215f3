//! `cargo xtask demo`: the main job on real sockets, with a real loss in it, on a machine that has nothing yet.

use std::process::Command;

use anyhow::Result;

use crate::{command, ebpf, setup};

/// What the demo shows: demand at the server's capacity, default syncookies and a small backlog. It prints the loss
/// table and exits with 0 when the loss is the one that was provoked.
const SHOWN: [&str; 2] = ["lab", "field-notes"];

/// Installs what is missing, builds, and shows it.
pub(crate) fn run() -> Result<()> {
    setup::must_be_root("demo")?;
    setup::tools()?;
    ebpf::build_object()?;
    ebpf::build_c1m()?;
    let mut shown = Command::new(ebpf::c1m());
    command::run(shown.args(SHOWN).current_dir(command::root()))
}
