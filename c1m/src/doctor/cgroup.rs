//! The limits of the cgroups that this process is in, of version 1 and 2: the one with the least room counts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::facts::Room;

/// Where version 2 is mounted, and version 1's controllers.
const MOUNT: &str = "/sys/fs/cgroup";
/// Version 1 writes "no limit" as a number near this one.
const NONE_FROM: u64 = 1 << 60;

/// Memory in bytes: sockets, their inodes, files and dentries are charged to it.
pub(super) fn memory() -> Option<(Room, String)> {
    nearest(
        "memory",
        ["memory.max", "memory.current"],
        ["memory.limit_in_bytes", "memory.usage_in_bytes"],
    )
}

/// Processes and threads.
pub(super) fn tasks() -> Option<(Room, String)> {
    nearest(
        "pids",
        ["pids.max", "pids.current"],
        ["pids.max", "pids.current"],
    )
}

fn nearest(controller: &str, v2: [&str; 2], v1: [&str; 2]) -> Option<(Room, String)> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let below = |mount: PathBuf, path: String, files: [&str; 2]| {
        let mut found = Vec::new();
        for group in Path::new(&path).ancestors() {
            let dir = mount.join(group.strip_prefix("/").unwrap_or(group));
            if let Some(room) = room(&dir, files) {
                found.push((room, format!("cgroup {} {}", group.display(), files[0])));
            }
        }
        found
    };
    let mut all = Vec::new();
    if let Some(path) = path_of(&own, "") {
        all.extend(below(MOUNT.into(), path, v2));
    }
    if let Some(path) = path_of(&own, controller) {
        all.extend(below(Path::new(MOUNT).join(controller), path, v1));
    }
    all.into_iter().min_by_key(|(room, _)| room.left())
}

fn room(dir: &Path, [limit, used]: [&str; 2]) -> Option<Room> {
    let number = |name| {
        let text = fs::read_to_string(dir.join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // `max` is no number: no limit.
    let limit = number(limit).filter(|limit| *limit < NONE_FROM)?;
    Some(Room {
        limit,
        used: number(used)?,
    })
}

/// The path of a controller in /proc/PID/cgroup; version 2's has the empty name.
fn path_of(text: &str, controller: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = match controller {
            "" => names.is_empty(),
            _ => names.split(',').any(|name| name == controller),
        };
        is_it.then(|| path.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_name_their_path() {
        let text = "12:cpu,memory:/a/b\n3:name=systemd:/s\n0::/unified/x:y\n";
        assert_eq!(path_of(text, "memory").as_deref(), Some("/a/b"));
        assert_eq!(path_of(text, "").as_deref(), Some("/unified/x:y"));
        assert_eq!(path_of(text, "pids"), None);
    }
}
