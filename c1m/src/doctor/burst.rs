//! Limits that are met by how fast connections come, and by what they leave behind. Pure functions of what the host said.

use super::{
    ask::Ask,
    facts::{Facts, Room},
    limit::{Bound, Judged},
};
use crate::{
    causes::remedy::{Fix, Who, power_of_two},
    report::text::thousands,
};

/// How many may come before the server's program gets to run.
fn at_once(ask: &Ask) -> u64 {
    ask.in_flight.min(ask.connections)
}

/// The length of the accept queue, of who listens or will.
fn backlog(facts: &Facts, ask: &Ask) -> Option<u64> {
    let somaxconn = facts.host.somaxconn?;
    Some(match (facts.accept_limit, ask.backlog) {
        (Some(limit), None) => limit,
        (_, backlog) => backlog.unwrap_or(somaxconn).min(somaxconn),
    })
}

pub(super) fn accept_queue(facts: &Facts, ask: &Ask) -> Option<Judged> {
    if !ask.has_server() {
        return None;
    }
    let somaxconn = facts.host.somaxconn?;
    let backlog = backlog(facts, ask)?;
    let need = at_once(ask);
    let listens = facts.accept_limit.is_some() && ask.backlog.is_none();
    let here = match (listens, backlog == somaxconn) {
        (true, _) => format!("the listener has {}", thousands(backlog)),
        (false, true) => format!("somaxconn {}", thousands(somaxconn)),
        (false, false) => format!("backlog {}", thousands(backlog)),
    };
    let short = backlog < need;
    let wanted = power_of_two(need);
    let mut fixes = Vec::new();
    if short && somaxconn < need {
        fixes.push(Fix::sysctl(Who::Server, "net.core.somaxconn", wanted));
    }
    if short && (listens || ask.backlog.is_some()) {
        fixes.push(Fix::option(Who::Server, "--backlog", wanted));
    }
    Some(Judged {
        bound: if short { Bound::Short } else { Bound::Free },
        here,
        need: format!("{} at once (--in-flight)", thousands(need)),
        remedy: if short {
            "or a slower client: --rate, --in-flight"
        } else {
            ""
        }
        .to_owned(),
        fixes,
    })
}

pub(super) fn syn_queue(facts: &Facts, ask: &Ask) -> Option<Judged> {
    if !ask.has_server() {
        return None;
    }
    let requests = facts.host.tcp_max_syn_backlog?;
    let cookies = facts.host.tcp_syncookies?;
    let backlog = backlog(facts, ask)?;
    // On one host a handshake is over when connect() returns: requests do not pile up.
    let need = if ask.is_local() { 1 } else { at_once(ask) };
    let here = format!("{}, tcp_syncookies {cookies}", thousands(requests));
    let room = backlog.min(requests - requests / 4);
    let short = cookies == 0 && room < need;
    let what = if need == 1 {
        "one at a time here".to_owned()
    } else {
        thousands(need)
    };
    Some(Judged {
        bound: if short { Bound::Short } else { Bound::Free },
        here,
        need: match cookies {
            0 => what,
            2 => "none: always cookies".to_owned(),
            _ => format!("{what}; then cookies"),
        },
        remedy: String::new(),
        fixes: match short {
            true => vec![Fix::sysctl(Who::Server, "net.ipv4.tcp_syncookies", 1)],
            false => Vec::new(),
        },
    })
}

pub(super) fn cpu_backlog(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let limit = facts.host.netdev_max_backlog?;
    Some(Judged {
        here: format!("{} packets", thousands(limit)),
        need: match ask.is_local() {
            true => "few: who sends empties it",
            false => "cannot be foretold: watch softnet drops",
        }
        .to_owned(),
        ..Judged::default()
    })
}

pub(super) fn rp_filter(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let strictest = facts.rp_filter?;
    let here = match strictest {
        0 => "off",
        1 => "strict on a device",
        _ => "loose",
    };
    let aliases = !ask.is_local() && ask.sources.is_none_or(|sources| sources > 1);
    Some(Judged {
        here: here.to_owned(),
        need: match (aliases, strictest) {
            (true, 1) => "the way back to each alias by the same device",
            _ => "nothing here",
        }
        .to_owned(),
        ..Judged::default()
    })
}

pub(super) fn time_wait(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let room = Room {
        limit: facts.host.tcp_max_tw_buckets?,
        used: facts.time_wait,
    };
    let name = "net.ipv4.tcp_max_tw_buckets";
    Some(left_behind(room, ask, name, "none: closed by RST"))
}

pub(super) fn orphans(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let room = Room {
        limit: facts.host.tcp_max_orphans?,
        used: facts.host.tcp_orphans.unwrap_or(0),
    };
    let mut judged = left_behind(room, ask, "net.ipv4.tcp_max_orphans", "none: closed by RST");
    if ask.closes_by_fin {
        // Only until the peer has answered the FIN: on one host, at once.
        judged.need = "while the peer has not closed".to_owned();
    }
    if ask.is_local() {
        judged = Judged {
            bound: Bound::Free,
            fixes: Vec::new(),
            ..judged
        };
    }
    Some(judged)
}

fn left_behind(room: Room, ask: &Ask, name: &str, none: &str) -> Judged {
    let here = format!(
        "{} of {} in use",
        thousands(room.used),
        thousands(room.limit)
    );
    if !ask.closes_by_fin {
        return Judged {
            here,
            need: none.to_owned(),
            ..Judged::default()
        };
    }
    let wanted = power_of_two(room.used.saturating_add(ask.connections));
    Judged {
        bound: Bound::Soft(room.left()),
        here,
        need: thousands(ask.connections),
        remedy: "or --close rst".to_owned(),
        fixes: match room.left() < ask.connections {
            true => vec![Fix::sysctl(Who::Client, name, wanted)],
            false => Vec::new(),
        },
    }
}
