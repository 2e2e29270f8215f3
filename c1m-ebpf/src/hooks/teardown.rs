//! Ends of connections, seen in the functions that make them.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use c1m_common::{
    config::phase,
    fact::end_flag,
    state::TIME_WAIT,
    stats::{event, hook},
};

use super::function::{Arguments, at_entry, at_return, is_false, note_sock, noted_sock};
use crate::{
    fold::{NOBODY, end, entry},
    kernel::{Ptr, Side, traced_side, traced_socket},
    maps::{folding, phase, stats},
};

// `void tcp_time_wait(struct sock *sk, int state, int timeo)`: the socket gives way to a small one, in TIME_WAIT or
// in FIN_WAIT2.
at_entry!(k_time_wait, f_time_wait, time_wait);

#[inline(always)]
fn time_wait(args: &impl Arguments) -> Option<()> {
    if args.pointer(1).0 as u8 != TIME_WAIT || phase() == phase::ATTACHING {
        return None;
    }
    let (side, _) = traced_side(args.pointer(0))?;
    stats()?.ends[side as usize].time_wait_seen += 1;
    Some(())
}

// `struct inet_timewait_sock *inet_twsk_alloc(const struct sock *sk, struct inet_timewait_death_row *dr,
// const int state)`: none beyond net.ipv4.tcp_max_tw_buckets.
at_entry!(k_twsk_alloc, f_twsk_alloc, note_sock);
at_return!(kr_twsk_alloc, fx_twsk_alloc, twsk_alloc_args, twsk_made);

#[inline(always)]
fn twsk_made(made: u64) -> Option<()> {
    let sk = noted_sock()?;
    if made != 0 || !folding() {
        return None;
    }
    let which = match traced_side(sk)?.0 {
        Side::Client => event::CLIENT_TIME_WAIT_REFUSED,
        Side::Server => event::SERVER_TIME_WAIT_REFUSED,
    };
    stats()?.events[which] += 1;
    Some(())
}

// `bool tcp_check_oom(const struct sock *sk, int shift)`: yes, the connection is given up.
at_entry!(k_check_oom, f_check_oom, note_sock);
at_return!(kr_check_oom, fx_check_oom, check_oom_args, oom_found);

#[inline(always)]
fn oom_found(yes: u64) -> Option<()> {
    let sk = noted_sock()?;
    if is_false(yes) {
        return None;
    }
    flag(sk, end_flag::OUT_OF_MEMORY)
}

/// `void inet_child_forget(struct sock *sk, struct request_sock *req, struct sock *child)`: the listener is closed,
/// and the child with it.
#[kprobe]
pub(crate) fn k_child_forget(ctx: ProbeContext) -> u32 {
    let _ = flag(ctx.pointer(2), end_flag::FORGOTTEN);
    0
}

/// Notes something about the end of a traced socket.
#[inline(always)]
fn flag(sk: Ptr, flag: u8) -> Option<()> {
    if !folding() {
        return None;
    }
    let mut tuple = NOBODY;
    let side = traced_socket(sk, &mut tuple)?;
    let end = end(entry(&tuple, hook::END)?, side);
    end.flags |= flag;
    Some(())
}
