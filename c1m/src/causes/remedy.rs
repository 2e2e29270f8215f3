//! What to do about a cause on this very host, for this very run: a text with the numbers that decide, and
//! what can be pasted. Says no more than is known: without the numbers it is the general remedy of the row.

use super::Cause;
use crate::{host::Host, report::text::thousands};

/// A backlog beyond this is no remedy any more: the program is too slow for the rate.
const BACKLOG_SENSIBLE: u64 = 65_536;
/// What the kernel allows for ip_local_port_range without privileged ports.
const PORTS_WIDEST: (u64, u64) = (1_024, 65_535);

/// Who holds the ports of a source address towards the target, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Live connections.
    pub live: u64,
    /// Sockets in TIME_WAIT.
    pub time_wait: u64,
    /// Sockets in FIN_WAIT_2.
    pub fin_wait_2: u64,
}

/// What a remedy is computed from. Everything but `lost` may be unknown.
#[derive(Clone, Debug, Default)]
pub struct RemedyContext {
    /// The limits of the host, in the network namespace of the end that has to change.
    pub host: Host,
    /// How many attempts the cause took.
    pub lost: u64,
    /// The listener's `sk_max_ack_backlog`: the smaller of its backlog and somaxconn.
    pub accept_limit: Option<u32>,
    /// The longest accept or request queue that was seen when it refused something.
    pub queue_seen_max: Option<u32>,
    /// The listener or server: an address and port.
    pub listener: Option<String>,
    /// Whether the server is `c1m server`: then its options can be named.
    pub server_is_c1m: bool,
    /// Whether the client is `c1m client`.
    pub client_is_c1m: bool,
    /// The client's own timeout, in ms.
    pub timeout_ms: Option<u64>,
    /// The source addresses concerned.
    pub sources: Vec<String>,
    /// Who holds the ports, all `sources` together.
    pub holders: Option<Holders>,
    /// The processes concerned, with how each ended where that is known: `4711` or `4711 (signal 9)`.
    pub processes: Vec<String>,
    /// RLIMIT_NOFILE of the process that met it, soft; the host's value is that of c1m itself.
    pub nofile: Option<u64>,
}

/// What to do about `cause`, in a line that is for people but can be pasted from.
pub fn remedy(cause: Cause, context: &RemedyContext) -> String {
    let computed = match cause {
        Cause::Emfile => nofile(context, "--per-worker", context.client_is_c1m),
        Cause::AcceptStarved => accept_starved(context),
        Cause::Enfile => file_max(context),
        Cause::SourceNotLocal => source_not_local(context),
        Cause::PortsExhausted => ports(context),
        Cause::GaveUp => gave_up(context),
        Cause::SynUnanswered => unanswered(context),
        Cause::Refused => refused(context),
        Cause::SynBacklogFull => syn_backlog(context),
        Cause::SynBacklogLastQuarter => last_quarter(context),
        Cause::AcceptQueueFullSyn
        | Cause::AcceptQueueFullAck
        | Cause::AcceptQueueFullReset
        | Cause::AcceptQueueFullCookie => backlog(context),
        Cause::CpuBacklog => doubled(
            "net.core.netdev_max_backlog",
            context.host.netdev_max_backlog,
        ),
        Cause::ConntrackFull => conntrack(context),
        Cause::ServerExited | Cause::ClientExited => exited(context),
        Cause::ClosedByServer => closed_by_server(context),
        Cause::TimeWaitOverflow => doubled(
            "net.ipv4.tcp_max_tw_buckets",
            context.host.tcp_max_tw_buckets,
        ),
        _ => None,
    };
    computed.unwrap_or_else(|| cause.row().remedy.to_owned())
}

fn power_of_two(needed: u64) -> u64 {
    needed.checked_next_power_of_two().unwrap_or(needed)
}

/// The listener's queues: one number bounds both.
fn backlog(context: &RemedyContext) -> Option<String> {
    let limit = u64::from(context.accept_limit?);
    let burst = limit.saturating_add(context.lost);
    let needed = power_of_two(burst);
    let at = context
        .listener
        .as_ref()
        .map_or(String::new(), |at| format!(" at {at}"));
    let mut text = format!(
        "listen backlog {}{at} < burst of up to {}: ",
        thousands(limit),
        thousands(burst)
    );
    if needed > BACKLOG_SENSIBLE {
        text.push_str(
            "no backlog makes up for that, the program accepts too slowly: accept faster",
        );
        if context.server_is_c1m {
            text.push_str(" (more workers: --workers-max, --listeners reuseport)");
        }
        return Some(text);
    }
    text.push_str(&match context.server_is_c1m {
        true => format!("restart the server with --backlog {needed}"),
        false => format!("restart the server with listen(fd, {needed})"),
    });
    match context.host.somaxconn {
        Some(most) if most < needed => text.push_str(&format!(
            ", after sysctl -w net.core.somaxconn={needed} (now {})",
            thousands(most)
        )),
        Some(most) => text.push_str(&format!(" (somaxconn {} allows it)", thousands(most))),
        None => text.push_str(" (net.core.somaxconn has to be at least that)"),
    }
    Some(text)
}

