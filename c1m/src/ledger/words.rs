//! Facts in words, with their numbers: the evidence that a reader can check.

use c1m_common::{
    fact::{End, Facts, SkbDrop, ack_refusal, drop_flag, end_flag, segment, syn_drop},
    state,
};

use super::Case;
use crate::{load::outcome::Stage, trace::read::Names};

/// All that is known of an attempt, one fact per line, in the order of a connection's life.
pub fn describe(case: &Case<'_>, names: &Names) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(facts) = case.facts {
        at_listener(facts, &mut lines);
        for (index, name) in [
            (segment::SYN, "SYN"),
            (segment::SYNACK, "SYN-ACK"),
            (segment::ACK, "ACK"),
        ] {
            if facts.skb_drops[index].count > 0 {
                lines.push(freed(name, &facts.skb_drops[index], names));
            }
        }
        refused(facts, &mut lines);
        again(facts.syn_retransmits, "SYN", &mut lines);
        again(facts.synack_retransmits, "SYN-ACK", &mut lines);
        if facts.filtered.count > 0 {
            lines.push(freed("later segment", &facts.filtered, names));
        }
        if facts.requests_orphaned > 0 {
            lines.push("the request's timer found its listener closed".to_owned());
        }
        if facts.requests_expired > 0 {
            lines.push("the listener gave the request up after its last SYN-ACK".to_owned());
        }
        if facts.client.icmp_err != 0 {
            lines.push(format!(
                "ICMP error to the client: {}",
                errno(facts.client.icmp_err)
            ));
        }
        end("client", &facts.client, names, &mut lines);
        end("server", &facts.server, names, &mut lines);
        if facts.unsent > 0 {
            lines.push(format!("connect() failed {}× before a SYN", facts.unsent));
        }
        if facts.reused > 0 {
            lines.push(format!("tuple used {} times before", facts.reused));
        }
    }
    if let Some(outcome) = case.outcome {
        if let Some(text) = stage(outcome.stage, outcome.errno) {
            lines.push(text);
        }
        if outcome.tries > 1 {
            lines.push(format!("tried {} times", outcome.tries));
        }
    }
    lines
}

fn at_listener(facts: &Facts, lines: &mut Vec<String>) {
    let queue = &facts.queue;
    let several = match queue.listeners {
        0 | 1 => String::new(),
        several => format!(", one of {several} listeners"),
    };
    for (class, text) in [
        (
            syn_drop::ACCEPT_QUEUE_FULL,
            format!(
                "accept queue {} of {}",
                queue.accept_queue, queue.accept_limit
            ),
        ),
        (
            syn_drop::SYN_QUEUE_FULL,
            format!(
                "request queue {}, limit {}, no syncookies",
                queue.syn_queue, queue.accept_limit
            ),
        ),
        (
            syn_drop::LAST_QUARTER,
            format!(
                "request queue {}, last quarter of tcp_max_syn_backlog",
                queue.syn_queue
            ),
        ),
        (
            syn_drop::NO_REQUEST,
            "queues not full, no request made".to_owned(),
        ),
        (syn_drop::UNKNOWN, "condition not seen".to_owned()),
    ] {
        let count = facts.syn_drops[class];
        if count > 0 {
            lines.push(format!(
                "SYN dropped by the listener {count}×: {text}{several}"
            ));
        }
    }
}

/// Final ACKs that the listener refused, and SYNs of which it is not known.
fn refused(facts: &Facts, lines: &mut Vec<String>) {
    let queue = &facts.queue;
    let full = format!(
        "accept queue {} of {}",
        queue.accept_queue, queue.accept_limit
    );
    for (kind, text) in [
        (ack_refusal::QUEUE_FULL, full.clone()),
        (
            ack_refusal::QUEUE_FULL_COOKIE,
            format!("{full}, by syncookie"),
        ),
        (
            ack_refusal::NO_CHILD,
            "no socket could be made for it".to_owned(),
        ),
        (
            ack_refusal::NO_CHILD_COOKIE,
            "no socket could be made for it, by syncookie".to_owned(),
        ),
        (
            ack_refusal::CHECK,
            "by its timestamp or its window".to_owned(),
        ),
        (
            ack_refusal::DEFERRED,
            "without data, and TCP_DEFER_ACCEPT waits for some".to_owned(),
        ),
    ] {
        let count = facts.ack_refusals[kind];
        if count > 0 {
            lines.push(format!(
                "final ACK refused by the listener {count}×: {text}"
            ));
        }
    }
    if facts.syns_freed_unseen > 0 {
        lines.push(format!(
            "SYN freed {}× for no reason that this kernel tells",
            facts.syns_freed_unseen
        ));
    }
}

