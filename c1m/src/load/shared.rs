//! Memory that processes share: a memfd, mapped.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use memmap2::{MmapOptions, MmapRaw};

/// A mapping of zeros that a child process can map too, by the file descriptor that it inherits.
#[derive(Debug)]
pub(super) struct Shared {
    map: MmapRaw,
    fd: OwnedFd,
}

impl Shared {
    /// `bytes` of zeros, at least one. Untouched pages take no memory. `name` is for /proc alone.
    pub(super) fn create(name: &str, bytes: usize) -> io::Result<Self> {
        let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, bytes as u64)?;
        Self::map(fd, bytes)
    }

    /// What is behind an inherited fd. Errors if it is not `bytes` large.
    pub(super) fn open(fd: OwnedFd, bytes: usize) -> io::Result<Self> {
        let size = rustix::fs::fstat(&fd)?.st_size;
        if u64::try_from(size) != Ok(bytes as u64) {
            return Err(io::Error::other(format!(
                "the shared memory has {size} bytes, not {bytes}"
            )));
        }
        Self::map(fd, bytes)
    }

    fn map(fd: OwnedFd, bytes: usize) -> io::Result<Self> {
        let file = File::from(fd);
        let map = MmapOptions::new().len(bytes).map_raw(&file)?;
        Ok(Self {
            map,
            fd: file.into(),
        })
    }

    /// Its first byte: page-aligned, and good for as long as `self` lives. Every process may read and write
    /// there, so it is to be used through atomics only.
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.map.as_ptr()
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
