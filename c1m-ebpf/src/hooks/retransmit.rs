//! SYNs and SYN-ACKs that had to be sent again.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use c1m_common::{state::SYN_SENT, stats::hook};

use crate::{
    fold::{NOBODY, entry},
    kernel::{Ptr, sock_state, traced_request, traced_socket},
    maps::folding,
};

/// `tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb [, int err])`
#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub(crate) fn tcp_retransmit_skb(ctx: RawTracePointContext) -> i32 {
    let sk = Ptr(ctx.arg(0));
    let mut tuple = NOBODY;
    if sock_state(sk) == Some(SYN_SENT)
        && folding()
        && traced_socket(sk, &mut tuple).is_some()
        && let Some(facts) = entry(&tuple, hook::RETRANSMIT)
    {
        facts.syn_retransmits = facts.syn_retransmits.saturating_add(1);
    }
    0
}

/// `tcp_retransmit_synack(const struct sock *sk, const struct request_sock *req)`
#[raw_tracepoint(tracepoint = "tcp_retransmit_synack")]
pub(crate) fn tcp_retransmit_synack(ctx: RawTracePointContext) -> i32 {
    let request = Ptr(ctx.arg(1));
    let mut tuple = NOBODY;
    if folding()
        && traced_request(request, &mut tuple).is_some()
        && let Some(facts) = entry(&tuple, hook::RETRANSMIT_SYNACK)
    {
        facts.synack_retransmits = facts.synack_retransmits.saturating_add(1);
    }
    0
}