fn freed(name: &str, drop: &SkbDrop, names: &Names) -> String {
    let reason = match names.drop_reason_name(drop) {
        "" if drop.flags & drop_flag::NO_REASON != 0 => "no reason on this kernel",
        "" => "unnamed reason",
        reason => reason,
    };
    let function = names.symbols.name(drop.location).unwrap_or("?");
    let way = if drop.flags & drop_flag::OUTPUT != 0 {
        ", on the way out"
    } else if drop.flags & drop_flag::RX_LISTENER != 0 {
        ", at the listener"
    } else if drop.flags & drop_flag::RX_TIME_WAIT != 0 {
        ", at a TIME_WAIT socket"
    } else {
        ""
    };
    let full = if drop.flags & drop_flag::ACCEPT_QUEUE_FULL != 0 {
        ", accept queue full"
    } else {
        ""
    };
    format!(
        "{name} dropped {}×: {reason} in {function}{way}{full}",
        drop.count
    )
}

fn again(count: u16, name: &str, lines: &mut Vec<String>) {
    if count > 0 {
        lines.push(format!("{name} sent again {count}×"));
    }
}

fn end(whose: &str, end: &End, names: &Names, lines: &mut Vec<String>) {
    if end.closed_ns != 0 && end.from == 0 {
        // Of MPTCP, while what carries it stands yet.
        lines.push(format!("{whose}'s program exited, pid {}", end.pid));
    } else if end.closed_ns != 0 {
        let mut line = format!("{whose} {} → {}", state_name(end.from), state_name(end.to));
        if end.err != 0 {
            line += &format!(", {}", errno(end.err));
        }
        if end.flags & end_flag::LOCAL != 0 {
            line += &format!(", by pid {}", end.pid);
        }
        if end.flags & end_flag::EXITING != 0 {
            line += " as it exited";
        }
        if end.flags & end_flag::NO_SOCKET != 0 {
            line += ", not accepted";
        }
        if end.flags & end_flag::FORGOTTEN != 0 {
            line += ", its listener closed";
        }
        lines.push(line);
    }
    if end.flags & end_flag::OUT_OF_MEMORY != 0 {
        lines.push(format!("{whose} given up for want of memory"));
    }
    if end.resets_sent > 0 {
        let reason = names.reset_reason_name(end.reset_reason);
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!(": {reason}")
        };
        lines.push(format!("{whose} sent RST {}×{reason}", end.resets_sent));
    }
    if end.flags & end_flag::REFUSED_SYNACK != 0 {
        lines.push(format!("{whose} answered a SYN-ACK with a RST"));
    }
    if end.flags & end_flag::CHALLENGED != 0 {
        lines.push(format!("{whose} answered an ACK without SYN with a RST"));
    }
    if end.resets_received > 0 {
        lines.push(format!("{whose} received RST {}×", end.resets_received));
    }
}

/// What our client recorded; nothing for a good end.
fn stage(stage: Stage, number: u16) -> Option<String> {
    let call = match stage {
        Stage::Socket => "socket()",
        Stage::Unstarted => "no worker could be started:",
        Stage::Bind => "bind()",
        Stage::Connect | Stage::Failed => "connect()",
        Stage::Lost if number == 0 => return Some("the client read end-of-file".to_owned()),
        Stage::Lost => "established, then",
        Stage::GaveUp => return Some("the client's --timeout ended it".to_owned()),
        Stage::InFlight => return Some("connect() was still under way at the end".to_owned()),
        Stage::WorkerDied => return Some("the client's worker process died".to_owned()),
        Stage::Planned | Stage::Established | Stage::Closed => return None,
    };
    Some(format!("{call} {}", errno(number)))
}

/// An errno by its name, where it is one that a connection can meet.
pub fn errno(number: u16) -> String {
    let known = match i32::from(number) {
        libc::EPERM => "EPERM",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::ENFILE => "ENFILE",
        libc::EMFILE => "EMFILE",
        libc::EPIPE => "EPIPE",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ENOBUFS => "ENOBUFS",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        _ => return format!("errno {number}"),
    };
    known.to_owned()
}

fn state_name(number: u8) -> &'static str {
    match number {
        state::ESTABLISHED => "ESTABLISHED",
        state::SYN_SENT => "SYN_SENT",
        state::SYN_RECV => "SYN_RECV",
        state::FIN_WAIT1 => "FIN_WAIT_1",
        state::FIN_WAIT2 => "FIN_WAIT_2",
        state::TIME_WAIT => "TIME_WAIT",
        state::CLOSE => "CLOSE",
        state::CLOSE_WAIT => "CLOSE_WAIT",
        state::LAST_ACK => "LAST_ACK",
        state::LISTEN => "LISTEN",
        state::CLOSING => "CLOSING",
        _ => "?",
    }
}
