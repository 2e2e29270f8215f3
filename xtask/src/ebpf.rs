//! `cargo xtask build-ebpf`: the eBPF object, and the `c1m` that embeds it.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{command, setup, toolchain};

/// Where `c1m/build.rs` looks for the object.
pub(crate) fn object() -> PathBuf {
    command::target_dir().join("c1m-ebpf.o")
}

/// The binary that this builds.
pub(crate) fn c1m() -> PathBuf {
    command::target_dir().join("release/c1m")
}

/// Builds the object and, unless told not to, the release `c1m`; says what comes next.
pub(crate) fn run(object_only: bool) -> Result<()> {
    build_object()?;
    if object_only {
        println!("{}", relative(object()).display());
        return Ok(());
    }
    build_c1m()?;
    let c1m = relative(c1m());
    let c1m = c1m.display();
    println!("{c1m} has the programs inside. Next: sudo {c1m} trace -- server");
    println!("or, to have it in PATH: sudo install {c1m} /usr/local/bin");
    Ok(())
}

/// Builds `target/c1m-ebpf.o`, installing what is missing if we are root.
pub(crate) fn build_object() -> Result<()> {
    let compiler = toolchain::find()?;
    let paths = toolchain::paths(setup::bpf_linker()?);
    toolchain::link_llvm(&compiler, &paths.llvm_dir)?;
    println!("eBPF toolchain: {}", compiler.told());
    let mut build = compiler.line("build", &paths, &[]).command();
    command::run(&mut build)?;
    let built = paths
        .target_dir
        .join(toolchain::TARGET)
        .join("release/c1m-ebpf");
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    // Only a new content is written: cargo rebuilds c1m when the file's time changes.
    if fs::read(object()).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(object(), bytes).with_context(|| format!("cannot write {}", object().display()))
}

/// Builds the release `c1m` around the object.
pub(crate) fn build_c1m() -> Result<()> {
    command::run(command::host_cargo("build").args(["--release", "--locked", "--package", "c1m"]))
}

/// A path below the root as one types it there.
fn relative(path: PathBuf) -> PathBuf {
    path.strip_prefix(command::root())
        .map(PathBuf::from)
        .unwrap_or(path)
}
