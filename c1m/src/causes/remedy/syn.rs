//! What to do about SYNs that nobody answered: when the kernel sends one again, and how often.

use super::{Fix, Remedy, RemedyContext, Who};
use crate::{host::Host, report::text::thousands};

/// When the SYN's retransmits go out, in s after the first: 1, 3, 7, 15 and so on, or from Linux 6.5 on 1, 2, 3, 4, 5, 7, 11 and so on
/// with four linear ones (`tcp_retransmit_timer`).
fn retransmits_s(host: &Host) -> impl Iterator<Item = u64> {
    let linear = host.tcp_syn_linear_timeouts.unwrap_or(0);
    let (mut at, mut wait) = (0_u64, 1_u64);
    (0_u64..).map(move |sent| {
        at = at.saturating_add(wait);
        if sent >= linear {
            wait = wait.saturating_mul(2);
        }
        at
    })
}

pub(super) fn gave_up(context: &RemedyContext) -> Option<Remedy> {
    let timeout_ms = context.timeout_ms?;
    let later = |next_s: &u64| next_s.saturating_mul(1_000) > timeout_ms;
    let next_s = retransmits_s(context.client_host())
        .take(RETRANSMITS_MAX)
        .find(later)?;
    let longer = Fix::option(Who::Client, "--timeout", format!("{}s", next_s + 1));
    let (what, fixes) = match context.client_is_c1m {
        true => (longer.to_string(), vec![longer]),
        false => (format!("a timeout above {next_s} s"), Vec::new()),
    };
    let text = format!(
        "it waited {} s, the next SYN would have gone after {next_s} s: {what}; if nothing answers then \
         either, look at the path and the server",
        seconds(timeout_ms)
    );
    Some(Remedy { text, fixes })
}

/// More than there are of linear ones, and of others before their waits are longer than anybody's.
const RETRANSMITS_MAX: usize = 512;

fn seconds(ms: u64) -> String {
    match ms % 1_000 {
        0 => (ms / 1_000).to_string(),
        _ => format!("{}.{}", ms / 1_000, ms % 1_000 / 100),
    }
}

pub(super) fn unanswered(context: &RemedyContext) -> Option<Remedy> {
    let host = context.client_host();
    let linear = host.tcp_syn_linear_timeouts.unwrap_or(0);
    let retries = host.tcp_syn_retries?.saturating_add(linear);
    let target = context.listener.as_deref().unwrap_or("the server");
    Some(Remedy::words(format!(
        "up to {} SYNs to {target} left this host and none was answered: look at the path, trace on the server's \
         host too, and join both records with c1m report",
        thousands(retries.saturating_add(1))
    )))
}
