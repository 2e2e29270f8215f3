//! What to do about a listener's queues that had no room.

use super::{Fix, Remedy, RemedyContext, Who, power_of_two};
use crate::report::text::thousands;

/// A backlog beyond this is no remedy any more: the program is too slow for the rate.
const BACKLOG_SENSIBLE: u64 = 65_536;

/// How long a queue would have had to be: what it had room for, and whoever met it full.
fn burst(context: &RemedyContext, room: u64) -> u64 {
    room.saturating_add(context.met.max(context.lost))
}

/// The listener's queues: one number bounds both.
pub(super) fn backlog(context: &RemedyContext) -> Option<Remedy> {
    let limit = u64::from(context.accept_limit?);
    let burst = burst(context, limit);
    let (one_of, spare) = match context.listeners {
        0 | 1 => (String::new(), 0),
        // By a hash whose secret changes with every boot and namespace: another run, another share.
        several => (format!(" (one of {several} listeners)"), burst / 2),
    };
    let at = context
        .listener
        .as_ref()
        .map_or(String::new(), |at| format!(" at {at}"));
    let short = format!(
        "listen backlog {}{at}{one_of} < burst of up to {}: ",
        thousands(limit),
        thousands(burst)
    );
    let Remedy { text, fixes } = restart(context, power_of_two(burst.saturating_add(spare)));
    Some(Remedy::with(short + &text, fixes))
}

/// The server, with a backlog of `needed`.
fn restart(context: &RemedyContext, needed: u64) -> Remedy {
    if needed > BACKLOG_SENSIBLE {
        let mut text =
            "no backlog makes up for that, the program accepts too slowly: accept faster"
                .to_owned();
        if context.server_is_c1m {
            text.push_str(" (more workers: --workers-max, --listeners reuseport)");
        }
        return Remedy::words(text);
    }
    let backlog = match context.server_is_c1m {
        true => Fix::option(Who::Server, "--backlog", needed),
        false => Fix::Backlog { value: needed },
    };
    let mut text = format!("restart the server with {backlog}");
    let mut fixes = vec![backlog];
    match context.host.somaxconn {
        Some(most) if most < needed => {
            let somaxconn = Fix::sysctl(Who::Server, "net.core.somaxconn", needed);
            text.push_str(&format!(", after {somaxconn} (now {})", thousands(most)));
            fixes.insert(0, somaxconn);
        }
        Some(most) => text.push_str(&format!(" (somaxconn {} allows it)", thousands(most))),
        None => text.push_str(" (net.core.somaxconn has to be at least that)"),
    }
    Remedy { text, fixes }
}

/// Requests that wait for their final ACK: with syncookies off, the next limit is tcp_max_syn_backlog.
pub(super) fn syn_backlog(context: &RemedyContext) -> Option<Remedy> {
    let larger = backlog(context);
    if context.host.tcp_syncookies != Some(0) {
        return larger;
    }
    let cookies = cookies();
    let Some(Remedy {
        mut text,
        mut fixes,
    }) = larger.filter(|larger| !larger.fixes.is_empty())
    else {
        return Some(Remedy::with(
            format!("tcp_syncookies is 0: {cookies}"),
            [cookies],
        ));
    };
    let queue = burst(context, context.accept_limit.map_or(0, u64::from));
    if let Some(now) = context.host.tcp_max_syn_backlog
        && three_quarters(now) < queue
    {
        let larger = max_syn_backlog(queue);
        text.push_str(&format!(" and {larger} (now {})", thousands(now)));
        fixes.push(larger);
    }
    Some(Remedy::with(format!("{text}, or {cookies} (now 0)"), fixes))
}

/// The same, where it was this limit: the next one is the backlog.
pub(super) fn last_quarter(context: &RemedyContext) -> Option<Remedy> {
    let now = context.host.tcp_max_syn_backlog?;
    let queue = burst(context, context.queue_seen_max.map_or(now, u64::from));
    let larger = max_syn_backlog(queue);
    let now = thousands(now);
    let mut text = format!("tcp_max_syn_backlog {now} with syncookies off: {larger}");
    let mut fixes = vec![larger];
    if let Some(limit) = context
        .accept_limit
        .filter(|&limit| u64::from(limit) < queue)
    {
        let restart = restart(context, power_of_two(queue));
        text.push_str(&format!(
            "; listen backlog {}: {}",
            thousands(limit.into()),
            restart.text
        ));
        fixes.extend(restart.fixes);
    }
    text.push_str(&format!(", or {}", cookies()));
    Some(Remedy { text, fixes })
}

fn cookies() -> Fix {
    Fix::sysctl(Who::Server, "net.ipv4.tcp_syncookies", 1)
}

/// How many requests there may be before the kernel keeps the rest for peers that it knows: `max - qlen < max / 4` drops
/// (`tcp_conn_request`).
fn three_quarters(max: u64) -> u64 {
    max - max / 4
}

/// So that `queue` requests are not too many.
fn max_syn_backlog(queue: u64) -> Fix {
    let needed = power_of_two(queue.saturating_mul(4) / 3 + 1);
    Fix::sysctl(Who::Server, "net.ipv4.tcp_max_syn_backlog", needed)
}
