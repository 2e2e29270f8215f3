//! The kernels of the matrix: where each comes from, and how it gets here.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    apt::{self, Archive},
    make_dir,
    packages::{self, Package},
};
use crate::command;

/// A series of kernels and the suites that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Series<'a> {
    /// `6.1`, or `6` for the newest of all 6.x.
    pub(super) name: &'a str,
    suites: &'a [(Archive, &'a str)],
    /// What to take once these do not have it any more.
    instead: Option<&'a Series<'a>>,
}

use Archive::{Main, OldMain, OldSecurity, Security};

/// What `all` means, oldest first.
const MATRIX: &[Series<'_>] = &[
    Series {
        name: "5.10",
        suites: &[(Security, "bullseye-security"), (Main, "bullseye")],
        instead: Some(&Series {
            name: "5.10",
            suites: &[(OldSecurity, "bullseye-security"), (OldMain, "bullseye")],
            instead: None,
        }),
    },
    Series {
        name: "6.1",
        suites: &[(Security, "bookworm-security"), (Main, "bookworm")],
        instead: None,
    },
    Series {
        name: "6.12",
        suites: &[
            (Security, "bookworm-security"),
            (Main, "bookworm-backports"),
            (Security, "trixie-security"),
        ],
        instead: None,
    },
    Series {
        name: "6",
        suites: NEW,
        instead: Some(&Series {
            name: "6",
            suites: &[(Security, "trixie-security")],
            instead: None,
        }),
    },
    Series {
        name: "7.2",
        suites: NEW,
        // Both keep but their newest ones.
        instead: Some(&Series {
            name: "7",
            suites: NEW,
            instead: None,
        }),
    },
];

/// Where new kernels arrive.
const NEW: &[(Archive, &str)] = &[(Main, "trixie-backports"), (Main, "sid")];

/// A kernel on this machine.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    /// Where its files are.
    pub(super) dir: PathBuf,
    /// The compressed kernel.
    pub(super) image: PathBuf,
    /// The directory of `modules.dep`.
    pub(super) modules: PathBuf,
}

/// The series that were named.
pub(super) fn chosen(names: &[String]) -> Result<Vec<Series<'_>>> {
    let mut all: Vec<Series<'_>> = Vec::new();
    for name in names {
        if name == "all" {
            all.extend(MATRIX);
        } else if let Some(known) = MATRIX.iter().find(|series| series.name == name) {
            all.push(*known);
        } else if name.split('.').all(|part| part.parse::<u16>().is_ok()) {
            all.push(Series {
                name,
                suites: NEW,
                instead: None,
            });
        } else {
            let known: Vec<&str> = MATRIX.iter().map(|series| series.name).collect();
            bail!(
                "there is no kernel {name}: {}, another series like 6.16, or all",
                known.join(", ")
            );
        }
    }
    // Two machines of one kernel would be made in the same place.
    let mut seen = BTreeSet::new();
    all.retain(|series| seen.insert(series.name));
    Ok(all)
}

impl Series<'_> {
    /// What its index is called here.
    fn index(&self) -> String {
        match self.suites.first() {
            Some((OldSecurity, _)) => format!("{}-archived", self.name),
            Some((Security, suite)) if self.suites.len() == 1 => format!("{}-{suite}", self.name),
            _ => self.name.to_owned(),
        }
    }
}

/// The series' newest kernel, fetched and unpacked if it is not here yet. One that the suites have no more is taken if it is here,
/// or what is to be taken instead.
pub(super) fn get(series: Series<'_>) -> Result<Kernel> {
    let index = series.index();
    let packages = apt::kernel_packages(&index, series.suites)?;
    if let Some((release, parts)) = packages::newest(&packages, series.name) {
        return unpacked(&index, release, &parts);
    }
    let suites: Vec<&str> = series.suites.iter().map(|(_, suite)| *suite).collect();
    let missing = format!(
        "no whole cloud kernel of series {} in {}",
        series.name,
        suites.join(", ")
    );
    if let Some(release) = here(series.name) {
        println!("{missing}: taking {release}, which is here");
        return unpacked(&index, release, &[]);
    }
    let Some(instead) = series.instead else {
        bail!(missing);
    };
    println!("{missing}: asking for {} instead", instead.index());
    get(*instead)
}

/// The newest kernel of a series that was unpacked here before.
fn here(series: &str) -> Option<String> {
    let all = fs::read_dir(super::dir().join("kernels")).ok()?;
    let whole = all
        .flatten()
        .filter(|entry| entry.path().join("unpacked").exists());
    let names = whole.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|release| packages::is_of(release, series))
        .max_by(|a, b| packages::by_version(a, b))
}

/// A kernel of these packages, fetched by the index of this name unless it is here.
fn unpacked(index: &str, release: String, parts: &[Package]) -> Result<Kernel> {
    let dir = super::dir().join("kernels").join(&release);
    let done = dir.join("unpacked");
    if !done.exists() {
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        let root = dir.join("root");
        make_dir(&root)?;
        for part in parts {
            let deb = dir.join("package.deb");
            apt::fetch(index, part, &deb)?;
            command::run(command::clean("dpkg").arg("-x").arg(&deb).arg(&root))?;
            fs::remove_file(&deb).context("cannot remove a package")?;
        }
        // depmod looks for lib/modules alone.
        if !root.join("lib").exists() {
            std::os::unix::fs::symlink("usr/lib", root.join("lib")).context("cannot link lib")?;
        }
        command::run(command::clean("depmod").arg("-b").arg(&root).arg(&release))?;
        fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))?;
    }
    let root = dir.join("root");
    let modules = root.join("lib/modules").join(&release);
    let image = image(&root, &release, &modules)?;
    Ok(Kernel {
        release,
        dir,
        image,
        modules,
    })
}

fn image(root: &Path, release: &str, modules: &Path) -> Result<PathBuf> {
    let places = [
        root.join(format!("boot/vmlinuz-{release}")),
        modules.join("vmlinuz"),
    ];
    let found = places.iter().find(|file| file.is_file());
    found
        .cloned()
        .with_context(|| format!("the packages of {release} have no vmlinuz"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_named_by_series() {
        let names = |list: &[&str]| -> Vec<String> { list.iter().map(|&n| n.to_owned()).collect() };
        let of = |list: &[&str]| -> Result<Vec<String>> {
            let names = names(list);
            Ok(chosen(&names)?
                .iter()
                .map(|series| series.name.to_owned())
                .collect())
        };
        assert_eq!(
            of(&["all"]).expect("all"),
            ["5.10", "6.1", "6.12", "6", "7.2"]
        );
        assert_eq!(of(&["7.3", "6.1"]).expect("two"), ["7.3", "6.1"]);
        assert_eq!(of(&["6.1", "6.1"]).expect("one"), ["6.1"]);
        let error = of(&["lts"]).expect_err("no series");
        assert!(error.to_string().contains("5.10, 6.1, 6.12, 6, 7.2"));
    }
}
