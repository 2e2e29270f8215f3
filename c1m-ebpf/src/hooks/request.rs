//! What a listener does with a SYN and with the final ACK, seen in the functions that do it: no guess from what
//! was sent, and the listener that was chosen is known.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use c1m_common::{
    config::phase,
    fact::{Facts, ack_refusal, syn_drop},
    state::LISTEN,
    stats::hook,
    tuple::Tuple,
};

use super::function::{Arguments, at_entry, at_return, is_false, returned};
use crate::{
    fold::{
        NOBODY, ack_refused, begin, count_syn_drop, entry, entry_of, entry_of_answer, has_entries,
        lose, syn_dropped,
    },
    kernel::{Ptr, Side, is_traced_namespace, sock_inum, sock_state},
    listeners::{self, NO_QUEUE, classify},
    maps::{Check, Child, Window, config, folding, offset, phase, stats, window},
    segment::{ACK, FIN, Header, RST, SYN},
};

// `int tcp_conn_request(struct request_sock_ops *rsk_ops, const struct tcp_request_sock_ops *af_ops,
// struct sock *sk, struct sk_buff *skb)`: answers 0 whatever it did.
at_entry!(k_conn_request, f_conn_request, conn_request);

#[inline(always)]
fn conn_request(args: &impl Arguments) -> Option<()> {
    let request = &mut window()?.request;
    if phase() == phase::ATTACHING {
        return None;
    }
    if request.listener != 0 {
        // A return that nobody told of: it may have been a drop.
        lose(hook::REQUEST);
    }
    request.listener = args.pointer(2).0;
    request.syn = args.pointer(3).0;
    request.answered = 0;
    request.class = syn_drop::COUNT as u32;
    request.was_full = was_full(Ptr(request.listener));
    Some(())
}

/// Whether a listener's accept queue is full, for the function's return: until then all that waits may be accepted, for
/// a virtual CPU can stand still in between.
#[inline(always)]
fn was_full(listener: Ptr) -> u64 {
    u64::from(listeners::is_full(listener) == Some(true))
}

// `struct sk_buff *tcp_make_synack(const struct sock *sk, struct dst_entry *dst, struct request_sock *req, …)`: on
// every way on which `tcp_conn_request` does not drop the SYN.
at_entry!(k_make_synack, f_make_synack, make_synack);

#[inline(always)]
fn make_synack(_: &impl Arguments) -> Option<()> {
    window()?.request.answered = 1;
    Some(())
}

// `bool tcp_syn_flood_action(const struct sock *sk, const char *proto)`: no, the SYN is dropped, for the request
// queue is full.
at_return!(
    kr_syn_flood_action,
    fx_syn_flood_action,
    syn_flood_action_args,
    syn_flood_action
);

#[inline(always)]
fn syn_flood_action(cookie: u64) -> Option<()> {
    if is_false(cookie) {
        window()?.request.class = syn_drop::SYN_QUEUE_FULL as u32;
    }
    Some(())
}

// `bool tcp_peer_is_proven(struct request_sock *req, struct dst_entry *dst)`: asked only in the last quarter of the
// request queue; no, the SYN is dropped.
at_return!(
    kr_peer_is_proven,
    fx_peer_is_proven,
    peer_is_proven_args,
    peer_is_proven
);

#[inline(always)]
fn peer_is_proven(proven: u64) -> Option<()> {
    if is_false(proven) {
        window()?.request.class = syn_drop::LAST_QUARTER as u32;
    }
    Some(())
}

/// `tcp_conn_request` returns.
#[kretprobe]
pub(crate) fn kr_conn_request(_: RetProbeContext) -> u32 {
    let _ = conn_requested();
    0
}

/// The same.
#[fexit]
pub(crate) fn fx_conn_request(_: FExitContext) -> i32 {
    let _ = conn_requested();
    0
}

#[inline(always)]
fn conn_requested() -> Option<()> {
    let window = window()?;
    let listener = Ptr(window.request.listener);
    if listener.is_null() {
        if folding() {
            lose(hook::REQUEST);
        }
        return None;
    }
    window.request.listener = 0;
    let answered = window.request.answered != 0;
    if answered && !has_entries() || !folding() {
        return None;
    }
    let header = Header::of(Ptr(window.request.syn))?;
    let mut tuple = NOBODY;
    if header.traced(&mut tuple)? != Side::Client || !is_traced_namespace(sock_inum(listener)?) {
        return None;
    }
    if answered {
        begin(&tuple, header.sequence);
        return None;
    }
    syn_was_dropped(window, listener, &tuple, header.sequence)
}

