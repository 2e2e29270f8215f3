//! A control group of a lab's own, for programs that are attached to it.

use std::{
    fs,
    io::{self, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use anyhow::Context;
use rustix::{
    fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsmount,
        fsopen,
    },
};

use super::Skip;

/// How labs call theirs; the process id follows.
const PREFIX: &str = "c1m-lab-";

/// A group of cgroup2's hierarchy with no controller in use, or of the memory controller's own. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Cgroup {
    root: OwnedFd,
    name: String,
    dir: OwnedFd,
    /// Whether the hierarchy's root was given the memory controller to lend.
    lent: bool,
    /// Whether it ends who asks for memory that it has not.
    kills: bool,
}

impl Cgroup {
    /// Makes one below the root of the hierarchy, whether or not that is mounted here. Errors: this kernel has no
    /// cgroup2, which is a [`Skip`].
    pub(super) fn create() -> anyhow::Result<Self> {
        Self::of("cgroup2", None)
    }

    /// Makes one that has no memory to give, and does not end who asks for some. Errors: this kernel has no memory
    /// controller, or uses it otherwise, which is a [`Skip`].
    pub(super) fn without_memory() -> anyhow::Result<Self> {
        let mut group = Self::of_memory(0)?;
        // The first version of the controller can be told to end nobody; many kernels have the second alone, which
        // spares who may not be ended.
        group.kills = write(group.dir.as_fd(), "memory.oom_control", "1").is_err();
        Ok(group)
    }

    /// Makes one that has so many bytes to give. Errors: likewise.
    pub(super) fn of_memory(bytes: u64) -> anyhow::Result<Self> {
        let bytes = bytes.to_string();
        if let Ok(group) = Self::of("cgroup", Some("memory")) {
            write(group.dir.as_fd(), "memory.limit_in_bytes", &bytes)?;
            return Ok(group);
        }
        let mut group = Self::create()?;
        let files = read(group.root.as_fd(), "cgroup.subtree_control")?;
        if !files.split_whitespace().any(|name| name == "memory") {
            write(group.root.as_fd(), "cgroup.subtree_control", "+memory")
                .map_err(|error| Skip(format!("no memory controller here: {error}")))?;
            group.lent = true;
        }
        write(group.dir.as_fd(), "memory.max", &bytes)?;
        Ok(group)
    }

    fn of(kind: &str, controller: Option<&str>) -> anyhow::Result<Self> {
        let open = || -> io::Result<OwnedFd> {
            let files = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
            if let Some(controller) = controller {
                fsconfig_set_flag(files.as_fd(), controller)?;
            }
            fsconfig_create(files.as_fd())?;
            let flags = FsMountFlags::FSMOUNT_CLOEXEC;
            Ok(fsmount(files.as_fd(), flags, MountAttrFlags::empty())?)
        };
        let root =
            open().map_err(|error| Skip(format!("{kind} cannot be mounted here: {error}")))?;
        clear(root.as_fd());
        let name = format!("{PREFIX}{}", std::process::id());
        mkdirat(&root, &name, Mode::from_raw_mode(0o755))
            .map_err(|error| Skip(format!("cannot make the control group {name}: {error}")))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(&root, &name, flags, Mode::empty()).context("control group")?;
        Ok(Self {
            root,
            name,
            dir,
            lent: false,
            kills: false,
        })
    }

    /// Takes a process in, which the OOM killer may not have from now on.
    pub(super) fn take_in(&self, pid: u32) -> anyhow::Result<()> {
        if self.kills {
            fs::write(format!("/proc/{pid}/oom_score_adj"), "-1000").context("oom_score_adj")?;
        }
        write(self.dir.as_fd(), "cgroup.procs", &pid.to_string()).context("cgroup.procs")
    }

    /// Takes a process in, which the OOM killer may have before all others.
    pub(super) fn expose(&self, pid: u32) -> anyhow::Result<()> {
        fs::write(format!("/proc/{pid}/oom_score_adj"), "1000").context("oom_score_adj")?;
        write(self.dir.as_fd(), "cgroup.procs", &pid.to_string()).context("cgroup.procs")
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
        if self.lent {
            let _ = write(self.root.as_fd(), "cgroup.subtree_control", "-memory");
        }
    }
}

fn write(dir: BorrowedFd<'_>, file: &str, value: &str) -> io::Result<()> {
    let opened = openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    fs::File::from(opened).write_all(value.as_bytes())
}

fn read(dir: BorrowedFd<'_>, file: &str) -> io::Result<String> {
    let opened = openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    io::read_to_string(fs::File::from(opened))
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
