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

/// What a controller tells, and where.
#[derive(Clone, Copy)]
struct Files {
    limit: &'static str,
    used: &'static str,
    /// The fields of memory.stat that are in use and given back when somebody needs them: the page cache. (Of slab that can be
    /// reclaimed much is held, by sockets among others.)
    reclaimable: &'static [&'static str],
}

/// Memory in bytes: sockets, their inodes, files and dentries are charged to it.
pub(super) fn memory() -> Option<(Room, String)> {
    let v2 = Files {
        limit: "memory.max",
        used: "memory.current",
        reclaimable: &["active_file", "inactive_file"],
    };
    let v1 = Files {
        limit: "memory.limit_in_bytes",
        used: "memory.usage_in_bytes",
        reclaimable: &["total_active_file", "total_inactive_file"],
    };
    nearest("memory", v2, v1)
}

/// Processes and threads.
pub(super) fn tasks() -> Option<(Room, String)> {
    let both = Files {
        limit: "pids.max",
        used: "pids.current",
        reclaimable: &[],
    };
    nearest("pids", both, both)
}

fn nearest(controller: &str, v2: Files, v1: Files) -> Option<(Room, String)> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let below = |mount: PathBuf, path: String, files: Files| {
        let mut found = Vec::new();
        for group in Path::new(&path).ancestors() {
            let dir = mount.join(group.strip_prefix("/").unwrap_or(group));
            if let Some(room) = room(&dir, files) {
                found.push((room, format!("cgroup {} {}", group.display(), files.limit)));
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

fn room(dir: &Path, files: Files) -> Option<Room> {
    let number = |name| {
        let text = fs::read_to_string(dir.join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // `max` is no number: no limit.
    let limit = number(files.limit).filter(|limit| *limit < NONE_FROM)?;
    let stat = match files.reclaimable {
        [] => String::new(),
        _ => fs::read_to_string(dir.join("memory.stat")).unwrap_or_default(),
    };
    Some(Room {
        limit,
        used: number(files.used)?.saturating_sub(sum_of(&stat, files.reclaimable)),
    })
}

/// The sum of these fields of a file with a name and a number in each line.
fn sum_of(text: &str, fields: &[&str]) -> u64 {
    let value = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        fields.contains(&name).then(|| value.trim().parse().ok())?
    };
    text.lines().filter_map(value).fold(0, u64::saturating_add)
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
    fn what_can_be_taken_back_is_not_in_use() {
        let stat = "anon 7\nfile 900\nactive_file 100\ninactive_file 20\nactive_filex 5\n";
        assert_eq!(sum_of(stat, &["active_file", "inactive_file"]), 120);
        assert_eq!(sum_of(stat, &[]), 0);
        assert_eq!(sum_of("active_file x\n", &["active_file"]), 0);
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in [
            ("max", "1000\n"),
            ("current", "930\n"),
            ("memory.stat", stat),
        ] {
            fs::write(dir.path().join(name), text).expect("it can be written");
        }
        let mut files = Files {
            limit: "max",
            used: "current",
            reclaimable: &["active_file"],
        };
        assert_eq!(room(dir.path(), files).map(Room::left), Some(170));
        files.reclaimable = &[];
        assert_eq!(room(dir.path(), files).map(Room::left), Some(70));
    }

    #[test]
    fn both_versions_name_their_path() {
        let text = "12:cpu,memory:/a/b\n3:name=systemd:/s\n0::/unified/x:y\n";
        assert_eq!(path_of(text, "memory").as_deref(), Some("/a/b"));
        assert_eq!(path_of(text, "").as_deref(), Some("/unified/x:y"));
        assert_eq!(path_of(text, "pids"), None);
    }
}
