//! `--persist`: the settings for every boot to come, in a file for sysctl.d and one for limits.d.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use similar::TextDiff;

use super::{
    apply::{self, sysctls},
    predict::Prediction,
    state,
};
use crate::{causes::remedy::Fix, netns::Netns, report::text};

/// What both files are called.
const NAME: &str = "90-c1m.conf";

/// Writes both files below `etc`, with what stands in the way and what `--fix` has put in force, and prints what changes
/// in them. What an earlier one has besides stays. Errors: they cannot be written, or must not be yet.
pub(super) fn persist(prediction: &Prediction, state_dir: &Path, etc: &Path) -> anyhow::Result<()> {
    let sysctl = etc.join("sysctl.d").join(NAME);
    let limits = limits_in(etc);
    let nofile = nofile(prediction);
    let nr_open = apply::value_of("fs.nr_open")?;
    // pam_limits lets nobody in whose limit cannot be set.
    if let (Some(nofile), Ok(nr_open)) = (nofile, nr_open.parse::<u64>()) {
        ensure!(
            nofile <= nr_open,
            "fs.nr_open is {nr_open}: with RLIMIT_NOFILE {nofile} for every login nobody could log in before the next boot; \
             --fix --persist puts fs.nr_open={nofile} in force first"
        );
    }
    let mut said = String::new();
    let mut settings = settings_of(&read(&sysctl)?);
    let netns = Netns::current()?.inum;
    for change in state::read(state_dir)? {
        if let (true, Some(value)) = (change.netns == netns, change.given.last()) {
            settings.insert(change.name, value.clone());
        }
    }
    settings.extend(sysctls(prediction));
    if !settings.is_empty() {
        said += &replace(&sysctl, &sysctl_file(&settings))?;
    }
    if let Some(nofile) = nofile {
        said += &replace(&limits, &limits_file(nofile))?;
    }
    if said.is_empty() {
        said = "  nothing to persist: no setting is in the way\n".to_owned();
    }
    text::print(&format!("\n{said}"))?;
    Ok(())
}

fn limits_in(etc: &Path) -> PathBuf {
    etc.join("security/limits.d").join(NAME)
}

/// The RLIMIT_NOFILE that it takes, if the one here is in the way.
fn nofile(prediction: &Prediction) -> Option<u64> {
    let fixes = prediction
        .in_the_way()
        .flat_map(|finding| &finding.judged.fixes);
    let nofile = fixes.filter_map(|fix| match fix {
        Fix::Nofile { limit, .. } => Some(*limit),
        _ => None,
    });
    nofile.max()
}

/// The RLIMIT_NOFILE that the file below `etc` gives to every login. Errors: it cannot be read.
pub(super) fn nofile_at_login(etc: &Path) -> anyhow::Result<Option<u64>> {
    let text = read(&limits_in(etc))?;
    let limits = text.lines().filter(|line| line.contains(" nofile "));
    Ok(limits
        .filter_map(|line| line.split_whitespace().last()?.parse().ok())
        .max())
}

fn read(path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => other.with_context(|| path.display().to_string()),
    }
}

/// `name = value`, line by line.
fn settings_of(text: &str) -> BTreeMap<String, String> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with(['#', ';']));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

fn sysctl_file(settings: &BTreeMap<String, String>) -> String {
    let mut text = "# Written by `c1m doctor --persist`. In force from the next boot, or by `sysctl --system`;\n\
                    # remove this file to undo it.\n"
        .to_owned();
    for (name, value) in settings {
        text += &format!("{name} = {value}\n");
    }
    text
}

fn limits_file(nofile: u64) -> String {
    let mut text = "# Written by `c1m doctor --persist`. In force from the next login (pam_limits); services have\n\
                    # LimitNOFILE= of their units instead. Remove this file to undo it.\n"
        .to_owned();
    // `*` does not mean root.
    for who in ["*", "root"] {
        for kind in ["soft", "hard"] {
            text += &format!("{who} {kind} nofile {nofile}\n");
        }
    }
    text
}

/// Writes a file, and says what changes in it.
fn replace(path: &Path, new: &str) -> anyhow::Result<String> {
    let old = read(path)?;
    if old == new {
        return Ok(format!("  {} says so already\n", path.display()));
    }
    let dir = path.parent().context("a file has a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("{} (needs root: sudo)", dir.display()))?;
    state::write_whole(path, new.as_bytes()).context("it needs root: run it with sudo")?;
    let name = path.display().to_string();
    let before = if old.is_empty() { "/dev/null" } else { &name };
    let diff = TextDiff::from_lines(old.as_str(), new);
    Ok(diff.unified_diff().header(before, &name).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let text =
            "# a comment = 1\n; b = 2\nnet.core.somaxconn=9\n fs.file-max =  7 \nno setting\n";
        let settings = settings_of(text);
        let pairs: Vec<_> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(pairs, [("fs.file-max", "7"), ("net.core.somaxconn", "9")]);
        assert_eq!(settings_of(&sysctl_file(&settings)), settings);
        let etc = tempfile::tempdir().expect("a directory");
        assert_eq!(nofile_at_login(etc.path()).expect("no file"), None);
        replace(&limits_in(etc.path()), &limits_file(4_096)).expect("it can be written");
        assert_eq!(nofile_at_login(etc.path()).expect("a file"), Some(4_096));
    }
}
