//! `cargo xtask lint`: format, then clippy with warnings as errors, for the host and for the eBPF target.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{
    command, setup,
    toolchain::{self, Compiler, Core},
};

type Lint = fn() -> Result<()>;

/// Runs every lint to its end, so that one run shows all there is, and fails if any failed.
pub(crate) fn run() -> Result<()> {
    let lints: [(&str, Lint); 3] = [("format", format), ("host", host), ("eBPF", ebpf)];
    let mut failed = Vec::new();
    for (name, lint) in lints {
        if let Err(error) = lint() {
            println!("lint: {name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("lint: failed for {}", failed.join(", "));
    }
    Ok(())
}

fn format() -> Result<()> {
    command::run(command::host_cargo("fmt").args(["--all", "--check"]))
}

/// Lints the default members: all but the package that builds for the eBPF target alone.
fn host() -> Result<()> {
    let mut clippy = command::host_cargo("clippy");
    command::run(clippy.args(["--locked", "--all-targets", "--", "-Dwarnings"]))
}

/// Lints the eBPF package with the compiler that builds it: another one lacks its `core`.
fn ebpf() -> Result<()> {
    let compiler = toolchain::find()?;
    let mut paths = toolchain::paths(setup::bpf_linker()?);
    // Other flags than the build's: in its directory each would undo the other's work.
    paths.target_dir = command::target_dir().join("ebpf-lint");
    let clippy = clippy_of(&compiler);
    let verb = if clippy.is_some() { "clippy" } else { "check" };
    let mut line = compiler.line(verb, &paths, &["-Dwarnings"]);
    match clippy {
        Some(clippy) => {
            // By its path: in PATH, a cargo-clippy may be another compiler's.
            line.env.push(("CARGO", line.program.display().to_string()));
            line.program = clippy;
        }
        None => println!(
            "no clippy beside {}: the eBPF package is checked by the compiler's own lints alone",
            compiler.rustc.display()
        ),
    }
    command::run(&mut line.command())
}

/// The clippy of this very compiler. A distribution's is installed if it is missing and we are root.
fn clippy_of(compiler: &Compiler) -> Option<PathBuf> {
    let clippy = compiler.cargo.with_file_name("cargo-clippy");
    if !clippy.is_file()
        && compiler.core == Core::Prebuilt
        && setup::is_root()
        && let Some(package) =
            setup::owner_of(&compiler.rustc).and_then(|owner| clippy_package(&owner))
    {
        // Without it there is still the compiler's own check.
        if let Err(error) = setup::apt_install(&[package]) {
            eprintln!("xtask: {error:#}");
        }
    }
    let version = command::output(command::clean(&clippy).arg("--version"));
    let is_its_own = version.is_ok_and(|text| is_clippy_of(&text, compiler.version));
    is_its_own.then_some(clippy)
}

/// The package that has the clippy of the compiler in this package (Debian's names).
fn clippy_package(rustc_package: &str) -> Option<&'static str> {
    match rustc_package {
        "rustc" => Some("rust-clippy"),
        "rustc-web" => Some("rust-web-clippy"),
        _ => None,
    }
}

/// clippy 0.1.96 belongs to rustc 1.96.
fn is_clippy_of(clippy_version: &str, (major, minor): (u32, u32)) -> bool {
    let number = clippy_version.split_whitespace().nth(1).unwrap_or_default();
    number == format!("0.{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clippy_is_that_of_the_compiler() {
        assert!(is_clippy_of("clippy 0.1.96", (1, 96)));
        assert!(is_clippy_of(
            "clippy 0.1.97 (e50aa6fba4 2026-05-19)",
            (1, 97)
        ));
        assert!(!is_clippy_of(
            "clippy 0.1.95 (59807616e1 2026-04-14)",
            (1, 96)
        ));
        assert!(!is_clippy_of("", (1, 96)));
    }

    #[test]
    fn clippys_package_follows_the_compilers() {
        assert_eq!(clippy_package("rustc-web"), Some("rust-web-clippy"));
        assert_eq!(clippy_package("rustc"), Some("rust-clippy"));
        assert_eq!(clippy_package("rust-all"), None);
    }
}
