//! Why a segment is freed, where `kfree_skb` does not say (before Linux 5.17, and of some drops before 6.11): what a function decided about it waits in
//! the CPU's window for the segment's end. What only one function frees needs no such hook: its place tells.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use c1m_common::{
    fact::{Facts, SkbDrop, drop_flag, segment, why},
    state::LISTEN,
};

use super::{
    event::lies_in,
    function::{Arguments, returned},
};
use crate::{
    fold::segment_dropped,
    kernel::{Ptr, sock_state},
    maps::{Window, config, offset, window},
};

/// `enum tcp_tw_status tcp_timewait_state_process(struct inet_timewait_sock *tw, struct sk_buff *skb,
/// const struct tcphdr *th)`
#[kprobe]
pub(crate) fn k_look(ctx: ProbeContext) -> u32 {
    look(ctx.pointer(1));
    0
}

/// It returns.
#[kretprobe]
pub(crate) fn kr_timewait(ctx: RetProbeContext) -> u32 {
    by_time_wait(looked(), ctx.ret());
    0
}

/// The same.
#[fexit]
pub(crate) fn fx_timewait(ctx: FExitContext) -> i32 {
    if let Some(value) = returned(&ctx, config!(timewait_args)) {
        by_time_wait(ctx.pointer(1), value);
    }
    0
}

#[inline(always)]
fn by_time_wait(skb: Ptr, status: u64) {
    if status as u32 != config!(time_wait_syn) {
        decide(skb, why::TIME_WAIT);
    }
}

/// `struct sock *tcp_check_req(struct sock *sk, struct sk_buff *skb, struct request_sock *req, bool fastopen,
/// bool *req_stolen)`
#[kprobe]
pub(crate) fn k_check_req(ctx: ProbeContext) -> u32 {
    look(checked(&ctx));
    0
}

/// It returns.
#[kretprobe]
pub(crate) fn kr_check_req(ctx: RetProbeContext) -> u32 {
    by_request(looked(), ctx.ret());
    0
}

/// The same.
#[fexit]
pub(crate) fn fx_check_req(ctx: FExitContext) -> i32 {
    if let Some(value) = returned(&ctx, config!(check_req_args)) {
        by_request(checked(&ctx), value);
    }
    0
}

/// The segment that a request is checked with. A listener that waits for data (TCP_DEFER_ACCEPT) takes no bare ACK, and
/// that is no loss.
#[inline(always)]
fn checked(args: &impl Arguments) -> Ptr {
    match args.pointer(0).read::<u8>(offset!(reqsk_defer_accept)) {
        Some(0) => args.pointer(1),
        _ => Ptr(0),
    }
}

#[inline(always)]
fn by_request(skb: Ptr, child: u64) {
    if child == 0 {
        decide(skb, why::REQUEST);
    }
}

/// `int __cgroup_bpf_run_filter_skb(struct sock *sk, struct sk_buff *skb, enum bpf_attach_type type)`: also of what
/// answers the segment that another function looks at.
#[kprobe]
pub(crate) fn k_cgroup_filter(ctx: ProbeContext) -> u32 {
    if let Some(window) = window() {
        window.filtered = ctx.pointer(1).0;
    }
    0
}

/// It returns.
#[kretprobe]
pub(crate) fn kr_cgroup_filter(ctx: RetProbeContext) -> u32 {
    if let Some(window) = window() {
        by_cgroup(Ptr(core::mem::take(&mut window.filtered)), ctx.ret());
    }
    0
}

/// The same.
#[fexit]
pub(crate) fn fx_cgroup_filter(ctx: FExitContext) -> i32 {
    if let Some(value) = returned(&ctx, config!(cgroup_filter_args)) {
        by_cgroup(ctx.pointer(1), value);
    }
    0
}

#[inline(always)]
fn by_cgroup(skb: Ptr, error: u64) {
    if (error as i32) < 0 {
        decide(skb, why::CGROUP);
    }
}

#[inline(always)]
fn look(skb: Ptr) {
    if let Some(window) = window() {
        window.looked = skb.0;
    }
}

#[inline(always)]
fn looked() -> Ptr {
    Ptr(window().map_or(0, |window| core::mem::take(&mut window.looked)))
}

/// A function that looked at a segment says no to it, or nothing.
#[inline(always)]
fn decide(skb: Ptr, why: u8) {
    if let Some(window) = window()
        && !skb.is_null()
    {
        window.decided = skb.0;
        window.why = u32::from(why);
    }
}

/// A RST answers a segment, on behalf of `sk`, which may be none.
#[inline(always)]
pub(super) fn answered_by_reset(sk: Ptr, skb: Ptr) {
    let why = match sock_state(sk) {
        None => why::NO_SOCKET,
        Some(LISTEN) => why::COOKIE,
        // TIME_WAIT answers some of what it does not want; that it does not is known.
        Some(_) => return,
    };
    if config!(kfree_skb_args) < 4 {
        decide(skb, why);
    }
}

/// What was decided about a segment that is now freed.
#[inline(always)]
pub(super) fn taken(window: &mut Window, skb: Ptr) -> u8 {
    if window.decided != skb.0 {
        return why::NOT_SEEN;
    }
    window.decided = 0;
    window.why as u8
}

/// What the receiver was, by what was decided.
#[inline(always)]
pub(super) fn receiver_flags(why: u8) -> u8 {
    match why {
        why::COOKIE => drop_flag::RX_LISTENER,
        why::TIME_WAIT => drop_flag::RX_TIME_WAIT,
        why::REQUEST => drop_flag::RX_REQUEST,
        _ => 0,
    }
}

/// Whether `tcp_v4_rcv` or `tcp_v6_rcv` freed it itself.
#[inline(always)]
pub(super) fn is_discarded(location: u64) -> bool {
    lies_in(location, config!(receive[0])) || lies_in(location, config!(receive[1]))
}

/// A connecting socket answers an ACK that is no SYN-ACK: an old connection of its tuple sent it for want of room, and
/// `tcp_drop` freed the SYN without a word. One in TIME_WAIT was seen to free it.
#[inline(always)]
pub(super) fn challenged(facts: &mut Facts) {
    let last = &facts.skb_drops[segment::SYN];
    if config!(reason_invalid_syn) != u32::MAX || last.flags & drop_flag::RX_TIME_WAIT != 0 {
        return;
    }
    let drop = SkbDrop {
        location: 0,
        count: 0,
        reason: u16::from(why::CHALLENGED),
        flags: drop_flag::NO_REASON | drop_flag::RX_OTHER,
        closed: 0,
    };
    segment_dropped(facts, segment::SYN, &drop);
}
