//! A control group of a lab's own, for programs that are attached to it.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use anyhow::Context;
use rustix::{
    fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};

use super::Skip;

/// How labs call theirs; the process id follows.
const PREFIX: &str = "c1m-lab-";

/// A group of cgroup2's hierarchy, with no controller in use. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Cgroup {
    root: OwnedFd,
    name: String,
    dir: OwnedFd,
}

impl Cgroup {
    /// Makes one below the root of the hierarchy, whether or not that is mounted here. Errors: this kernel has no
    /// cgroup2, which is a [`Skip`].
    pub(super) fn create() -> anyhow::Result<Self> {
        let open = || -> io::Result<OwnedFd> {
            let kind = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(kind.as_fd())?;
            let flags = FsMountFlags::FSMOUNT_CLOEXEC;
            Ok(fsmount(kind.as_fd(), flags, MountAttrFlags::empty())?)
        };
        let root =
            open().map_err(|error| Skip(format!("cgroup2 cannot be mounted here: {error}")))?;
        clear(root.as_fd());
        let name = format!("{PREFIX}{}", std::process::id());
        mkdirat(&root, &name, Mode::from_raw_mode(0o755))
            .map_err(|error| Skip(format!("cannot make the control group {name}: {error}")))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(&root, &name, flags, Mode::empty()).context("cgroup2")?;
        Ok(Self { root, name, dir })
    }

    /// A file through which a process enters: it writes 0.
    pub(super) fn entrance(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        Ok(openat(&self.dir, "cgroup.procs", flags, Mode::empty())?)
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Whoever still is inside is ended after the lab, and the next lab clears the empty group away.
        let _ = unlinkat(&self.root, &self.name, AtFlags::REMOVEDIR);
    }
}

/// Removes the groups of labs that were killed.
fn clear(root: BorrowedFd<'_>) {
    let Ok(names) = rustix::fs::Dir::read_from(root) else {
        return;
    };
    for entry in names.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| fs::metadata(format!("/proc/{pid}")).is_err()) {
            let _ = unlinkat(root, &name, AtFlags::REMOVEDIR);
        }
    }
}
