//! Remedies for what happens when the handshake seems over, and later.

use super::{Fix, Remedy, RemedyContext, Who};
use crate::report::text::thousands;

/// Only timestamps tell a new SYN from an old one whose number looks newer.
pub(super) fn time_wait_hit(context: &RemedyContext) -> Option<Remedy> {
    if context.host.tcp_timestamps != Some(0) {
        return None;
    }
    let on = Fix::sysctl(Who::Server, "net.ipv4.tcp_timestamps", 1);
    let text = format!("tcp_timestamps is 0: {on}, on the client's host too");
    Some(Remedy::with(text, [on]))
}

pub(super) fn request_expired(context: &RemedyContext) -> Option<Remedy> {
    let retries = context.host.tcp_synack_retries?;
    // It waits 1 s, and twice as long after each SYN-ACK.
    let after_s = (1_u64 << retries.saturating_add(1).min(7)) - 1;
    let times = thousands(retries.saturating_add(1));
    Some(Remedy::words(format!(
        "the server sent {times} SYN-ACKs within {after_s} s (tcp_synack_retries {retries}) and no final ACK came through: \
         look at the way from client to server"
    )))
}

pub(super) fn listener_gone(context: &RemedyContext) -> Option<Remedy> {
    let text = match context.host.tcp_migrate_req? {
        0 => {
            "keep one listening socket open across restarts (pass the descriptor on), or let a second listener on \
             the port (SO_REUSEPORT) take over: sysctl -w net.ipv4.tcp_migrate_req=1 (now 0)"
        }
        _ => {
            "tcp_migrate_req is on, but no other listener was there: start the successor (SO_REUSEPORT) before the \
             old one closes"
        }
    };
    Some(Remedy::words(text))
}

pub(super) fn memory_pressure(context: &RemedyContext) -> Option<Remedy> {
    let pages = *context.host.tcp_mem.as_ref()?.last()?;
    let orphans = context.host.tcp_max_orphans?;
    Some(Remedy::words(format!(
        "raise net.ipv4.tcp_mem (its limit is {} pages) or net.ipv4.tcp_max_orphans (now {}); if TCPAbortOnMemory stands \
         still, somebody ended them by ss -K",
        thousands(pages),
        thousands(orphans)
    )))
}

pub(super) fn fin_wait_2_timeout(context: &RemedyContext) -> Option<Remedy> {
    let now = context.host.tcp_fin_timeout?;
    Some(Remedy::words(format!(
        "let the peer close what was closed on it within {} s (net.ipv4.tcp_fin_timeout)",
        thousands(now)
    )))
}