#[inline(always)]
fn syn_was_dropped(window: &mut Window, listener: Ptr, tuple: &Tuple, sequence: u32) -> Option<()> {
    let queue = &mut window.tally.queue;
    let seen = classify(listener, queue);
    queue.listeners = 1;
    let class = match (window.request.class as usize, seen) {
        // Only this is asked before.
        (syn_drop::COUNT, syn_drop::SYN_QUEUE_FULL) => seen,
        (syn_drop::COUNT, _) if window.request.was_full != 0 => syn_drop::ACCEPT_QUEUE_FULL,
        (syn_drop::COUNT, _) => seen,
        (told, _) => told,
    };
    count_syn_drop(stats()?, class);
    let facts = entry_of(tuple, sequence, hook::REQUEST)?;
    syn_dropped(facts, class, &window.tally.queue, 0);
    Some(())
}

// `struct sock *tcp_v4_syn_recv_sock(const struct sock *sk, struct sk_buff *skb, struct request_sock *req,
// struct dst_entry *dst, struct request_sock *req_unhash, bool *own_req [, callback])`, and its IPv6 twin, which
// calls it for a mapped address.
at_entry!(k_syn_recv_sock, f_syn_recv_sock_v4, syn_recv_sock);

/// The entry of `tcp_v6_syn_recv_sock`.
#[fentry]
pub(crate) fn f_syn_recv_sock_v6(ctx: FEntryContext) -> i32 {
    let _ = syn_recv_sock(&ctx);
    0
}

#[inline(always)]
fn syn_recv_sock(args: &impl Arguments) -> Option<()> {
    let window = window()?;
    window.child = child(args);
    window.child.was_full = was_full(Ptr(window.child.listener));
    Some(())
}

#[inline(always)]
fn child(args: &impl Arguments) -> Child {
    Child {
        listener: args.pointer(0).0,
        ack: args.pointer(1).0,
        request: args.pointer(2).0,
        by_cookie: u64::from(args.pointer(4).is_null()),
        was_full: 0,
    }
}

/// Return: without a child the ACK was refused.
#[kretprobe]
pub(crate) fn kr_syn_recv_sock(ctx: RetProbeContext) -> u32 {
    if let Some(window) = window() {
        if ctx.ret::<u64>() == 0 {
            let _ = no_child(window);
        }
        window.child.listener = 0;
    }
    0
}

/// `tcp_v4_syn_recv_sock` returns.
#[fexit]
pub(crate) fn fx_syn_recv_sock_v4(ctx: FExitContext) -> i32 {
    let _ = child_made(&ctx, config!(syn_recv_sock_v4_args));
    0
}

/// `tcp_v6_syn_recv_sock` returns.
#[fexit]
pub(crate) fn fx_syn_recv_sock_v6(ctx: FExitContext) -> i32 {
    let _ = child_made(&ctx, config!(syn_recv_sock_v6_args));
    0
}

#[inline(always)]
fn child_made(ctx: &FExitContext, args: u32) -> Option<()> {
    if returned(ctx, args)? != 0 {
        return None;
    }
    let window = window()?;
    let entered = &window.child;
    let (ack, was_full) = (entered.ack, entered.was_full);
    window.child = child(ctx);
    if window.child.ack == ack {
        window.child.was_full = was_full;
    }
    no_child(window)
}

