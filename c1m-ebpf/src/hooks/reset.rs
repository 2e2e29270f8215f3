//! Resets, sent and received, and errors that reach a socket before it is established.

use aya_ebpf::{
    macros::{fentry, kprobe, raw_tracepoint},
    programs::{FEntryContext, ProbeContext, RawTracePointContext},
};
use c1m_common::{
    fact::end_flag,
    state::SYN_SENT,
    stats::{hook, pair},
};

use super::{
    function::{Arguments, at_entry},
    reason::{answered_by_reset, challenged},
    twin,
};
use crate::{
    fold::{NOBODY, end, entry, entry_of, existing},
    kernel::{
        Ptr, Side, is_traced_namespace, skb_inum, sock_inum, sock_state, syn_sequence,
        traced_socket,
    },
    maps::{config, folding, offset, window},
    segment::Header,
};

/// `tcp_send_reset(const struct sock *sk, const struct sk_buff *skb [, enum sk_rst_reason reason])`
///
/// `skb` is the segment that is answered (`tcp_v4_send_reset`), or none (`tcp_send_active_reset`).
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub(crate) fn tcp_send_reset(ctx: RawTracePointContext) -> i32 {
    twin::first(pair::SEND_RESET, answered(&ctx), || traced_reset(&ctx));
    0
}

/// Its twin.
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub(crate) fn tcp_send_reset_again(ctx: RawTracePointContext) -> i32 {
    twin::second(pair::SEND_RESET, answered(&ctx), || traced_reset(&ctx));
    0
}

/// The segment that is answered, or the socket that is closed.
#[inline(always)]
fn answered(ctx: &RawTracePointContext) -> u64 {
    match ctx.arg(1) {
        0 => ctx.arg(0),
        skb => skb,
    }
}

#[inline(always)]
fn traced_reset(ctx: &RawTracePointContext) -> Option<()> {
    let mut reason = 0;
    if config!(send_reset_args) >= 3 {
        reason = ctx.arg::<u64>(2) as u16;
    }
    sent(Ptr(ctx.arg(0)), Ptr(ctx.arg(1)), reason)
}

/// `void tcp_v4_send_reset(const struct sock *sk, struct sk_buff *skb [, enum sk_rst_reason reason])`, and its IPv6
/// twin: where the tracepoint leaves out what no socket was found for.
#[kprobe]
pub(crate) fn k_send_reset(ctx: ProbeContext) -> u32 {
    let _ = answer(&ctx);
    0
}

/// The same.
#[fentry]
pub(crate) fn f_send_reset_v4(ctx: FEntryContext) -> i32 {
    let _ = answer(&ctx);
    0
}

/// The same.
#[fentry]
pub(crate) fn f_send_reset_v6(ctx: FEntryContext) -> i32 {
    let _ = answer(&ctx);
    0
}

#[inline(always)]
fn answer(args: &impl Arguments) -> Option<()> {
    answered_by_reset(args.pointer(0), args.pointer(1));
    sent(args.pointer(0), args.pointer(1), 0)
}

// `void tcp_send_active_reset(struct sock *sk, gfp_t priority [, enum sk_rst_reason reason])`
at_entry!(k_send_active_reset, f_send_active_reset, reset_by_program);

#[inline(always)]
fn reset_by_program(args: &impl Arguments) -> Option<()> {
    sent(args.pointer(0), Ptr(0), 0)
}

