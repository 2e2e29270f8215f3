//! `--fix` puts settings in force for now, `--restore` puts back what they were.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};

use super::{
    persist,
    predict::Prediction,
    state::{Change, State, namespace},
};
use crate::{causes::remedy::Fix, load::aliases, netns::Netns, report::text};

/// The settings that stand in the way, each once: its name, and the value that it needs.
pub(super) fn sysctls(prediction: &Prediction) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for fix in prediction
        .in_the_way()
        .flat_map(|finding| &finding.judged.fixes)
    {
        if let Fix::Sysctl { name, value, .. } = fix {
            all.retain(|(other, _)| other != name);
            all.push((name.clone(), value.clone()));
        }
    }
    all
}

/// What is no sysctl: options, limits of a process.
fn others(prediction: &Prediction) -> Vec<String> {
    let fixes = prediction
        .in_the_way()
        .flat_map(|finding| &finding.judged.fixes);
    let others = fixes.filter(|fix| !matches!(fix, Fix::Sysctl { .. }));
    let mut others: Vec<String> = others.map(ToString::to_string).collect();
    others.sort();
    others.dedup();
    others
}

fn path_of(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}

/// A value with one space between its words.
fn normal(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn value_of(name: &str) -> anyhow::Result<String> {
    let path = path_of(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(normal(&text))
}

fn set(name: &str, value: &str) -> anyhow::Result<()> {
    let path = path_of(name);
    fs::write(&path, value).with_context(|| format!("{} = {value}", path.display()))
}

fn must_be_root(option: &str) -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "{option} changes settings of this host, which needs root: run it with sudo"
    );
    Ok(())
}

/// Puts the settings that stand in the way in force, each noted before. Errors: some cannot be set; the others are, and are
/// noted.
pub(super) fn fix(prediction: &Prediction, dir: &Path) -> anyhow::Result<()> {
    must_be_root("--fix")?;
    let netns = Netns::current()?.inum;
    let mut state = State::open(dir)?;
    let (mut said, mut failed, mut done) = (String::new(), 0, 0);
    let mut fails = |name: &str, new: &str, error: &anyhow::Error| {
        failed += 1;
        format!(
            "  failed   {name} = {new}: {error:#} (in a container: set it on the host, or start with --sysctl {name}={new})\n"
        )
    };
    for (name, new) in sysctls(prediction) {
        let old = match value_of(&name) {
            Ok(old) if old == normal(&new) => continue,
            Ok(old) => old,
            Err(error) => {
                said += &fails(&name, &new, &error);
                continue;
            }
        };
        state.note(&name, &old, &new, netns);
        state.save()?;
        match set(&name, &new) {
            Ok(()) => {
                done += 1;
                said += &format!("  set   {name} = {new} (was {old})\n");
            }
            Err(error) => {
                said += &fails(&name, &new, &error);
                state.forget(&name, netns);
                state.save()?;
            }
        }
    }
    if done > 0 {
        said += "  until the next boot, or `c1m doctor --restore`\n";
    } else if failed == 0 {
        said += "  no setting of this host is in the way\n";
    }
    for other in others(prediction) {
        said += &format!("  yours to type: {other}\n");
    }
    text::print(&format!("\n{said}"))?;
    ensure!(failed == 0, "{failed} settings could not be set");
    Ok(())
}

/// Puts back what `--fix` changed, and takes addresses away that a killed run left. Errors: something cannot be put back,
/// or must not be with what `--persist` wrote below `etc`; it stays noted.
pub(super) fn restore(dir: &Path, etc: &Path) -> anyhow::Result<u8> {
    must_be_root("--restore")?;
    let mut state = State::open(dir)?;
    let (mut said, mut failed) = (String::new(), Vec::new());
    while let Some(change) = state.changes.pop() {
        match may_be_put_back(&change, etc).and_then(|()| put_back(&change)) {
            Ok(line) => said += &format!("  {line}\n"),
            Err(error) => {
                said += &format!("  failed   {}: {error:#}\n", change.name);
                failed.push(change);
            }
        }
    }
    failed.reverse();
    state.changes = failed;
    state.save()?;
    let mut left = state.changes.len();
    said += &sweep(dir, &mut left).unwrap_or_else(|error| {
        left += 1;
        format!("  failed   {error:#}\n")
    });
    if said.is_empty() {
        said = "  nothing to put back\n".to_owned();
    }
    text::print(&said)?;
    if left > 0 {
        bail!("{left} of these could not be put back: they stay noted");
    }
    Ok(0)
}

/// Refuses to lower fs.nr_open below a limit for every login: pam_limits would let nobody in.
fn may_be_put_back(change: &Change, etc: &Path) -> anyhow::Result<()> {
    if change.name != "fs.nr_open" {
        return Ok(());
    }
    if let (Some(nofile), Ok(old)) = (persist::nofile_at_login(etc)?, change.old.parse::<u64>()) {
        ensure!(
            nofile <= old,
            "--persist wrote a limit of {nofile} for every login, and with {old} nobody could log in: remove 90-c1m.conf from \
             {}/security/limits.d first",
            etc.display()
        );
    }
    Ok(())
}

fn put_back(change: &Change) -> anyhow::Result<String> {
    let Change { name, old, .. } = change;
    if !name.starts_with("net.") {
        return put_back_here(change);
    }
    match namespace(change.netns) {
        Some(netns) => netns.run(|| put_back_here(change))?,
        None => Ok(format!(
            "gone     {name} = {old}: its network namespace is no more"
        )),
    }
}

fn put_back_here(
    Change {
        name, old, given, ..
    }: &Change,
) -> anyhow::Result<String> {
    let now = value_of(name)?;
    if now == *old {
        return Ok(format!("as it was   {name} = {old}"));
    }
    if !given.iter().any(|value| normal(value) == now) {
        return Ok(format!(
            "left as it is   {name} = {now}: somebody else set it since (it was {old})"
        ));
    }
    set(name, old)?;
    Ok(format!("put back   {name} = {old} (was {now})"))
}

/// Takes away the addresses that killed runs of `--dev` left behind, whose files tell which; of how many files it cannot is
/// added to `failed`.
fn sweep(dir: &Path, failed: &mut usize) -> anyhow::Result<String> {
    let mut said = String::new();
    for entry in fs::read_dir(dir)
        .with_context(|| dir.display().to_string())?
        .flatten()
    {
        let file = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("aliases-") || !name.ends_with(".json") {
            continue;
        }
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let Ok(added) = serde_json::from_str::<aliases::Added>(&text) else {
            said += &format!(
                "  not ours   {}: look at it, and remove it\n",
                file.display()
            );
            continue;
        };
        if is_running(added.pid) {
            said += &format!("  in use   addresses of the run with pid {}\n", added.pid);
            continue;
        }
        let count = added.addresses.len();
        match undo(added, file) {
            Ok(line) => said += &format!("  {line}\n"),
            Err(error) => {
                said += &format!("  failed   {count} addresses: {error:#}\n");
                *failed += 1;
            }
        }
    }
    Ok(said)
}

/// Takes away what a killed run added, if its network namespace is still there, and says so.
fn undo(added: aliases::Added, file: PathBuf) -> anyhow::Result<String> {
    let what = format!("{} addresses of {}", added.addresses.len(), added.dev);
    let Some(netns) = namespace(added.netns) else {
        fs::remove_file(&file)?;
        return Ok(format!(
            "gone     {what}: their network namespace is no more"
        ));
    };
    netns.run(|| aliases::take_back(added, file))??;
    Ok(format!("taken away   {what}"))
}

/// Whether a process of c1m has this pid.
fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "c1m")
}
