//! Limits of the host, seen where they refuse something.

use aya_ebpf::{
    macros::{kretprobe, raw_tracepoint},
    programs::{RawTracePointContext, RetProbeContext},
};
use c1m_common::stats::{event, hook};

use super::function::{at_entry, at_return, is_error, is_false, note_sock, noted_sock};
use crate::{
    fold::lose,
    kernel::{Ptr, current_inum, is_traced_namespace, traced_side},
    maps::{VICTIMS, config, folding, offset, stats, window},
};

/// `mark_victim(int pid)`, from 6.9 on `mark_victim(struct task_struct *task, uid_t uid)`: the OOM killer has chosen a process,
/// any of the host's.
#[raw_tracepoint(tracepoint = "mark_victim")]
pub(crate) fn mark_victim(ctx: RawTracePointContext) -> i32 {
    let pid = match config!(mark_victim_args) {
        1 => Some(ctx.arg::<u64>(0) as u32),
        _ => Ptr(ctx.arg(0)).read(offset!(task_tgid)),
    };
    if let Some(pid) = pid
        && VICTIMS.insert(pid, 1, 0).is_err()
    {
        lose(hook::END);
    }
    0
}

/// `bool early_drop(struct net *net, unsigned int hash)` of nf_conntrack_core.c: asked only when the table is full; no,
/// nothing could be thrown out, and the packet is dropped.
#[kretprobe]
pub(crate) fn kr_early_drop(ctx: RetProbeContext) -> u32 {
    if is_false(ctx.ret::<u64>())
        && let Some(window) = window()
    {
        window.conntrack_full = 1;
    }
    0
}

// `int tcp_twsk_unique(struct sock *sk, struct sock *sktw, void *twp)`: no, the port that connect() tries is held by
// TIME_WAIT.
at_entry!(k_twsk_unique, f_twsk_unique, note_sock);
at_return!(kr_twsk_unique, fx_twsk_unique, twsk_unique_args, port_free);

#[inline(always)]
fn port_free(unique: u64) -> Option<()> {
    let sk = noted_sock()?;
    if unique as u32 != 0 || !folding() {
        return None;
    }
    traced_side(sk)?;
    stats()?.events[event::PORT_IN_TIME_WAIT] += 1;
    Some(())
}

// `struct file *alloc_empty_file(int flags, const struct cred *cred)`: -ENFILE at fs.file-max.
at_return!(
    kr_alloc_empty_file,
    fx_alloc_empty_file,
    alloc_empty_file_args,
    file_made
);

#[inline(always)]
fn file_made(file: u64) -> Option<()> {
    if is_error(file) && file as i64 == -ENFILE {
        refused(event::FILE_REFUSED)?;
    }
    Some(())
}

// `int alloc_fd(unsigned start, unsigned end, unsigned flags)`: -EMFILE at RLIMIT_NOFILE or fs.nr_open.
at_return!(kr_alloc_fd, fx_alloc_fd, alloc_fd_args, descriptor_made);

#[inline(always)]
fn descriptor_made(fd: u64) -> Option<()> {
    if fd as i32 == -EMFILE {
        refused(event::DESCRIPTOR_REFUSED)?;
    }
    Some(())
}

#[inline(always)]
fn refused(which: usize) -> Option<()> {
    if folding() && is_traced_namespace(current_inum()?) {
        stats()?.events[which] += 1;
    }
    Some(())
}

const ENFILE: i64 = 23;
const EMFILE: i32 = 24;
