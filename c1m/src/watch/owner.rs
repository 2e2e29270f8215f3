//! Which processes hold a listener, and what they lack.

use std::{fs, path::PathBuf};

/// A listener is among the first files of its processes: no more of them are looked at.
const FIRST: u32 = 64;

/// Whether a `c1m` process has one of these sockets.
pub(super) fn is_ours(inodes: &[u32]) -> bool {
    let is_c1m = |process: &PathBuf| {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        name.trim_end() == "c1m"
    };
    processes()
        .filter(is_c1m)
        .any(|process| holds(&process, inodes))
}

/// RLIMIT_NOFILE of a process that has one of these sockets and all of its file descriptors in use; none if none has.
pub(super) fn exhausted_nofile(inodes: &[u32]) -> Option<u64> {
    let exhausted = |process: PathBuf| {
        let limit = soft_nofile(&fs::read_to_string(process.join("limits")).ok()?)?;
        // To count a server's hundred thousand descriptors takes seconds. The kernel gives the lowest that is free: while
        // the last one is, some are.
        fs::symlink_metadata(process.join(format!("fd/{}", limit.checked_sub(1)?))).ok()?;
        let open = fs::read_dir(process.join("fd")).ok()?.count() as u64;
        (open >= limit).then_some(limit)
    };
    processes()
        .filter(|process| holds(process, inodes))
        .find_map(exhausted)
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()
            .is_some_and(|name| name.parse::<u32>().is_ok())
    };
    entries.filter(is_process).map(|entry| entry.path())
}

fn holds(process: &std::path::Path, inodes: &[u32]) -> bool {
    let inode = |fd| {
        let link = fs::read_link(process.join(format!("fd/{fd}"))).ok()?;
        let number = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        number.parse().ok()
    };
    (0..FIRST)
        .filter_map(inode)
        .any(|inode| inodes.contains(&inode))
}

/// The soft limit in /proc/PID/limits; none if there is no limit.
fn soft_nofile(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 4096                 files     \n";
        assert_eq!(soft_nofile(limits), Some(1_024));
        assert_eq!(
            soft_nofile("Max open files  unlimited unlimited files"),
            None
        );
        assert_eq!(soft_nofile(""), None);
    }

    #[test]
    fn a_process_with_room_is_not_exhausted() {
        use std::os::linux::fs::MetadataExt as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let fd = std::os::fd::AsRawFd::as_raw_fd(&listener);
        let inode = fs::metadata(format!("/proc/self/fd/{fd}"))
            .expect("a file")
            .st_ino() as u32;
        assert!(holds(std::path::Path::new("/proc/self"), &[inode]));
        assert_eq!(exhausted_nofile(&[inode]), None);
    }
}
