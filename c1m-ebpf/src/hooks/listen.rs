//! Listeners that are older than the trace.

use core::{ffi::c_void, mem::offset_of};

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
    // By the helper: what the verifier knows to be a pointer is no number that a global function could have.
    let sk = Ptr(ctx as u64)
        .follow(offset_of!(IterTcp, sk_common))
        .unwrap_or(Ptr(0));
    if !sk.is_null() && sock_state(sk) == Some(LISTEN) {
        listeners::add_listener(sk.0);
    }
    0
}
