//! How many connections stand before a limit of the network stops them. Pure functions of what the host said.

use super::{
    ask::Ask,
    facts::{Facts, Room},
    limit::{Bound, Judged},
};
use crate::{
    causes::remedy::{Fix, Who, power_of_two},
    report::text::thousands,
};

/// All ports without privileged ones.
const PORTS_WIDEST: (u64, u64) = (1_024, 65_535);
/// Addresses from 127.0.1.1 on.
const LOOPBACK_ADDRESSES: u64 = (1 << 24) - 258;

/// Ports that one source address has towards the target.
fn ports_each(facts: &Facts, ask: &Ask) -> Option<u64> {
    match (
        ask.explicit_ports,
        facts.host.ip_local_port_range.as_deref(),
    ) {
        (Some((_, count)), _) => Some(u64::from(count).saturating_sub(facts.listened_ports)),
        (None, Some(&[first, last])) => Some(
            (last + 1)
                .saturating_sub(first)
                .saturating_sub(facts.reserved_ports),
        ),
        _ => None,
    }
}

/// The widest range of ports: towards one's own address the longer one beside the target's.
fn widest(ask: &Ask) -> (u64, u64) {
    let (first, last) = PORTS_WIDEST;
    let port = u64::from(ask.target.port());
    match ask.first_source == ask.target.ip() && (first..=last).contains(&port) {
        true if port - first > last - port => (first, port - 1),
        true => (port + 1, last),
        false => (first, last),
    }
}

/// How many source addresses there may be.
fn sources_most(ask: &Ask) -> u64 {
    ask.sources.unwrap_or(LOOPBACK_ADDRESSES)
}

pub(super) fn ports(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let each = ports_each(facts, ask).filter(|_| ask.has_client())?;
    // connect() takes a port from a TIME_WAIT of more than 1 s where it may: always, or on loopback.
    let reusable = match facts.host.tcp_tw_reuse {
        Some(1) => true,
        Some(2) => ask.is_local(),
        _ => false,
    };
    let time_wait = if reusable { 0 } else { facts.holders.time_wait };
    let busy = facts.holders.total() - facts.holders.time_wait + time_wait;
    // Who binds to the target itself connects to himself; the ports of a listener on all addresses are taken off already.
    let own = u64::from(facts.listened_ports == 0 && ask.has_own());
    let most = sources_most(ask)
        .saturating_mul(each)
        .saturating_sub(busy + own);
    let needed = ask.sources_needed(each);
    let mut here = format!("{} × {}", thousands(needed), thousands(each));
    if busy > 0 {
        here.push_str(&format!(", {} held", thousands(busy)));
    }
    if time_wait > 0 {
        here.push_str(&format!(" ({} TIME_WAIT)", thousands(time_wait)));
    }
    let (mut remedy, mut fixes) = (String::new(), Vec::new());
    if most < ask.connections {
        let more = ask.connections.saturating_add(busy).div_ceil(each.max(1));
        let of_127 = ask.first_source.is_ipv4() && ask.first_source.is_loopback();
        let device = if of_127 {
            ""
        } else {
            " --dev DEVICE --addresses …"
        };
        remedy = format!("{} source addresses: --ips {more}{device}", thousands(more));
        let (first, last) = match ask.explicit_ports {
            Some(_) => widest(ask),
            None => PORTS_WIDEST,
        };
        let most = sources_most(ask)
            .saturating_mul(last - first + 1)
            .saturating_sub(busy);
        if most >= ask.connections && ask.explicit_ports.is_none() {
            fixes.push(Fix::sysctl(
                Who::Client,
                "net.ipv4.ip_local_port_range",
                format!("{first} {last}"),
            ));
        } else if most >= ask.connections {
            fixes.push(Fix::option(
                Who::Client,
                "--port-range",
                format!("{first}-{last}"),
            ));
        }
    }
    Some(Judged {
        bound: Bound::Count(most),
        here,
        need: format!("{} tuples", thousands(ask.connections)),
        remedy,
        fixes,
    })
}

pub(super) fn sources(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let each = ports_each(facts, ask).filter(|_| ask.has_client())?;
    let missing = facts.sources_missing.len() as u64;
    let needed = ask.sources_needed(each);
    if missing == 0 {
        return Some(Judged {
            here: "all on this host".to_owned(),
            need: thousands(needed),
            ..Judged::default()
        });
    }
    let first = facts.sources_missing.first().cloned().unwrap_or_default();
    let there = sources_most(ask).saturating_sub(missing);
    Some(Judged {
        bound: Bound::Count(there.saturating_mul(each)),
        here: format!("{first} and {} more missing", thousands(missing - 1)),
        need: thousands(needed),
        remedy: "c1m client --dev DEVICE --addresses … puts them there for the run".to_owned(),
        fixes: Vec::new(),
    })
}

pub(super) fn conntrack(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let room = Room {
        limit: facts.host.nf_conntrack_max?,
        used: facts.host.nf_conntrack_count.unwrap_or(0),
    };
    if !facts.tracks_connections {
        return Some(Judged {
            here: "loaded, follows none here".to_owned(),
            need: "none: no rule asks for it".to_owned(),
            ..Judged::default()
        });
    }
    let wanted = power_of_two(room.used.saturating_add(ask.connections));
    Some(Judged {
        bound: Bound::Count(room.left()),
        here: format!(
            "{} of {} in use",
            thousands(room.used),
            thousands(room.limit)
        ),
        need: thousands(ask.connections),
        remedy: "or a notrack rule".to_owned(),
        fixes: match room.left() < ask.connections {
            true => vec![Fix::sysctl(
                Who::Server,
                "net.netfilter.nf_conntrack_max",
                wanted,
            )],
            false => Vec::new(),
        },
    })
}

pub(super) fn neighbours(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let room = facts.neighbours?;
    let here = format!(
        "{} of {} in use",
        thousands(room.used),
        thousands(room.limit)
    );
    if !ask.has_server() || ask.is_local() {
        return Some(Judged {
            here,
            need: match ask.is_local() {
                true => "none on this host",
                false => "one, of the way to the server",
            }
            .to_owned(),
            ..Judged::default()
        });
    }
    // A host has an entry for each neighbour that it sends to: a server on this link, for each source address.
    let each = ports_each(facts, ask)?;
    let needed = ask.sources_needed(each);
    let most = room.left().saturating_mul(each);
    let family = if ask.target.is_ipv4() { "ipv4" } else { "ipv6" };
    let name = format!("net.{family}.neigh.default.gc_thresh3");
    Some(Judged {
        bound: Bound::Count(most),
        here,
        need: format!("{} at most", thousands(needed)),
        remedy: String::new(),
        fixes: match most < ask.connections {
            true => vec![Fix::sysctl(
                Who::Server,
                &name,
                power_of_two(room.used + needed),
            )],
            false => Vec::new(),
        },
    })
}
