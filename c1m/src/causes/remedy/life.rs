//! Remedies for what happens when the handshake seems over, and later.

use super::{Fix, Remedy, RemedyContext, Who, power_of_two, processes};
use crate::report::text::thousands;

/// How a process ended that the OOM killer chose.
pub const OOM_KILLED: &str = "taken by the OOM killer";

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

/// By what is beyond its limit now; if nothing is, somebody may have asked for it.
pub(super) fn memory_pressure(context: &RemedyContext) -> Option<Remedy> {
    let host = &context.host;
    let pages_max = *host.tcp_mem.as_ref()?.last()?;
    let orphans_max = host.tcp_max_orphans?;
    if let Some(pages) = host.tcp_pages.filter(|&pages| pages > pages_max) {
        let needed = power_of_two(pages.saturating_mul(2));
        let pressure = needed / 4 * 3;
        let value = format!("{} {pressure} {needed}", needed / 2);
        let raise = Fix::sysctl(Who::Server, "net.ipv4.tcp_mem", value);
        let (pages, pages_max) = (thousands(pages), thousands(pages_max));
        let text = format!("TCP uses {pages} pages, and tcp_mem allows {pages_max}: {raise}");
        return Some(Remedy::with(text, [raise]));
    }
    if let Some(orphans) = host.tcp_orphans.filter(|&orphans| orphans > orphans_max) {
        let needed = power_of_two(orphans.saturating_add(context.lost));
        let raise = Fix::sysctl(Who::Server, "net.ipv4.tcp_max_orphans", needed);
        let (orphans, orphans_max) = (thousands(orphans), thousands(orphans_max));
        let text = format!("{orphans} orphans, and tcp_max_orphans is {orphans_max}: {raise}");
        return Some(Remedy::with(text, [raise]));
    }
    Some(Remedy::words(format!(
        "raise net.ipv4.tcp_mem (its limit is {} pages) or net.ipv4.tcp_max_orphans (now {}); if TCPAbortOnMemory stands \
         still, somebody ended them by ss -K",
        thousands(pages_max),
        thousands(orphans_max)
    )))
}

/// A full table; else nobody answers for the address.
pub(super) fn neighbour(context: &RemedyContext) -> Option<Remedy> {
    let most = context.host.neigh_gc_thresh3?;
    let now = context.host.neighbours.filter(|&now| now >= most)?;
    let needed = power_of_two(now.saturating_add(context.lost).saturating_mul(2));
    let raise = Fix::sysctl(Who::Client, "net.ipv4.neigh.default.gc_thresh3", needed);
    let (now, most) = (thousands(now), thousands(most));
    let text = format!("the neighbour table has {now} entries, gc_thresh3 is {most}: {raise}");
    Some(Remedy::with(text, [raise]))
}

pub(super) fn fin_wait_2_timeout(context: &RemedyContext) -> Option<Remedy> {
    let now = context.host.tcp_fin_timeout?;
    Some(Remedy::words(format!(
        "let the peer close what was closed on it within {} s (net.ipv4.tcp_fin_timeout)",
        thousands(now)
    )))
}

pub(super) fn exited(context: &RemedyContext) -> Option<Remedy> {
    let which = processes(context)?;
    if which.contains(OOM_KILLED) {
        return Some(Remedy::words(format!(
            "{which}: raise the memory limit of its control group (memory.max, MemoryMax=; dmesg says which one it met), or \
             let each process hold fewer connections"
        )));
    }
    Some(Remedy::words(format!(
        "find out what ended {which}: its wait status, dmesg, coredumpctl"
    )))
}
