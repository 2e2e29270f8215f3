//! Listeners that are older than the trace.

use core::ffi::c_void;

use c1m_common::state::LISTEN;

use crate::{
    kernel::{Ptr, sock_state},
    listeners,
};

/// `struct bpf_iter__tcp`: each member is a pointer in a field of eight bytes.
#[repr(C)]
pub(crate) struct IterTcp {
    _meta: *const c_void,
    sk_common: *const c_void,
}

/// Walks the sockets of the reader's network namespace, `tcp4_seq_ops` of net/ipv4/tcp_ipv4.c.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub(crate) extern "C" fn find_listeners(ctx: *mut IterTcp) -> i32 {
    // SAFETY: the kernel passes a live context of this layout.
    let sk = Ptr(unsafe { (*ctx).sk_common } as u64);
    if !sk.is_null() && sock_state(sk) == Some(LISTEN) {
        listeners::add(sk);
    }
    0
}
