//! SYNs and SYN-ACKs that had to be sent again.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use c1m_common::{
    fact::Facts,
    state::{FIN_WAIT1, SYN_SENT},
    stats::hook,
    tuple::Tuple,
};

use super::handshake;
use crate::{
    fold::{NOBODY, entry, entry_of, entry_of_answer, now_ns},
    kernel::{Ptr, sock_state, syn_sequence, traced_request, traced_socket},
    maps::{config, folding, offset},
};

const EBUSY: i32 = 16;

/// `tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb [, int err])`
#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub(crate) fn tcp_retransmit_skb(ctx: RawTracePointContext) -> i32 {
    // What still waits below, for a neighbour's address, is not sent again.
    if config!(retransmit_skb_args) >= 3 && ctx.arg::<u64>(2) as i32 == -EBUSY {
        return 0;
    }
    let sk = Ptr(ctx.arg(0));
    let mut tuple = NOBODY;
    if sock_state(sk) == Some(SYN_SENT)
        && folding()
        && traced_socket(sk, &mut tuple).is_some()
        && let Some(sequence) = syn_sequence(sk)
        && let Some(facts) = entry_of(&tuple, sequence, hook::RETRANSMIT)
    {
        facts.syn_retransmits = facts.syn_retransmits.saturating_add(1);
    }
    0
}

/// `tcp_retransmit_synack(const struct sock *sk, const struct request_sock *req)`
#[raw_tracepoint(tracepoint = "tcp_retransmit_synack")]
pub(crate) fn tcp_retransmit_synack(ctx: RawTracePointContext) -> i32 {
    handshake::sent_again();
    let request = Ptr(ctx.arg(1));
    let mut tuple = NOBODY;
    if folding()
        && traced_request(request, &mut tuple).is_some()
        && let Some(facts) = request_entry(request, &tuple)
    {
        facts.synack_retransmits = facts.synack_retransmits.saturating_add(1);
        // A program had it by TCP Fast Open, and has closed it: it was counted then, without an entry.
        if facts.server_established_ns == 0 && sock_state(Ptr(ctx.arg(0))) == Some(FIN_WAIT1) {
            facts.server_established_ns = now_ns();
        }
    }
    0
}

/// The entry of a request's attempt.
#[inline(always)]
fn request_entry(request: Ptr, tuple: &Tuple) -> Option<&'static mut Facts> {
    match request.read::<u32>(offset!(rcv_isn)) {
        Some(sequence) => entry_of_answer(tuple, sequence, hook::RETRANSMIT_SYNACK),
        None => entry(tuple, hook::RETRANSMIT_SYNACK),
    }
}