fn syn_backlog(context: &RemedyContext) -> Option<String> {
    let larger = backlog(context);
    match context.host.tcp_syncookies {
        Some(0) => {
            let cookies = "tcp_syncookies is 0: sysctl -w net.ipv4.tcp_syncookies=1";
            Some(match larger {
                Some(larger) => format!("{cookies}, or {larger}"),
                None => cookies.to_owned(),
            })
        }
        _ => larger,
    }
}

fn last_quarter(context: &RemedyContext) -> Option<String> {
    let now = context.host.tcp_max_syn_backlog?;
    // The kernel wants a quarter free: max - qlen >= max / 4.
    let queue = context.queue_seen_max.map_or(now, u64::from);
    let needed = power_of_two((queue.saturating_add(context.lost)).saturating_mul(4) / 3 + 1);
    Some(format!(
        "tcp_max_syn_backlog {} with syncookies off: sysctl -w net.ipv4.tcp_max_syn_backlog={needed}, or \
         sysctl -w net.ipv4.tcp_syncookies=1",
        thousands(now)
    ))
}

/// RLIMIT_NOFILE of a process that ran out of descriptors.
fn nofile(context: &RemedyContext, option: &str, is_c1m: bool) -> Option<String> {
    let now = context.nofile.or(context.host.nofile_soft)?;
    let needed = power_of_two(now.saturating_add(context.lost));
    let mut text = format!("RLIMIT_NOFILE is {} per process: ", thousands(now));
    let hard = context.host.nofile_hard.unwrap_or(u64::MAX);
    let table = context.host.nr_open.unwrap_or(u64::MAX);
    let split = match is_c1m {
        true => format!("more processes ({option})"),
        false => "more processes".to_owned(),
    };
    if needed <= hard && needed <= table {
        text.push_str(&format!("ulimit -n {needed} before it starts, or {split}"));
    } else if needed > table {
        text.push_str(&format!(
            "{split}; one process would need {}, and fs.nr_open is {}",
            thousands(needed),
            thousands(table)
        ));
    } else {
        text.push_str(&format!(
            "{split}; the hard limit here is {}, beyond it takes CAP_SYS_RESOURCE (LimitNOFILE={needed})",
            thousands(hard)
        ));
    }
    Some(text)
}

fn accept_starved(context: &RemedyContext) -> Option<String> {
    // Without the server's own limit nothing says that descriptors are what it lacks.
    context.nofile?;
    let limit = nofile(context, "--workers-max", context.server_is_c1m)?;
    Some(format!("the server: {limit}"))
}

fn file_max(context: &RemedyContext) -> Option<String> {
    let now = context.host.file_max?;
    let needed = power_of_two(now.saturating_add(context.lost.saturating_mul(2)));
    let open = context
        .host
        .file_nr
        .map_or(String::new(), |open| format!(", {} open", thousands(open)));
    Some(format!(
        "fs.file-max is {}{open}: sysctl -w fs.file-max={needed} (root is exempt from it, other users are \
         not)",
        thousands(now)
    ))
}

fn source_not_local(context: &RemedyContext) -> Option<String> {
    let first = context.sources.first()?;
    let others = match context.sources.len() {
        1 => String::new(),
        count => format!(" and {} more", thousands(count as u64 - 1)),
    };
    let suffix = if first.contains(':') { 128 } else { 32 };
    let c1m = match context.client_is_c1m {
        true => ", or let c1m client --dev DEV --addresses … add them for the run",
        false => "",
    };
    Some(format!(
        "{first}{others}: ip address add {first}/{suffix} dev DEV{c1m}"
    ))
}

