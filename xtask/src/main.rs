//! The project's own commands: `cargo xtask VERB`. One module per verb.
//!
//! This crate must not depend on `c1m`, whose build wants what `build-ebpf` makes: it runs the binary instead.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

mod bench;
mod command;
mod demo;
mod dist;
mod ebpf;
mod lint;
mod metrics;
mod setup;
mod stack;
mod test;
mod tidy;
mod toolchain;
mod vm;

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
    /// Check the format, and run clippy with warnings as errors for the host and for the eBPF target
    Lint,
    /// Check the house rules: sizes, forbidden words, documents that must agree with the program
    Tidy,
    /// Set the machine up, then run all there is: build, lint, tidy, every test, every lab, and a core of the labs on other
    /// kernels
    Test(test::Options),
    /// Set the machine up, build, and lose real connections: ends in the loss table
    Demo,
    /// Measure rate, memory and the tracer's cost beside what the kernel alone takes; writes docs/performance.md
    Bench(bench::Options),
    /// Have a real Prometheus scrape a traced run, and compare its sums with the record
    MetricsCheck(metrics::Options),
    /// Build a static `c1m`, a tarball and a .deb of it, and their checksums
    Dist(dist::Options),
    /// Boot Debian's stock kernels in emulated machines: the labs, any command, or a shell
    Vm(vm::Options),
}

/// The names of the verbs, as documents may use them.
pub(crate) fn verbs() -> Vec<String> {
    Cli::command()
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect()
}

/// What every child may rely on: English, for some of what they say is read, and the places of root's programs, which a
/// user's PATH lacks.
fn set_environment() {
    let path = command::path();
    // SAFETY: there is no other thread yet.
    unsafe {
        std::env::set_var("LC_ALL", "C");
        std::env::set_var("PATH", path);
    }
}

fn main() -> ExitCode {
    set_environment();
    let done = match Cli::parse().verb {
        Verb::BuildEbpf { object_only } => ebpf::run(object_only),
        Verb::Lint => lint::run(),
        Verb::Tidy => tidy::run(),
        Verb::Test(options) => test::run(&options),
        Verb::Demo => demo::run(),
        Verb::Bench(options) => bench::run(&options),
        Verb::MetricsCheck(options) => metrics::run(&options),
        Verb::Dist(options) => dist::run(&options),
        Verb::Vm(options) => vm::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
