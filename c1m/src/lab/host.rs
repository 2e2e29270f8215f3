//! Settings of the whole host, which some labs change: only if that is asked for, never two labs at once, and put back
//! however they end.
//!
//! A process of its own keeps the old values. It waits for the end of its input and then puts them back, so that it
//! does so as well when `c1m lab` is killed.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, ensure};

use super::Skip;
use crate::stderr::say;

/// Which labs change which settings of the whole host.
const CHANGES: &[(&str, &[&str])] = &[
    ("enfile", &["fs.file-max"]),
    ("conntrack-full", &["net.netfilter.nf_conntrack_max"]),
    ("cpu-backlog", &["net.core.netdev_max_backlog"]),
    (
        "neighbour-table-full",
        &["net.ipv4.neigh.default.gc_thresh3"],
    ),
    ("memory-pressure", &["net.ipv4.tcp_max_orphans"]),
    ("memory-pressure-tcp-mem", &["net.ipv4.tcp_mem"]),
];

/// What the keeper says when it has the old values.
const KEPT: &str = "kept";

/// The settings of the whole host that a lab changes.
pub(super) fn changed_by(lab: &str) -> &'static [&'static str] {
    let row = CHANGES.iter().find(|(name, _)| *name == lab);
    row.map_or(&[], |(_, settings)| settings)
}

/// Why a lab that changes `settings` does not run unasked.
pub(super) fn unasked(settings: &[&str]) -> String {
    format!(
        "it changes {} of the whole host: c1m lab --host-wide, best in a virtual machine",
        settings.join(" and ")
    )
}

/// The file of a setting.
pub(super) fn path(setting: &str) -> PathBuf {
    Path::new("/proc/sys").join(setting.replace('.', "/"))
}

/// The process that has the old values. Dropping it puts them back.
pub(super) struct Keeper(Child);

impl Keeper {
    /// Starts it, and waits until it has them. Errors: a [`Skip`] if one of them cannot be changed from here.
    pub(super) fn start(settings: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(super::own_program()?);
        command.args(["lab", "--keep"]).args(settings);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C is for those who change them.
        command.process_group(0);
        let mut keeper = Self(command.spawn().context("cannot start a process")?);
        let mut line = String::new();
        if let Some(stdout) = keeper.0.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        match line.trim() {
            KEPT => Ok(keeper),
            why => Err(Skip(why.to_owned()).into()),
        }
    }

    /// Puts them back. Errors: that did not succeed.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        ensure!(status.success(), "a setting could not be put back");
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Fails if it is reaped already.
        let _ = self.0.wait();
    }
}

/// The body of that process; its exit status.
pub(super) fn keep(settings: &[String]) -> anyhow::Result<u8> {
    let mut old = Vec::new();
    for setting in settings {
        let path = path(setting);
        let value = fs::read_to_string(&path);
        // What cannot be written with its own value cannot be written with another.
        match value.and_then(|value| fs::write(&path, &value).map(|()| value)) {
            Ok(value) => old.push((path, value)),
            Err(error) => {
                println!("{setting} cannot be changed from here: {error}");
                return Ok(1);
            }
        }
    }
    println!("{KEPT}");
    // Nobody writes: the input ends with whoever has its other end.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let mut status = 0;
    for (path, value) in old {
        if let Err(error) = fs::write(&path, &value) {
            say(format_args!("cannot put {} back: {error}", path.display()));
            status = 1;
        }
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::LABS;

    #[test]
    fn every_row_is_a_lab_and_its_settings_have_files() {
        for (name, settings) in CHANGES {
            assert!(LABS.iter().any(|lab| lab.name == *name), "{name}");
            assert!(!settings.is_empty(), "{name}");
        }
        assert_eq!(
            path("net.core.somaxconn").display().to_string(),
            "/proc/sys/net/core/somaxconn"
        );
    }

    #[test]
    fn a_keeper_that_can_t_says_why_it_is_a_skip() {
        let settings = ["net.core.no_such_setting".to_owned()];
        assert_eq!(keep(&settings).expect("no error"), 1);
    }
}