fn ports(context: &RemedyContext) -> Option<String> {
    let (first, last) = match context.host.ip_local_port_range.as_deref() {
        Some(&[first, last]) if first <= last => (first, last),
        _ => return None,
    };
    let count = last - first + 1;
    let mut text = format!(
        "range {first}–{last} has {} ports per source",
        thousands(count)
    );
    if let Some(holders) = context.holders {
        text.push_str(&format!(": {} live", thousands(holders.live)));
        for (count, state) in [
            (holders.time_wait, "TIME_WAIT"),
            (holders.fin_wait_2, "FIN_WAIT_2"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {} in {state}", thousands(count)));
            }
        }
    }
    text.push_str("; ");
    let room = (PORTS_WIDEST.1 - PORTS_WIDEST.0 + 1).saturating_sub(count);
    let sources = context.sources.len().max(1) as u64;
    if room.saturating_mul(sources) >= context.lost {
        text.push_str(&format!(
            "sysctl -w net.ipv4.ip_local_port_range='{} {}', or ",
            PORTS_WIDEST.0, PORTS_WIDEST.1
        ));
    }
    text.push_str(&match context.lost.div_ceil(count).max(1) {
        1 => "one more source address".to_owned(),
        more => format!("{} more source addresses", thousands(more)),
    });
    let time_wait = context.holders.map_or(0, |holders| holders.time_wait);
    if time_wait > 0 && context.host.tcp_tw_reuse == Some(0) {
        text.push_str(", or sysctl -w net.ipv4.tcp_tw_reuse=1");
    }
    Some(text)
}

fn gave_up(context: &RemedyContext) -> Option<String> {
    let timeout_ms = context.timeout_ms?;
    // SYNs go out 0, 1, 3, 7, 15 … s after the first.
    let mut next_ms = 1_000_u64;
    while next_ms <= timeout_ms {
        next_ms = next_ms.checked_mul(2)?.checked_add(1_000)?;
    }
    let option = match context.client_is_c1m {
        true => format!("--timeout {}s", next_ms / 1_000 + 1),
        false => format!("a timeout above {} s", next_ms / 1_000),
    };
    Some(format!(
        "it waited {} s, the next SYN would have gone after {} s: {option}; if nothing answers then \
         either, look at the path and the server",
        seconds(timeout_ms),
        next_ms / 1_000
    ))
}

fn seconds(ms: u64) -> String {
    match ms % 1_000 {
        0 => (ms / 1_000).to_string(),
        _ => format!("{}.{}", ms / 1_000, ms % 1_000 / 100),
    }
}

fn unanswered(context: &RemedyContext) -> Option<String> {
    let retries = context.host.tcp_syn_retries?;
    let target = context.listener.as_deref().unwrap_or("the server");
    Some(format!(
        "{} SYNs to {target} left this host and none was answered: look at the path, trace on the server's \
         host too, and join both records with c1m report",
        thousands(retries.saturating_add(1))
    ))
}

fn refused(context: &RemedyContext) -> Option<String> {
    let at = context.listener.as_deref()?;
    let port = at.rsplit_once(':').map_or(at, |(_, port)| port);
    Some(format!(
        "nobody listens on {at}: start the server there, or correct the port (ss -ltn 'sport = :{port}')"
    ))
}

fn doubled(name: &str, now: Option<u64>) -> Option<String> {
    let now = now?;
    let next = power_of_two(now.saturating_add(1));
    Some(format!(
        "{} is {}: sysctl -w {name}={next}",
        name.rsplit('.').next().unwrap_or(name),
        thousands(now)
    ))
}

fn conntrack(context: &RemedyContext) -> Option<String> {
    let now = context.host.nf_conntrack_max?;
    let needed = power_of_two(now.saturating_add(context.lost));
    Some(format!(
        "nf_conntrack_max is {}: sysctl -w net.netfilter.nf_conntrack_max={needed}, or a notrack rule",
        thousands(now)
    ))
}

/// `pid 4711 and 3 more`
fn processes(context: &RemedyContext) -> Option<String> {
    match context.processes.as_slice() {
        [] => None,
        [one] => Some(format!("pid {one}")),
        [first, rest @ ..] => Some(format!(
            "pid {first} and {} more",
            thousands(rest.len() as u64)
        )),
    }
}

fn closed_by_server(context: &RemedyContext) -> Option<String> {
    let which = processes(context)?;
    Some(format!(
        "{which} closed them: its idle timeout, its limit on connections or its error path \
         (strace -fe trace=close,shutdown -p PID shows when)"
    ))
}

fn exited(context: &RemedyContext) -> Option<String> {
    let which = processes(context)?;
    Some(format!(
        "find out what ended {which}: its wait status, dmesg for the OOM killer, coredumpctl"
    ))
}

#[cfg(test)]
mod tests;
