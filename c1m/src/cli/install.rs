//! What an installation has besides the program: man pages and completions, made from the command line's own types.

use std::{io, path::Path};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

/// `c1m completions`: prints those of one shell.
pub(super) fn completions(shell: Shell) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "c1m", &mut script);
    match io::Write::write_all(&mut io::stdout(), &script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}

/// `c1m man`: writes `c1m.1`, and a page for each verb, to a directory.
pub(super) fn man(dir: &Path) -> anyhow::Result<u8> {
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), dir)
        .with_context(|| format!("cannot write the man pages to {}", dir.display()))?;
    Ok(0)
}