#[inline(always)]
fn no_child(window: &mut Window) -> Option<()> {
    let Window { child, refused, .. } = window;
    let (listener, ack) = (Ptr(child.listener), Ptr(child.ack));
    // The IPv6 function may have it from the IPv4 one, which told already.
    if listener.is_null() || *refused == ack.0 || !folding() {
        return None;
    }
    let header = Header::of(ack)?;
    let mut tuple = NOBODY;
    // A SYN is TCP Fast Open's: without a child it goes the usual way.
    if header.is_syn()
        || header.traced(&mut tuple)? != Side::Client
        || !is_traced_namespace(sock_inum(listener)?)
    {
        return None;
    }
    *refused = ack.0;
    let mut queue = NO_QUEUE;
    listeners::queue(listener, &mut queue)?;
    queue.listeners = 1;
    // It is read after it was found full: one accept may have come in between, or more, if the entry was not seen.
    let full = child.was_full != 0 || queue.accept_queue >= queue.accept_limit;
    let by_cookie = child.by_cookie != 0;
    let stats = stats()?;
    let kind = match (full, by_cookie) {
        (true, false) => ack_refusal::QUEUE_FULL,
        (true, true) => ack_refusal::QUEUE_FULL_COOKIE,
        (false, false) => ack_refusal::NO_CHILD,
        (false, true) => ack_refusal::NO_CHILD_COOKIE,
    };
    match full {
        true => stats.ack_overflows[usize::from(by_cookie)] += 1,
        false => stats.ack_failures += 1,
    }
    let facts = entry_of_request(&tuple, Ptr(child.request))?;
    ack_refused(facts, kind, &queue);
    Some(())
}

// `struct sock *tcp_check_req(struct sock *sk, struct sk_buff *skb, struct request_sock *req, bool fastopen,
// bool *lost_race [, enum skb_drop_reason *drop_reason])`: none for what it drops.
/// Entry, for the return that tells no arguments.
#[kprobe]
pub(crate) fn k_request_check(ctx: ProbeContext) -> u32 {
    if let Some(window) = window() {
        window.check = check(&ctx, ctx.pointer(4).0);
    }
    0
}

#[inline(always)]
fn check(args: &impl Arguments, lost_race: u64) -> Check {
    Check {
        listener: args.pointer(0).0,
        segment: args.pointer(1).0,
        request: args.pointer(2).0,
        lost_race,
    }
}

/// Return: without a socket the segment was dropped.
#[kretprobe]
pub(crate) fn kr_request_check(ctx: RetProbeContext) -> u32 {
    if let Some(window) = window() {
        if ctx.ret::<u64>() == 0 {
            let _ = check_failed(window);
        }
        window.check.listener = 0;
    }
    0
}

/// The same.
#[fexit]
pub(crate) fn fx_request_check(ctx: FExitContext) -> i32 {
    if returned(&ctx, config!(check_req_args)) == Some(0)
        && let Some(window) = window()
    {
        // A pointer to a number: older verifiers let nobody have it from the context.
        window.check = check(&ctx, returned(&ctx, 4).unwrap_or(0));
        let _ = check_failed(window);
    }
    0
}

#[inline(always)]
fn check_failed(window: &mut Window) -> Option<()> {
    let Window { check, refused, .. } = window;
    let (listener, segment) = (Ptr(check.listener), Ptr(check.segment));
    // Another CPU made the child, and gets the segment.
    if Ptr(check.lost_race).read::<u8>(0).unwrap_or(0) != 0 {
        return None;
    }
    // The function that makes the child was asked, and told already.
    if *refused == segment.0 || !folding() || sock_state(listener) != Some(LISTEN) {
        return None;
    }
    let header = Header::of(segment)?;
    let mut tuple = NOBODY;
    if header.flags & (SYN | RST | ACK) != ACK
        || header.traced(&mut tuple)? != Side::Client
        || !is_traced_namespace(sock_inum(listener)?)
    {
        return None;
    }
    let defers = listener.read::<u8>(offset!(reqsk_defer_accept))? != 0;
    let kind = match defers && !header.has_payload() && header.flags & FIN == 0 {
        true => ack_refusal::DEFERRED,
        false => ack_refusal::CHECK,
    };
    let mut queue = NO_QUEUE;
    listeners::queue(listener, &mut queue)?;
    queue.listeners = 1;
    *refused = segment.0;
    let facts = entry_of_request(&tuple, Ptr(check.request))?;
    ack_refused(facts, kind, &queue);
    Some(())
}

/// The entry of the attempt that a request is for. An ACK does not tell: it has another number if its client has sent data before.
#[inline(always)]
fn entry_of_request(tuple: &Tuple, request: Ptr) -> Option<&'static mut Facts> {
    match request.read(offset!(rcv_isn)).unwrap_or(0) {
        0 => entry(tuple, hook::CHILD),
        sequence => entry_of_answer(tuple, sequence, hook::CHILD),
    }
}
