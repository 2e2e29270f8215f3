//! The kernels of the matrix: where each comes from, and how it gets here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    apt::{self, Archive},
    make_dir, packages,
};
use crate::command;

/// A series of kernels and the suites that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Series<'a> {
    /// `6.1`, or `6` for the newest of all 6.x.
    pub(super) name: &'a str,
    suites: &'a [(Archive, &'a str)],
}

use Archive::{Main, Security};

/// What `all` means, oldest first.
const MATRIX: &[Series<'_>] = &[
    Series {
        name: "5.10",
        suites: &[(Security, "bullseye-security"), (Main, "bullseye")],
    },
    Series {
        name: "6.1",
        suites: &[(Security, "bookworm-security"), (Main, "bookworm")],
    },
    Series {
        name: "6.12",
        suites: &[
            (Security, "bookworm-security"),
            (Main, "bookworm-backports"),
            (Security, "trixie-security"),
        ],
    },
    Series {
        name: "6",
        suites: NEW,
    },
    Series {
        name: "7.2",
        suites: NEW,
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
            all.push(Series { name, suites: NEW });
        } else {
            let known: Vec<&str> = MATRIX.iter().map(|series| series.name).collect();
            bail!(
                "there is no kernel {name}: {}, another series like 6.16, or all",
                known.join(", ")
            );
        }
    }
    Ok(all)
}

/// The series' newest kernel, fetched and unpacked if it is not here yet.
pub(super) fn get(series: Series<'_>) -> Result<Kernel> {
    let packages = apt::kernel_packages(series.name, series.suites)?;
    let Some((release, parts)) = packages::newest(&packages, series.name) else {
        let suites: Vec<&str> = series.suites.iter().map(|(_, suite)| *suite).collect();
        bail!(
            "no whole cloud kernel of series {} in {}",
            series.name,
            suites.join(", ")
        );
    };
    let dir = super::dir().join("kernels").join(&release);
    let done = dir.join("unpacked");
    if !done.exists() {
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        let root = dir.join("root");
        make_dir(&root)?;
        for part in &parts {
            let deb = dir.join("package.deb");
            apt::fetch(series.name, part, &deb)?;
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
        let error = of(&["lts"]).expect_err("no series");
        assert!(error.to_string().contains("5.10, 6.1, 6.12, 6, 7.2"));
    }
}
