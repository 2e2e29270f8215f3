//! What the listeners have waiting, their SYN queues too: the kernel tells no program but one of its own.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use c1m_common::{fact::QueueState, listener::Port, listener::Waiting};

use super::Tracer;
use crate::netns::Netns;

/// `enum bpf_cmd` and `enum bpf_attach_type` of linux/bpf.h.
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;
const BPF_TRACE_ITER: u32 = 28;

impl Tracer {
    /// The queues of every listener of the traced ports in a namespace. No other socket is looked at.
    pub fn queues(&self, namespace: &Netns) -> anyhow::Result<Vec<Waiting>> {
        let Some(program) = self.ebpf.program("find_listeners") else {
            return Ok(Vec::new());
        };
        let program = program.fd()?.as_fd().as_raw_fd() as u32;
        let link = bpf(BPF_LINK_CREATE, [program, 0, BPF_TRACE_ITER])?;
        let open = || bpf(BPF_ITER_CREATE, [link.as_raw_fd() as u32, 0, 0]);
        let bytes = read_all(namespace.run(open)??.into())?;
        let (entries, _) = bytes.as_chunks();
        Ok(entries.iter().map(waiting).collect())
    }
}

/// All that an iterator has to tell; one that stops early ends with EAGAIN.
pub(super) fn read_all(mut iterator: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match iterator.read_to_end(&mut bytes) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(bytes),
    }
}

/// The system call bpf() with what it takes first, and with zeros.
fn bpf(command: libc::c_int, first: [u32; 3]) -> io::Result<OwnedFd> {
    let mut attr = [0_u32; 16];
    attr[..first.len()].copy_from_slice(&first);
    // SAFETY: `attr` outlives the call, and its size is given.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(&attr)) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made it for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn waiting(bytes: &[u8; size_of::<Waiting>()]) -> Waiting {
    let word =
        |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Waiting {
        at: Port {
            namespace: word(0),
            port: u16::from_ne_bytes([bytes[4], bytes[5]]),
            pad: 0,
        },
        queue: QueueState {
            accept_queue: word(8),
            accept_limit: word(12),
            syn_queue: word(16),
            listeners: word(20),
        },
    }
}
