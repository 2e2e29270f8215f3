//! Small BPF programs that a lab writes, loads and attaches itself: somebody's policy, in a few instructions.

use std::{
    io,
    ops::Range,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use anyhow::Context;

/// What a program is for: `enum bpf_prog_type` and `enum bpf_attach_type`, in the kernel's numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    program: u32,
    attach: u32,
}

/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR` at `BPF_CGROUP_INET4_CONNECT`
pub(super) const CONNECT4: Kind = Kind {
    program: 18,
    attach: 10,
};
/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR` at `BPF_CGROUP_INET4_BIND`
pub(super) const BIND4: Kind = Kind {
    program: 18,
    attach: 8,
};
/// `BPF_PROG_TYPE_CGROUP_SKB` at `BPF_CGROUP_INET_EGRESS`
pub(super) const CGROUP_EGRESS: Kind = Kind {
    program: 8,
    attach: 1,
};
/// `BPF_PROG_TYPE_SCHED_CLS` at `BPF_TCX_INGRESS`
pub(super) const TCX_INGRESS: Kind = Kind {
    program: 3,
    attach: 46,
};

/// `BPF_PROG_TYPE_XDP` at `BPF_XDP`
pub(super) const XDP: Kind = Kind {
    program: 6,
    attach: 37,
};

/// An instruction: `struct bpf_insn`, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction(u64);

const fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Instruction {
    Instruction(
        code as u64
            | (to as u64) << 8
            | (from as u64) << 12
            | (offset as u16 as u64) << 16
            | (value as u32 as u64) << 32,
    )
}

/// `to = value`
const fn set(to: u8, value: i32) -> Instruction {
    instruction(0xb7, to, 0, 0, value)
}

/// `to = from`
const fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbf, to, from, 0, 0)
}

const EXIT: Instruction = instruction(0x95, 0, 0, 0, 0);

/// `r0 = refuse` if `r3` is in the range, else `r0 = allow`.
fn choose(ports: Range<u16>, allow: i32, refuse: i32) -> [Instruction; 5] {
    [
        set(0, allow),
        // if r3 < start, over the next two
        instruction(0xa5, 3, 0, 2, ports.start.into()),
        // if r3 >= end, over the next
        instruction(0x35, 3, 0, 1, ports.end.into()),
        set(0, refuse),
        EXIT,
    ]
}

/// For a `struct bpf_sock_addr`: refuses a connect from these ports.
pub(super) fn refuse_connect(ports: Range<u16>) -> Vec<Instruction> {
    // r2 = context->sk, r3 = r2->src_port
    let mut program = vec![
        instruction(0x79, 2, 1, 64, 0),
        instruction(0x61, 3, 2, 44, 0),
    ];
    program.extend(choose(ports, 1, 0));
    program
}

/// For a `struct bpf_sock_addr`: refuses a bind to these ports.
pub(super) fn refuse_bind(ports: Range<u16>) -> Vec<Instruction> {
    // r3 = context->user_port, which is in network byte order
    let mut program = vec![
        instruction(0x61, 3, 1, 24, 0),
        instruction(0xdc, 3, 0, 0, 16),
    ];
    program.extend(choose(ports, 1, 0));
    program
}

/// For a `struct __sk_buff` with an IPv4 header of 20 bytes at `network`: drops what comes from these ports.
pub(super) fn drop_from(
    ports: Range<u16>,
    network: i32,
    allow: i32,
    refuse: i32,
) -> Vec<Instruction> {
    /// `bpf_skb_load_bytes(skb, offset, to, length)`
    const LOAD_BYTES: i32 = 26;
    let mut program = vec![
        set(2, network + 20),
        copy(3, 10),
        // r3 += -8
        instruction(0x07, 3, 0, 0, -8),
        set(4, 2),
        instruction(0x85, 0, 0, 0, LOAD_BYTES),
        // r3 = *(u16 *)(r10 - 8), from network byte order; if nothing was loaded: 0
        set(3, 0),
        instruction(0x55, 0, 0, 2, 0),
        instruction(0x69, 3, 10, -8, 0),
        instruction(0xdc, 3, 0, 0, 16),
    ];
    program.extend(choose(ports, allow, refuse));
    program
}

