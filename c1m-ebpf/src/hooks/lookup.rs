//! To which listener the kernel gives a SYN: asked once the run is over, for drops whose listener nothing told.

use aya_ebpf::{
    bindings::bpf_sock_tuple,
    helpers::{bpf_sk_release, bpf_skc_lookup_tcp},
    macros::classifier,
    programs::TcContext,
};
use c1m_common::{listener::LOOKUPS_MAX, tuple::Tuple};

use crate::{
    maps::LOOKUPS,
    words::{V4_PREFIX, words},
};

/// `BPF_F_CURRENT_NETNS`
const HERE: u64 = -1_i64 as u64;

/// The IPv6 half of `struct bpf_sock_tuple`, by words; the ports in network order.
#[repr(C)]
struct V6 {
    client: [u32; 4],
    server: [u32; 4],
    ports: [u16; 2],
}

/// The IPv4 half.
#[repr(C)]
struct V4 {
    client: u32,
    server: u32,
    ports: [u16; 2],
}

/// Attached nowhere: it is run for the answer (BPF_PROG_TEST_RUN), in the listeners' namespace. `__inet_lookup_listener` is what
/// answers, as it does for a SYN.
#[classifier]
pub(crate) fn which_listener(ctx: TcContext) -> i32 {
    let Some(lookups) = LOOKUPS.get_ptr_mut(0) else {
        return 0;
    };
    let mut i = 0;
    while i < LOOKUPS_MAX {
        // SAFETY: one run at a time, and the index is within both arrays.
        unsafe {
            let tuple = &(*lookups).tuples[i];
            if tuple.server_port == 0 {
                break;
            }
            look_up(&ctx, tuple, &raw mut (*lookups).socks[i]);
        }
        i += 1;
    }
    0
}

/// Stores the listener's address while it is a pointer still: no arithmetic is allowed with it.
#[inline(always)]
fn look_up(ctx: &TcContext, tuple: &Tuple, answer: *mut u64) {
    let (client, server) = (words(&tuple.client), words(&tuple.server));
    let ports = [tuple.client_port.to_be(), tuple.server_port.to_be()];
    let [a, b, c, last] = server;
    let found = if [a, b, c] == V4_PREFIX {
        let mut v4 = V4 {
            client: client[3],
            server: last,
            ports,
        };
        find(ctx, (&raw mut v4).cast(), size_of::<V4>())
    } else {
        let mut v6 = V6 {
            client,
            server,
            ports,
        };
        find(ctx, (&raw mut v6).cast(), size_of::<V6>())
    };
    // SAFETY: the answer lies in a map; what was found is released, and not used after it.
    unsafe {
        answer.write_volatile(found);
        if found != 0 {
            bpf_sk_release(found as *mut _);
        }
    }
}

#[inline(always)]
fn find(ctx: &TcContext, tuple: *mut bpf_sock_tuple, size: usize) -> u64 {
    // SAFETY: the tuple is as long as is said.
    unsafe { bpf_skc_lookup_tcp(ctx.skb.skb.cast(), tuple, size as u32, HERE, 0) as u64 }
}
