//! The same calls as in [`call`](super::call), made by io_uring: no system call of theirs fails, a request of the ring does.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use c1m_common::{AF_INET, AF_INET6, call::kind};

use super::call::{Address, Pending, ended, is_in_tree};
use crate::{
    kernel::Ptr,
    maps::{calls_by_function, offset},
};

/// `io_uring_complete(struct io_ring_ctx *ctx, void *req, …)`: a request has its result. One of several results of a request
/// comes without it, and is none that failed.
#[raw_tracepoint(tracepoint = "io_uring_complete")]
pub(crate) fn ring_complete(ctx: RawTracePointContext) -> i32 {
    let request = Ptr(ctx.arg(1));
    if let Some(value) = request.read::<i32>(offset!(ring_result))
        && value < 0
        && value != -ECANCELED
        && is_in_tree()
    {
        let _ = completed(request, value);
    }
    0
}

#[inline(always)]
fn completed(request: Ptr, value: i32) -> Option<()> {
    let (call, first, second, address) = match request.read::<u8>(offset!(ring_opcode))? {
        IORING_OP_SOCKET => {
            let family: i32 = request.read(offset!(ring_socket_domain))?;
            let of_type: i32 = request.read(offset!(ring_socket_type))?;
            (kind::SOCKET, family as u64, of_type as u64, Address::None)
        }
        IORING_OP_BIND => {
            let data = request.follow(offset!(ring_async_data))?;
            (kind::BIND, 0, bind_address(data)?, Address::Kernel)
        }
        // A function of connect()'s own tells it, too.
        IORING_OP_CONNECT if !calls_by_function() => {
            let file = request.follow(offset!(ring_file))?;
            let address: u64 = request.read(offset!(ring_connect_address))?;
            (kind::CONNECT, file.0, address, Address::User)
        }
        IORING_OP_ACCEPT => (kind::ACCEPT, 0, 0, Address::None),
        _ => return None,
    };
    ended(&Pending::new(call, first, second), value, address)
}

/// Where the kernel has the address for bind(), by what `io_bind_prep` allocated: newer kernels the address alone, and older
/// ones a message that begins with a pointer, whose first bytes are no address family's.
#[inline(always)]
fn bind_address(data: Ptr) -> Option<u64> {
    match data.read::<u16>(0)? {
        AF_INET | AF_INET6 => Some(data.0),
        _ => Some(data.0 + offset!(ring_async_address) as u64),
    }
}

// include/uapi/linux/io_uring.h
const IORING_OP_ACCEPT: u8 = 13;
const IORING_OP_CONNECT: u8 = 16;
const IORING_OP_SOCKET: u8 = 45;
const IORING_OP_BIND: u8 = 56;
/// A linked request or a time-out took it back: it was not tried.
const ECANCELED: i32 = 125;
