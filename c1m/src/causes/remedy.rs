//! What to do about a cause on this very host, for this very run: a text with the numbers that decide, and
//! what can be pasted. Says no more than is known: without the numbers it is the general remedy of the row.

use super::Cause;
use crate::report::text::thousands;

mod context;
mod fix;
mod life;
mod queue;
mod syn;

pub use context::{Holders, RemedyContext};
pub use fix::{Fix, Who};
pub use life::OOM_KILLED;

/// What the kernel allows for ip_local_port_range without privileged ports.
const PORTS_WIDEST: (u64, u64) = (1_024, 65_535);

/// What to do about a cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedy {
    /// For people, with what can be pasted.
    pub text: String,
    /// The settings among it, all of which are needed; of alternatives the first. Empty where no setting helps.
    pub fixes: Vec<Fix>,
}

impl Remedy {
    fn words(text: impl Into<String>) -> Self {
        Self::with(text, [])
    }

    fn with(text: impl Into<String>, fixes: impl IntoIterator<Item = Fix>) -> Self {
        Self {
            text: text.into(),
            fixes: fixes.into_iter().collect(),
        }
    }
}

/// What to do about `cause`, on this host and for this run.
pub fn remedy(cause: Cause, context: &RemedyContext) -> Remedy {
    let computed = match cause {
        Cause::Emfile => emfile(context),
        Cause::AcceptStarved => accept_starved(context),
        Cause::Enfile => file_max(context),
        Cause::SourceNotLocal => source_not_local(context),
        Cause::BindConflict | Cause::TupleBusy => port_taken(cause, context),
        Cause::SelfConnect => self_connect(cause, context),
        Cause::PortsExhausted => ports(context),
        Cause::GaveUp => syn::gave_up(context),
        Cause::SynUnanswered => syn::unanswered(context),
        Cause::Refused => refused(context),
        Cause::SynBacklogFull => queue::syn_backlog(context),
        Cause::SynBacklogLastQuarter => queue::last_quarter(context),
        Cause::AcceptQueueFullSyn
        | Cause::AcceptQueueFullAck
        | Cause::AcceptQueueFullReset
        | Cause::AcceptQueueFullCookie => queue::backlog(context),
        Cause::CpuBacklog => cpu_backlog(context),
        Cause::ConntrackFull => conntrack(context),
        Cause::Neighbour => life::neighbour(context),
        Cause::ServerExited | Cause::ClientExited => life::exited(context),
        Cause::ClosedByServer => closed_by_server(context),
        Cause::TimeWaitHit => life::time_wait_hit(context),
        Cause::RequestExpired => life::request_expired(context),
        Cause::ListenerGone | Cause::ListenerClosed => life::listener_gone(context),
        Cause::MemoryPressure => life::memory_pressure(context),
        Cause::FinWait2Timeout => life::fin_wait_2_timeout(context),
        Cause::TimeWaitOverflow => doubled(
            "net.ipv4.tcp_max_tw_buckets",
            context.host.tcp_max_tw_buckets,
        ),
        _ => None,
    };
    computed.unwrap_or_else(|| Remedy::words(cause.row().remedy))
}

/// The power of two that is at least `needed`.
pub(crate) fn power_of_two(needed: u64) -> u64 {
    needed.checked_next_power_of_two().unwrap_or(needed)
}

fn emfile(context: &RemedyContext) -> Option<Remedy> {
    let now = context.nofile?;
    let split = match context.client_is_c1m {
        true => "more processes (--per-worker)",
        false => "more processes",
    };
    Some(nofile(context, Who::Client, now, split))
}

fn accept_starved(context: &RemedyContext) -> Option<Remedy> {
    // Without a process at its limit nothing says that descriptors are what the server lacks.
    let now = context.server_nofile?;
    let split = match context.server_is_c1m {
        true => "more processes (--workers-max)",
        false => "more processes",
    };
    let Remedy { text, fixes } = nofile(context, Who::Server, now, split);
    Some(Remedy::with(format!("the server: {text}"), fixes))
}

/// RLIMIT_NOFILE of a process that ran out of descriptors.
fn nofile(context: &RemedyContext, who: Who, now: u64, split: &str) -> Remedy {
    let needed = power_of_two(now.saturating_add(context.lost));
    let text = format!("RLIMIT_NOFILE is {} per process: ", thousands(now));
    let hard = context.host.nofile_hard.unwrap_or(u64::MAX);
    let table = context.host.nr_open.unwrap_or(u64::MAX);
    if needed > table {
        return Remedy::words(format!(
            "{text}{split}; one process would need {}, and fs.nr_open is {}",
            thousands(needed),
            thousands(table)
        ));
    }
    let raise = Fix::Nofile { who, limit: needed };
    let text = match needed <= hard {
        true => format!("{text}{raise} before it starts, or {split}"),
        false => format!(
            "{text}{split}; the hard limit here is {}, beyond it takes CAP_SYS_RESOURCE: {raise} before it starts \
             (LimitNOFILE={needed})",
            thousands(hard)
        ),
    };
    Remedy::with(text, [raise])
}

