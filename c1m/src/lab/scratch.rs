//! Where the labs' records and logs lie for as long as `c1m lab` runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use tokio::signal::unix::{self, SignalKind};

use crate::stderr::say;

/// The second run's directory in a lab's.
pub(super) const FIXED: &str = "fixed";

/// A directory for the labs' records and logs, removed in the end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A new one, that is also removed if Ctrl-C, SIGTERM or SIGHUP ends this process: the labs die with it, and their
    /// programs clean up.
    pub(super) fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("c1m-lab-{}", std::process::id()));
        // Fails if it exists: nobody else's directory or link is ever used.
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let scratch = Self(path);
        clear_away_if_interrupted(scratch.0.clone())?;
        Ok(scratch)
    }

    /// A lab's own directory in it.
    pub(super) fn dir(&self, lab: &str) -> anyhow::Result<PathBuf> {
        make(self.0.join(lab))
    }

    /// That of the lab's second run.
    pub(super) fn fixed_dir(&self, lab: &str) -> anyhow::Result<PathBuf> {
        make(self.0.join(lab).join(FIXED))
    }

    /// Copies a lab's records to `records`, as NAME-1.json and on, in the order of its runs, and NAME-fixed-1.json.
    pub(super) fn keep(&self, lab: &str, records: &Path) -> anyhow::Result<()> {
        make(records.to_owned())?;
        let own = self.0.join(lab);
        copy(&own, records, lab)?;
        copy(&own.join(FIXED), records, &format!("{lab}-{FIXED}"))
    }

    /// The records of a lab's runs, those with its settings applied after the others.
    pub(super) fn records(&self, lab: &str) -> Vec<PathBuf> {
        let own = self.0.join(lab);
        let mut all = runs(&own);
        all.extend(runs(&own.join(FIXED)));
        all
    }
}

fn make(path: PathBuf) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

fn copy(from: &Path, to: &Path, name: &str) -> anyhow::Result<()> {
    for (run, path) in (1..).zip(runs(from)) {
        let to = to.join(format!("{name}-{run}.json"));
        fs::copy(&path, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// The records in a lab's directory, in the order of its runs.
fn runs(dir: &Path) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u32>().ok();
    let mut runs: Vec<(u32, PathBuf)> = files
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    runs.sort();
    runs.into_iter().map(|(_, path)| path).collect()
}

fn clear_away_if_interrupted(files: PathBuf) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = {
        let _inside = runtime.enter();
        [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ]
        .map(unix::signal)
    };
    let [interrupt, terminate, hangup] = signals;
    let (mut interrupt, mut terminate, mut hangup) = (interrupt?, terminate?, hangup?);
    std::thread::spawn(move || {
        let status = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
                _ = hangup.recv() => 129,
            }
        });
        let _ = fs::remove_dir_all(files);
        std::process::exit(status);
    });
    Ok(())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            say(format_args!("cannot remove {}: {error}", self.0.display()));
        }
    }
}
