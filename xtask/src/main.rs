//! The project's own commands: `cargo xtask VERB`. One module per verb.
//!
//! This crate must not depend on `c1m`, whose build wants what `build-ebpf` makes: it runs the binary instead.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod command;
mod demo;
mod ebpf;
mod setup;
mod toolchain;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the eBPF programs and a release `c1m` that holds them; as root, install what is missing
    BuildEbpf {
        /// Build the eBPF object alone, not the `c1m` that embeds it
        #[arg(long)]
        object_only: bool,
    },
    /// Set the machine up, build, and lose real connections: ends in the loss table
    Demo,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::BuildEbpf { object_only } => ebpf::run(object_only),
        Verb::Demo => demo::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