fn file_max(context: &RemedyContext) -> Option<Remedy> {
    let now = context.host.file_max?;
    let needed = power_of_two(now.saturating_add(context.lost.saturating_mul(2)));
    let open = context
        .host
        .file_nr
        .map_or(String::new(), |open| format!(", {} open", thousands(open)));
    let raise = Fix::sysctl(Who::Server, "fs.file-max", needed);
    let text = format!(
        "fs.file-max is {}{open}: {raise} (root is exempt from it, other users are not)",
        thousands(now)
    );
    Some(Remedy::with(text, [raise]))
}

fn source_not_local(context: &RemedyContext) -> Option<Remedy> {
    let first = context.sources.first()?;
    let others = match context.sources.len() {
        1 => String::new(),
        count => format!(" and {} more", thousands(count as u64 - 1)),
    };
    let add = |address: &String| Fix::Address {
        address: address.clone(),
        prefix: if address.contains(':') { 128 } else { 32 },
    };
    let c1m = match context.client_is_c1m {
        true => ", or let c1m client --dev DEV --addresses … add them for the run",
        false => "",
    };
    let text = format!("{first}{others}: {}{c1m}", add(first));
    Some(Remedy::with(text, context.sources.iter().map(add)))
}

/// A port outside ip_local_port_range is never the kernel's own choice.
fn self_connect(cause: Cause, context: &RemedyContext) -> Option<Remedy> {
    let (_, port) = context.listener.as_deref()?.rsplit_once(':')?;
    let port: u64 = port.parse().ok()?;
    match context.client_host().ip_local_port_range.as_deref() {
        Some(&[first, last]) if !(first..=last).contains(&port) => port_taken(cause, context),
        _ => None,
    }
}

fn port_taken(cause: Cause, context: &RemedyContext) -> Option<Remedy> {
    let chosen = Fix::option(Who::Client, "--ports", "kernel");
    let text = format!(
        "c1m client {chosen} takes ports that are free; for any program: {}",
        cause.row().remedy
    );
    context.client_is_c1m.then(|| Remedy::with(text, [chosen]))
}

fn ports(context: &RemedyContext) -> Option<Remedy> {
    let (first, last) = match context.client_host().ip_local_port_range.as_deref() {
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
    let mut fixes = Vec::new();
    if room.saturating_mul(sources) >= context.lost {
        let (first, last) = PORTS_WIDEST;
        let range = format!("{first} {last}");
        let widest = Fix::sysctl(Who::Client, "net.ipv4.ip_local_port_range", range);
        text.push_str(&format!("{widest}, or "));
        fixes.push(widest);
    }
    text.push_str(&match context.lost.div_ceil(count).max(1) {
        1 => "one more source address".to_owned(),
        more => format!("{} more source addresses", thousands(more)),
    });
    let time_wait = context.holders.map_or(0, |holders| holders.time_wait);
    if time_wait > 0 && context.client_host().tcp_tw_reuse == Some(0) {
        let reuse = Fix::sysctl(Who::Client, "net.ipv4.tcp_tw_reuse", 1);
        text.push_str(&format!(", or {reuse}"));
        if fixes.is_empty() && time_wait >= context.lost {
            fixes.push(reuse);
        }
    }
    Some(Remedy { text, fixes })
}

fn refused(context: &RemedyContext) -> Option<Remedy> {
    let at = context.listener.as_deref()?;
    let port = at.rsplit_once(':').map_or(at, |(_, port)| port);
    Some(Remedy::words(format!(
        "nobody listens on {at}: start the server there, or correct the port (ss -ltn 'sport = :{port}')"
    )))
}

fn doubled(name: &str, now: Option<u64>) -> Option<Remedy> {
    let now = now?;
    let next = power_of_two(now.saturating_add(1));
    let raise = Fix::sysctl(Who::Server, name, next);
    let short = name.rsplit('.').next().unwrap_or(name);
    let text = format!("{short} is {}: {raise}", thousands(now));
    Some(Remedy::with(text, [raise]))
}

/// Room for what was dropped, as if all of it had come at once.
fn cpu_backlog(context: &RemedyContext) -> Option<Remedy> {
    let now = context.host.netdev_max_backlog?;
    let needed = power_of_two(now.saturating_add(context.lost));
    let raise = Fix::sysctl(Who::Server, "net.core.netdev_max_backlog", needed);
    let text = format!("netdev_max_backlog is {}: {raise}", thousands(now));
    Some(Remedy::with(text, [raise]))
}

fn conntrack(context: &RemedyContext) -> Option<Remedy> {
    let now = context.host.nf_conntrack_max?;
    let needed = power_of_two(now.saturating_add(context.lost));
    let raise = Fix::sysctl(Who::Server, "net.netfilter.nf_conntrack_max", needed);
    let text = format!(
        "nf_conntrack_max is {}: {raise}, or a notrack rule",
        thousands(now)
    );
    Some(Remedy::with(text, [raise]))
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

fn closed_by_server(context: &RemedyContext) -> Option<Remedy> {
    let which = processes(context)?;
    Some(Remedy::words(format!(
        "{which} closed them: its idle timeout, its limit on connections or its error path \
         (strace -fe trace=close,shutdown -p PID shows when)"
    )))
}

#[cfg(test)]
mod tests;