#[inline(always)]
fn sent(sk: Ptr, skb: Ptr, reason: u16) -> Option<()> {
    if !folding() {
        return None;
    }
    let mut tuple = NOBODY;
    let (facts, side) = if skb.is_null() {
        let side = traced_socket(sk, &mut tuple)?;
        // A program that closes with SO_LINGER 0 resets every good connection: only a known failure learns.
        (existing(&tuple)?, side)
    } else {
        let header = Header::of(skb)?;
        let from = header.traced(&mut tuple)?;
        let namespace = if sk.is_null() {
            skb_inum(skb)?
        } else {
            sock_inum(sk)?
        };
        if !is_traced_namespace(namespace) {
            return None;
        }
        let side = match from {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        // A connecting socket knows its own SYN.
        let connecting = sock_state(sk) == Some(SYN_SENT);
        let facts = if connecting {
            entry_of(&tuple, syn_sequence(sk)?, hook::SEND_RESET)?
        } else if header.is_syn() {
            entry_of(&tuple, header.sequence, hook::SEND_RESET)?
        } else {
            entry(&tuple, hook::SEND_RESET)?
        };
        match connecting {
            true if header.is_synack() => end(facts, side).flags |= end_flag::REFUSED_SYNACK,
            true => {
                challenged(facts);
                end(facts, side).flags |= end_flag::CHALLENGED;
            }
            false => {}
        }
        (facts, side)
    };
    let end = end(facts, side);
    end.resets_sent = end.resets_sent.saturating_add(1);
    end.reset_reason = reason;
    end.reset_state = sock_state(sk).unwrap_or(0);
    Some(())
}

/// `tcp_receive_reset(struct sock *sk)`
#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub(crate) fn tcp_receive_reset(ctx: RawTracePointContext) -> i32 {
    let sk = ctx.arg(0);
    twin::first(pair::RECEIVE_RESET, sk, || received(Ptr(sk)));
    0
}

/// Its twin.
#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub(crate) fn tcp_receive_reset_again(ctx: RawTracePointContext) -> i32 {
    let sk = ctx.arg(0);
    twin::second(pair::RECEIVE_RESET, sk, || received(Ptr(sk)));
    0
}

#[inline(always)]
fn received(sk: Ptr) -> Option<()> {
    if !folding() {
        return None;
    }
    let mut tuple = NOBODY;
    let side = traced_socket(sk, &mut tuple)?;
    window()?.reset = sk.0;
    let unclaimed = sk.read::<u64>(offset!(sk_socket))? == 0;
    let facts = if sock_state(sk)? == SYN_SENT {
        entry_of(&tuple, syn_sequence(sk)?, hook::RECEIVE_RESET)?
    } else if unclaimed {
        entry(&tuple, hook::RECEIVE_RESET)?
    } else {
        existing(&tuple)?
    };
    let end = end(facts, side);
    end.resets_received = end.resets_received.saturating_add(1);
    Some(())
}

/// `inet_sk_error_report(const struct sock *sk)`: in SYN_SENT it is an ICMP error (`tcp_v4_err`); a reset
/// leaves that state before it reports.
#[raw_tracepoint(tracepoint = "inet_sk_error_report")]
pub(crate) fn inet_sk_error_report(ctx: RawTracePointContext) -> i32 {
    let sk = Ptr(ctx.arg(0));
    if sock_state(sk) == Some(SYN_SENT) {
        let _ = icmp(sk);
    }
    0
}

/// `void sock_def_error_report(struct sock *sk)`: the same, where there is no tracepoint.
#[kprobe]
pub(crate) fn k_error_report(ctx: ProbeContext) -> u32 {
    let sk = ctx.pointer(0);
    if sock_state(sk) == Some(SYN_SENT) {
        let _ = icmp(sk);
    }
    0
}

#[inline(always)]
fn icmp(sk: Ptr) -> Option<()> {
    if !folding() {
        return None;
    }
    let mut tuple = NOBODY;
    let side = traced_socket(sk, &mut tuple)?;
    let err: u32 = sk.read(offset!(sk_err))?;
    if err == ETIMEDOUT {
        // Silence, and no ICMP error says it: some kernels report it before the socket leaves SYN_SENT (`tcp_write_err`).
        return None;
    }
    let facts = entry_of(&tuple, syn_sequence(sk)?, hook::ERROR)?;
    end(facts, side).icmp_err = err as u16;
    Some(())
}

const ETIMEDOUT: u32 = 110;
