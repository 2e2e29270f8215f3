//! Why a segment is freed, where `kfree_skb` does not say (before Linux 5.17): what a function decided about it waits in
//! the CPU's window for the segment's end. What only one function frees needs no such hook: its place tells.

use aya_ebpf::{
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use c1m_common::{
    fact::{Facts, SkbDrop, drop_flag, segment, why},
    state::LISTEN,
};

use super::function::Arguments as _;
use crate::{
    fold::segment_dropped,
    kernel::{Ptr, sock_state},
    maps::{Window, config, offset, window},
};

/// `enum tcp_tw_status tcp_timewait_state_process(struct inet_timewait_sock *tw, struct sk_buff *skb,
/// const struct tcphdr *th)`, and `int __cgroup_bpf_run_filter_skb(struct sock *sk, struct sk_buff *skb,
/// enum bpf_attach_type type)`.
#[kprobe]
pub(crate) fn k_look(ctx: ProbeContext) -> u32 {
    look(ctx.pointer(1));
    0
}

/// `struct sock *tcp_check_req(struct sock *sk, struct sk_buff *skb, struct request_sock *req, bool fastopen,
/// bool *req_stolen)`. A listener that waits for data (TCP_DEFER_ACCEPT) takes no bare ACK, and that is no loss.
#[kprobe]
pub(crate) fn k_check_req(ctx: ProbeContext) -> u32 {
    let defers = ctx.pointer(0).read::<u8>(offset!(reqsk_defer_accept));
    look(match defers {
        Some(0) => ctx.pointer(1),
        _ => Ptr(0),
    });
    0
}

#[inline(always)]
fn look(skb: Ptr) {
    if let Some(window) = window() {
        window.looked = skb.0;
        window.why = 0;
    }
}

/// `tcp_timewait_state_process` returns.
#[kretprobe]
pub(crate) fn kr_timewait(ctx: RetProbeContext) -> u32 {
    decide(
        why::TIME_WAIT,
        ctx.ret::<u64>() as u32 != config!(time_wait_syn),
    );
    0
}

/// `tcp_check_req` returns.
#[kretprobe]
pub(crate) fn kr_check_req(ctx: RetProbeContext) -> u32 {
    decide(why::REQUEST, ctx.ret::<u64>() == 0);
    0
}

/// `__cgroup_bpf_run_filter_skb` returns.
#[kretprobe]
pub(crate) fn kr_cgroup_filter(ctx: RetProbeContext) -> u32 {
    decide(why::CGROUP, (ctx.ret::<u64>() as i32) < 0);
    0
}

/// The function that looked at a segment says no to it, or nothing.
#[inline(always)]
fn decide(why: u8, refused: bool) {
    if let Some(window) = window()
        && refused
        && window.looked != 0
    {
        window.decided = core::mem::take(&mut window.looked);
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
    if config!(kfree_skb_args) < 3
        && let Some(window) = window()
    {
        window.decided = skb.0;
        window.why = u32::from(why);
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
    let within = |from: u64, to: u64| location >= from && location < to;
    within(config!(receive[0][0]), config!(receive[0][1]))
        || within(config!(receive[1][0]), config!(receive[1][1]))
}

/// A connecting socket answers an ACK that is no SYN-ACK: an old connection of its tuple sent it for want of room, and
/// `tcp_drop` freed the SYN without a word. One in TIME_WAIT was seen to free it.
#[inline(always)]
pub(super) fn challenged(facts: &mut Facts) {
    let last = &facts.skb_drops[segment::SYN];
    if config!(kfree_skb_args) >= 3 || last.flags & drop_flag::RX_TIME_WAIT != 0 {
        return;
    }
    let drop = SkbDrop {
        location: 0,
        count: 0,
        reason: u16::from(why::CHALLENGED),
        flags: drop_flag::NO_REASON | drop_flag::RX_OTHER,
        pad: 0,
    };
    segment_dropped(facts, segment::SYN, &drop);
}
