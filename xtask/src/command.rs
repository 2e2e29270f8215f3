//! How a child process is started: which directory, which environment, what its failure says.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    // As cargo says it now, for the workspace may have moved since this was built.
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest
        .parent()
        .map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// The one target directory this crate builds into: the object's place is fixed, so the rest is too.
pub(crate) fn target_dir() -> PathBuf {
    root().join("target")
}

/// Whether a variable that cargo or rustup sets for *this* process would mislead another cargo.
///
/// `cargo xtask` runs under a cargo, mostly rustup's: it says which cargo, compiler, toolchain and libraries to
/// use, and describes the package xtask. The user's proxies, registries and colours stay.
pub(crate) fn misleads(variable: &str) -> bool {
    const KEPT: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_TERM_",
        "CARGO_SOURCE_",
    ];
    const DROPPED: [&str; 6] = [
        "CARGO",
        "LD_LIBRARY_PATH",
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
    ];
    let compiler = variable.starts_with("RUSTC") || variable.starts_with("RUSTDOC");
    let cargo =
        variable.starts_with("CARGO_") && !KEPT.iter().any(|kept| variable.starts_with(kept));
    compiler || cargo || DROPPED.contains(&variable)
}

/// A command in the workspace's root, free of what the cargo around us has set.
pub(crate) fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(misleads) {
            command.env_remove(name);
        }
    }
    command
}

/// The cargo that runs xtask, with its toolchain: it builds everything that is for the host.
pub(crate) fn host_cargo(verb: &str) -> Command {
    let mut command = clean(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    for kept in ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "RUSTC_WRAPPER"] {
        if let Some(value) = env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command.arg(verb).env("CARGO_TARGET_DIR", target_dir());
    command
}

/// Runs to the end with our own stdout and stderr. Fails unless it exits with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end with our own stderr, printing each line of stdout as it comes and handing it on.
pub(crate) fn each_line(command: &mut Command, mut take: impl FnMut(&str)) -> Result<ExitStatus> {
    let text = shown(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {text}"))?;
    if let Some(stdout) = child.stdout.take() {
        // Bytes that are no UTF-8 (a program's own output) must not end the run.
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("cannot read a child's output")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            take(&line);
        }
    }
    child.wait().context("cannot wait for a child")
}

/// Runs to the end and returns stdout as text. Fails unless it exits with 0; stderr goes into the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed: {}: {}",
            shown(command),
            output.status,
            stderr.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// PATH, and behind it the places of root's programs.
pub(crate) fn path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    for sbin in ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from) {
        if !dirs.contains(&sbin) {
            dirs.push(sbin);
        }
    }
    // What was split can be joined.
    env::join_paths(dirs).unwrap_or(path)
}

/// Where a program is; a path is the program itself.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&path())
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// Where cargo installs programs: root's cargo home is not in the PATH that sudo gives, so paths are absolute.
pub(crate) fn cargo_home() -> PathBuf {
    home("CARGO_HOME", ".cargo")
}

/// A directory named by a variable, or else this one under `$HOME`.
pub(crate) fn home(variable: &str, under_home: &str) -> PathBuf {
    match env::var_os(variable) {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => PathBuf::from(env::var_os("HOME").unwrap_or_else(|| OsString::from("/root")))
            .join(under_home),
    }
}

#[cfg(test)]
mod tests {
    use super::misleads;

    #[test]
    fn only_what_the_outer_cargo_set_is_dropped() {
        for name in [
            "CARGO",
            "CARGO_MANIFEST_DIR",
            "CARGO_PKG_NAME",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTDOC",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "RUST_RECURSION_COUNT",
            "LD_LIBRARY_PATH",
        ] {
            assert!(misleads(name), "{name} must not reach the other cargo");
        }
        for name in [
            "PATH",
            "HOME",
            "CARGO_HOME",
            "RUSTUP_HOME",
            "RUST_BACKTRACE",
            "https_proxy",
            "CARGO_HTTP_PROXY",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_CRATES_IO_PROTOCOL",
            "CARGO_TERM_COLOR",
        ] {
            assert!(!misleads(name), "{name} is the user's");
        }
    }
}
