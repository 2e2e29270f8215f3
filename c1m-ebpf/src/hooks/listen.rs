//! Listeners that are older than the trace, and what every listener has waiting.

use core::{ffi::c_void, mem::offset_of};

use aya_ebpf::{bindings::seq_file, helpers::bpf_seq_write};
use c1m_common::{listener::Waiting, state::LISTEN};

use crate::{
    kernel::{Ptr, sock_state},
    listeners,
};

/// `struct bpf_iter__tcp`: each member is a pointer in a field of eight bytes.
#[repr(C)]
pub(crate) struct IterTcp {
    meta: *const IterMeta,
    sk_common: *const c_void,
}

/// The beginning of `struct bpf_iter_meta`.
#[repr(C)]
struct IterMeta {
    seq: *mut seq_file,
}

/// Walks the listeners of the reader's network namespace, `tcp4_seq_ops` of net/ipv4/tcp_ipv4.c: they come before all
/// other sockets (`tcp_get_idx`), at the first of which it ends. The reader gets a [`Waiting`] for each.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub(crate) extern "C" fn find_listeners(ctx: *mut IterTcp) -> i32 {
    // By the helper: what the verifier knows to be a pointer is no number that a global function could have.
    let Some(sk) = Ptr(ctx as u64).follow(offset_of!(IterTcp, sk_common)) else {
        return 0;
    };
    if sock_state(sk) != Some(LISTEN) {
        return STOP;
    }
    let mut waiting = Waiting::default();
    if let Some(port) = listeners::port_of(sk) {
        listeners::add_listener(sk.0);
        waiting.at = port;
        listeners::queue(sk, &mut waiting.queue);
        let size = size_of::<Waiting>() as u32;
        // SAFETY: the kernel passes a live context of this layout, and `waiting` is as long as is said.
        unsafe {
            bpf_seq_write(
                (*(*ctx).meta).seq,
                (&raw const waiting).cast_mut().cast(),
                size,
            )
        };
    }
    0
}

/// "Try this socket again" (`bpf_iter_run_prog`): what was read so far is handed over, and nobody reads on.
const STOP: i32 = 1;
