//! System calls that fail before there is a connection, of a command that is traced and does not tell: attached only
//! for it, and asked only of its process tree.

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user},
    macros::{fexit, kprobe, kretprobe, raw_tracepoint},
    programs::{FExitContext, ProbeContext, RawTracePointContext, RetProbeContext},
};
use c1m_common::{
    AF_INET, AF_INET6,
    call::{Call, kind},
    state::CLOSE,
    stats::{event, hook},
};

use super::function::{Arguments, returned};
use crate::{
    fold::lose,
    kernel::{
        Ptr, current_file, current_inum, is_server_port, is_traced_namespace, sock_state,
        syn_sequence,
    },
    maps::{CALLS, PENDING, TREE, config, folding, offset, stats},
    words::v4_part,
};

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`: the child of one in the tree is in it.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn process_fork(ctx: RawTracePointContext) -> i32 {
    if is_in_tree() {
        let child = Ptr(ctx.arg(1));
        if let Some(tgid) = child.read::<u32>(offset!(task_tgid))
            && TREE.insert(tgid, 1, 0).is_err()
        {
            lose(hook::CALL);
        }
    }
    0
}

/// `sched_process_exit(struct task_struct *p, …)`: a number may be given to a stranger next.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn process_exit(ctx: RawTracePointContext) -> i32 {
    let both = bpf_get_current_pid_tgid();
    if both as u32 == ctx.tgid() {
        if is_in_tree()
            && current_inum().is_some_and(|inum| !is_traced_namespace(inum))
            && let Some(stats) = stats()
        {
            stats.events[event::ENDED_ELSEWHERE] += 1;
        }
        let _ = TREE.remove(ctx.tgid());
    }
    0
}

#[inline(always)]
pub(super) fn is_in_tree() -> bool {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    TREE.get_ptr(tgid).is_some()
}

/// The arguments of a call, as far as they are needed.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Pending {
    /// A [`kind`] value.
    call: u64,
    /// The first: address family, descriptor or file.
    first: u64,
    /// The second: type of socket, or address.
    second: u64,
}

impl Pending {
    #[inline(always)]
    pub(super) fn new(call: u8, first: u64, second: u64) -> Self {
        Self {
            call: call.into(),
            first,
            second,
        }
    }

    #[inline(always)]
    fn of(args: &impl Arguments, call: u8) -> Self {
        Self::new(call, args.pointer(0).0, args.pointer(1).0)
    }
}

/// `int __sys_socket(int family, int type, int protocol)`
#[kprobe]
pub(crate) fn k_socket(ctx: ProbeContext) -> u32 {
    remember(&ctx, kind::SOCKET)
}

/// `int __sys_bind(int fd, struct sockaddr __user *umyaddr, int addrlen)`
#[kprobe]
pub(crate) fn k_bind(ctx: ProbeContext) -> u32 {
    remember(&ctx, kind::BIND)
}

/// `int __sys_connect_file(struct file *file, struct sockaddr_storage *address, int addrlen, int file_flags)`: connect(),
/// and that of io_uring.
#[kprobe]
pub(crate) fn k_connect(ctx: ProbeContext) -> u32 {
    remember(&ctx, kind::CONNECT)
}

/// `int __sys_accept4(int fd, struct sockaddr __user *upeer_sockaddr, int __user *upeer_addrlen, int flags)`
#[kprobe]
pub(crate) fn k_accept(ctx: ProbeContext) -> u32 {
    remember(&ctx, kind::ACCEPT)
}

#[inline(always)]
fn remember(ctx: &ProbeContext, call: u8) -> u32 {
    if is_in_tree() {
        let pending = Pending::of(ctx, call);
        let thread = bpf_get_current_pid_tgid();
        if PENDING.insert(thread, pending, 0).is_err() {
            lose(hook::CALL);
        }
    }
    0
}

/// Any of them returns.
#[kretprobe]
pub(crate) fn kr_call(ctx: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    if let Some(pending) = PENDING.get_ptr(thread) {
        // SAFETY: the entry is this thread's alone.
        let pending = unsafe { *pending };
        let _ = PENDING.remove(thread);
        let _ = ended(&pending, ctx.ret::<u64>() as i32, Address::OfFunction);
    }
    0
}

/// `__sys_socket` returns.
#[fexit]
pub(crate) fn fx_socket(ctx: FExitContext) -> i32 {
    by_exit(&ctx, kind::SOCKET, config!(sys_socket_args))
}

/// `__sys_bind` returns.
#[fexit]
pub(crate) fn fx_bind(ctx: FExitContext) -> i32 {
    by_exit(&ctx, kind::BIND, config!(sys_bind_args))
}

/// `__sys_connect_file` returns.
#[fexit]
pub(crate) fn fx_connect(ctx: FExitContext) -> i32 {
    by_exit(&ctx, kind::CONNECT, config!(sys_connect_file_args))
}

/// `__sys_accept4` returns.
#[fexit]
pub(crate) fn fx_accept(ctx: FExitContext) -> i32 {
    by_exit(&ctx, kind::ACCEPT, config!(sys_accept4_args))
}

#[inline(always)]
fn by_exit(ctx: &FExitContext, call: u8, args: u32) -> i32 {
    if let Some(value) = returned(ctx, args)
        && (value as i32) < 0
        && is_in_tree()
    {
        let _ = ended(&Pending::of(ctx, call), value as i32, Address::OfFunction);
    }
    0
}

/// `sys_exit(struct pt_regs *regs, long ret)`: every system call of every thread comes here, so only where nothing else
/// tells.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub(crate) fn sys_exit(ctx: RawTracePointContext) -> i32 {
    let value = ctx.arg::<u64>(1) as i64;
    if (-4095..0).contains(&value) && is_in_tree() {
        let _ = syscall(Ptr(ctx.arg(0)), value as i32);
    }
    0
}

#[inline(always)]
fn syscall(regs: Ptr, value: i32) -> Option<()> {
    let number = regs.read::<u64>(offset!(regs_number))? as u32;
    let first: u64 = regs.read(offset!(regs_first))?;
    let second: u64 = regs.read(offset!(regs_second))?;
    let is = |traced: u32| number == traced;
    let call = if is(config!(nr_socket)) {
        kind::SOCKET
    } else if is(config!(nr_bind)) {
        kind::BIND
    } else if is(config!(nr_connect)) {
        kind::CONNECT
    } else if is(config!(nr_accept)) || is(config!(nr_accept4)) {
        kind::ACCEPT
    } else {
        return None;
    };
    let first = match call {
        kind::CONNECT => current_file(first as u32)?.0,
        _ => first,
    };
    ended(&Pending::new(call, first, second), value, Address::User)
}

/// Where the address lies that a call was given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Address {
    /// It has none.
    None,
    /// Where the program has it.
    User,
    /// In a copy of the kernel's.
    Kernel,
    /// bind()'s where the program has it, connect()'s in the copy.
    OfFunction,
}

/// A call of the tree has ended; if it failed in a way that belongs to a connection, it counts.
#[inline(always)]
pub(super) fn ended(pending: &Pending, value: i32, at: Address) -> Option<()> {
    if value >= 0 || !folding() || !is_traced_namespace(current_inum()?) {
        return None;
    }
    let errno = -value as u16;
    let mut call = Call {
        address: [0; 16],
        port: 0,
        errno,
        call: pending.call as u8,
        pad: [0; 3],
    };
    match pending.call as u8 {
        kind::SOCKET => {
            let family = pending.first as u16;
            let stream = pending.second & SOCK_TYPE_MASK == SOCK_STREAM;
            if !stream || family != AF_INET && family != AF_INET6 {
                return None;
            }
        }
        kind::BIND => {
            address(pending.second, at != Address::Kernel, &mut call)?;
            if is_server_port(call.port) {
                return None;
            }
        }
        kind::CONNECT => {
            // Not failures, or told by what the network brought, or by the socket that looked for a port.
            if matches!(
                errno,
                EINPROGRESS
                    | EALREADY
                    | EISCONN
                    | EINTR
                    | ERESTARTSYS
                    | ECONNREFUSED
                    | ECONNRESET
                    | ETIMEDOUT
                    | EADDRNOTAVAIL
            ) {
                return None;
            }
            let sk = Ptr(pending.first)
                .follow(offset!(file_private))?
                .follow(offset!(socket_sk))?;
            // Once a SYN was sent the error is that of an answer, asked for by another connect().
            if sock_state(sk)? != CLOSE || syn_sequence(sk)? != 0 {
                return None;
            }
            address(pending.second, at == Address::User, &mut call)?;
            if !is_server_port(call.port) {
                return None;
            }
        }
        kind::ACCEPT if !matches!(errno, EMFILE | ENFILE | ENOMEM | ENOBUFS) => return None,
        _ => {}
    }
    count(&call)
}

/// Reads a `sockaddr_in` or `sockaddr_in6`.
#[inline(always)]
fn address(at: u64, from_user: bool, call: &mut Call) -> Option<()> {
    let start: [u8; 8] = read(at, from_user)?;
    call.port = u16::from_be_bytes([start[2], start[3]]);
    match u16::from_ne_bytes([start[0], start[1]]) {
        AF_INET => v4_part(&mut call.address).copy_from_slice(&start[4..]),
        AF_INET6 => call.address = read(at + 8, from_user)?,
        _ => return None,
    }
    Some(())
}

#[inline(always)]
fn read<T>(at: u64, from_user: bool) -> Option<T> {
    if from_user {
        // SAFETY: the helper checks the address; T is an array of bytes.
        unsafe { bpf_probe_read_user(at as *const T) }.ok()
    } else {
        Ptr(at).read(0)
    }
}

#[inline(always)]
fn count(call: &Call) -> Option<()> {
    let _ = CALLS.insert(call, 0, u64::from(BPF_NOEXIST));
    match CALLS.get_ptr_mut(call) {
        // SAFETY: entries are never deleted, and each CPU has a count of its own.
        Some(count) => unsafe { *count += 1 },
        None => lose(hook::CALL),
    }
    Some(())
}

const SOCK_TYPE_MASK: u64 = 0xf;
const SOCK_STREAM: u64 = 1;
const EINTR: u16 = 4;
const ENOMEM: u16 = 12;
const ENFILE: u16 = 23;
const EMFILE: u16 = 24;
const EADDRNOTAVAIL: u16 = 99;
const ECONNRESET: u16 = 104;
const ENOBUFS: u16 = 105;
const EISCONN: u16 = 106;
const ETIMEDOUT: u16 = 110;
const ECONNREFUSED: u16 = 111;
const EALREADY: u16 = 114;
const EINPROGRESS: u16 = 115;
const ERESTARTSYS: u16 = 512;
