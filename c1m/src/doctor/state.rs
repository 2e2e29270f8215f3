//! What `--fix` has changed, in a file that is written before the change: so that `--restore` can undo it whatever
//! happens in between.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::netns::Netns;

/// The file's name, in /run/c1m: what it tells is over with the boot, as the settings are.
const FILE: &str = "doctor.json";

/// One setting that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    /// With dots: `net.core.somaxconn`.
    pub(super) name: String,
    /// The value that it had.
    pub(super) old: String,
    /// Every value that we have given it, or were about to.
    pub(super) given: Vec<String>,
    /// The network namespace, by its inode number: what is below `net` each has for itself.
    pub(super) netns: u32,
}

/// All changes that are in force, and the lock that keeps others from them.
#[derive(Debug)]
pub(super) struct State {
    dir: PathBuf,
    /// In the order in which they were made.
    pub(super) changes: Vec<Change>,
    _lock: File,
}

impl State {
    /// Reads the file in `dir`; none is an empty one. Errors: it cannot be read, or is no such file.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let lock = dir.join("doctor.lock");
        let lock = File::create(&lock).with_context(|| lock.display().to_string())?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(Self {
            changes: read(dir)?,
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// Notes that `name` is about to change. What it had before the first change is what it gets back.
    pub(super) fn note(&mut self, name: &str, old: &str, new: &str, netns: u32) {
        let known = self
            .changes
            .iter_mut()
            .find(|one| one.name == name && one.netns == netns);
        match known {
            Some(change) => change.given.push(new.to_owned()),
            None => self.changes.push(Change {
                name: name.to_owned(),
                old: old.to_owned(),
                given: vec![new.to_owned()],
                netns,
            }),
        }
    }

    /// Takes the last note of `name` back: it could not be changed.
    pub(super) fn forget(&mut self, name: &str, netns: u32) {
        let known = |one: &Change| one.name == name && one.netns == netns;
        if let Some(at) = self.changes.iter().position(known) {
            self.changes[at].given.pop();
            if self.changes[at].given.is_empty() {
                self.changes.remove(at);
            }
        }
    }

    /// Writes the file, and returns when the disk has it. Without changes there is none.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        let file = self.dir.join(FILE);
        if self.changes.is_empty() {
            return match fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            };
        }
        write_whole(&file, &serde_json::to_vec_pretty(&self.changes)?)
    }
}

/// The changes that the file in `dir` tells of.
pub(super) fn read(dir: &Path) -> anyhow::Result<Vec<Change>> {
    let file = dir.join(FILE);
    match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is not what c1m doctor wrote: look at it, and remove it",
                file.display()
            )
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

/// Replaces a file by another as a whole, and waits until both it and its name are on the disk.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let dir = path.parent().context("a file has a directory")?;
    let part = path.with_extension("part");
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        File::open(dir)?.sync_all()
    };
    write().with_context(|| path.display().to_string())
}

/// The namespace with this inode number: ours, a named one, or that of a process. `None`: it is gone.
pub(super) fn namespace(inum: u32) -> Option<Netns> {
    let own = Netns::current().ok()?;
    if own.inum == inum {
        return Some(own);
    }
    let entries = |dir: &str| {
        fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let of_processes = entries("/proc").map(|process| process.join("ns/net"));
    let all = entries("/run/netns").chain(of_processes);
    let open = |path: PathBuf| Netns::open(path.to_str()?).ok();
    all.filter_map(open).find(|one| one.inum == inum)
}