/// For a `struct xdp_md` of an Ethernet frame with an IPv4 header of 20 bytes: drops what comes from these ports.
pub(super) fn drop_frames_from(ports: Range<u16>) -> Vec<Instruction> {
    /// Where the source port lies, and `XDP_PASS` and `XDP_DROP`.
    const PORT: i16 = 14 + 20;
    const VERDICTS: [i32; 2] = [2, 1];
    let [pass, refuse] = VERDICTS;
    let mut program = vec![
        // r2 = context->data, r5 = context->data_end
        instruction(0x61, 2, 1, 0, 0),
        instruction(0x61, 5, 1, 4, 0),
        // Of a shorter frame: 0
        set(3, 0),
        copy(4, 2),
        instruction(0x07, 4, 0, 0, i32::from(PORT) + 2),
        // if r4 > r5, over the next two
        instruction(0x2d, 4, 5, 2, 0),
        instruction(0x69, 3, 2, PORT, 0),
        instruction(0xdc, 3, 0, 0, 16),
    ];
    program.extend(choose(ports, pass, refuse));
    program
}

/// `union bpf_attr`: the commands used here need no more than its first 128 bytes.
#[repr(C, align(8))]
struct Attributes([u8; 128]);

impl Attributes {
    fn new() -> Self {
        Self([0; 128])
    }

    fn word(&mut self, at: usize, value: u32) -> &mut Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn address(&mut self, at: usize, of: *const u8) -> &mut Self {
        self.0[at..at + 8].copy_from_slice(&(of as u64).to_ne_bytes());
        self
    }

    fn call(&self, command: libc::c_long) -> io::Result<libc::c_long> {
        // SAFETY: the attributes outlive the call and their size is given; what they point to is the caller's.
        let done =
            unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_ptr(), self.0.len() as u32) };
        match done {
            0.. => Ok(done),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Loads a program. Errors: the kernel refuses it.
pub(super) fn load(kind: Kind, program: &[Instruction]) -> anyhow::Result<OwnedFd> {
    const PROG_LOAD: libc::c_long = 5;
    const LICENSE: &std::ffi::CStr = c"GPL";
    super::process::lock_memory();
    let mut attributes = Attributes::new();
    attributes
        .word(0, kind.program)
        .word(4, program.len() as u32)
        .address(8, program.as_ptr().cast())
        .address(16, LICENSE.as_ptr().cast())
        // Of those attached by a link, the kind is said when the link is made.
        .word(
            68,
            if kind.attach == TCX_INGRESS.attach {
                0
            } else {
                kind.attach
            },
        );
    let fd = attributes
        .call(PROG_LOAD)
        .context("the kernel refused a BPF program of the lab")?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Loads a program and attaches it to a control group, until that is removed.
pub(super) fn attach_to_cgroup(
    kind: Kind,
    program: &[Instruction],
    cgroup: BorrowedFd<'_>,
) -> anyhow::Result<()> {
    const PROG_ATTACH: libc::c_long = 8;
    let program = load(kind, program)?;
    let mut attributes = Attributes::new();
    attributes
        .word(0, cgroup.as_raw_fd() as u32)
        .word(4, program.as_raw_fd() as u32)
        .word(8, kind.attach)
        .call(PROG_ATTACH)
        .context("cannot attach a BPF program to the lab's control group")?;
    Ok(())
}

/// Loads a program and attaches it to a device of the calling thread's namespace, for as long as the link lives.
/// `flags` are those of the kind. Errors: EINVAL where the kernel has no TCX (before 6.6).
pub(super) fn attach_to_device(
    kind: Kind,
    program: &[Instruction],
    device: u32,
    flags: u32,
) -> anyhow::Result<OwnedFd> {
    const LINK_CREATE: libc::c_long = 28;
    let program = load(kind, program)?;
    let mut attributes = Attributes::new();
    let fd = attributes
        .word(0, program.as_raw_fd() as u32)
        .word(4, device)
        .word(8, kind.attach)
        .word(12, flags)
        .call(LINK_CREATE)
        .context("cannot attach a BPF program to a device")?;
    // SAFETY: as in `load`.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_laid_out_as_the_kernel_reads_it() {
        // code, registers (to in the low half), offset, value
        let bytes = instruction(0x61, 3, 2, 44, -1).0.to_le_bytes();
        assert_eq!(bytes, [0x61, 0x23, 44, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(EXIT.0, 0x95);
    }
}
