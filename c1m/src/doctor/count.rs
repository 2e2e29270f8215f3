//! How many connections stand before a limit of processes and memory stops them. Pure functions of what the host said.

use super::{
    ask::Ask,
    buffers::queued_pages,
    facts::{Facts, Room},
    limit::{Bound, Judged},
};
use crate::{
    causes::remedy::{Fix, Who, power_of_two},
    load::worker::BASE_FDS,
    options::{FDS_OF_SERVER, FDS_OF_SUPERVISOR, FDS_PER_WORKER, WORKERS_MAX},
    report::text::{bytes, thousands},
};

/// Kernel memory of one end, in bytes: the slab objects of socket (2.4 KB), inode (0.8 KB), file, dentry and epoll item
/// (0.2 KB each) and the bucket of its port, with what their slabs leave unused. Measured on 6.18: 3.9 to 4.0 KB.
pub(super) const SOCKET_BYTES: u64 = 4_096;
/// Memory of one of our workers besides, in bytes.
const WORKER_BYTES: u64 = 4 << 20;
/// What stays free of the memory that is available, as a share: beyond it the kernel looks for pages to take back.
const MEMORY_KEPT: u64 = 20;
/// Open files of one of our workers besides its connections: pipes, epoll, its program and libraries, its pidfd.
pub(super) const FILES_PER_WORKER: u64 = 14;
/// The same of an end's supervisor.
const FILES_OF_SUPERVISOR: u64 = 24;
/// A number from which on a limit is none.
const NO_LIMIT: u64 = 1 << 60;
/// A page, in bytes.
pub(super) const PAGE_BYTES: u64 = 4_096;

/// A number, or that there is no limit.
fn limit_text(limit: u64) -> String {
    match limit {
        NO_LIMIT.. => "no limit".to_owned(),
        _ => thousands(limit),
    }
}

/// Who has to change: whoever has an end here.
fn whose(ask: &Ask) -> impl Iterator<Item = Who> {
    let client = ask.has_client().then_some(Who::Client);
    let server = ask.has_server().then_some(Who::Server);
    client.into_iter().chain(server)
}

/// The RLIMIT_NOFILE that a process can have: the kernel lets nobody set one above fs.nr_open, though one that is older than
/// that stays.
fn nofile(facts: &Facts) -> Option<u64> {
    let nr_open = facts.host.nr_open.unwrap_or(NO_LIMIT);
    Some(facts.host.nofile_hard?.min(nr_open).min(NO_LIMIT))
}

/// Connections that one process can hold.
fn room_per_process(facts: &Facts) -> u64 {
    nofile(facts).unwrap_or(NO_LIMIT).saturating_sub(BASE_FDS)
}

/// Processes that there can be at an end: its supervisor has some descriptors for each.
fn processes_max(ask: &Ask, nofile: u64) -> u64 {
    let supervised = |own| nofile.saturating_sub(own) / FDS_PER_WORKER;
    let client = ask.has_client().then(|| supervised(FDS_OF_SUPERVISOR));
    let server = ask
        .has_server()
        .then(|| supervised(FDS_OF_SERVER).min(WORKERS_MAX.into()));
    let c1m = client.into_iter().chain(server).min();
    ask.processes.or(c1m).unwrap_or(0)
}

/// How many connections the descriptors of all processes are good for, if each process may have `nofile`.
fn held_with(ask: &Ask, nofile: u64) -> u64 {
    processes_max(ask, nofile).saturating_mul(nofile.saturating_sub(BASE_FDS))
}

pub(super) fn descriptors(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let nofile = nofile(facts)?;
    let nr_open = facts.host.nr_open.unwrap_or(NO_LIMIT);
    let most = held_with(ask, nofile);
    let processes = ask.connections.div_ceil(room_per_process(facts).max(1));
    let here = match ask.processes {
        Some(processes) => match facts.host.nofile_soft.filter(|soft| *soft < nofile) {
            // Ours raise it; of other programs nobody knows.
            Some(soft) => format!(
                "{} × {}, if they raise it from {}",
                thousands(nofile),
                thousands(processes),
                thousands(soft)
            ),
            None => format!("{} × {}", thousands(nofile), thousands(processes)),
        },
        None => format!("{} per process", limit_text(nofile)),
    };
    let mut fixes = Vec::new();
    let mut remedy = String::new();
    if most < ask.connections {
        // The smallest power of two that does, which the number of workers depends on, too.
        let wanted = (1..=40)
            .map(|bits| 1_u64 << bits)
            .find(|nofile| held_with(ask, *nofile) >= ask.connections);
        let limit = wanted.unwrap_or(ask.connections);
        let needed = thousands(limit);
        if limit > nr_open {
            fixes.push(Fix::sysctl(Who::Client, "fs.nr_open", limit));
        }
        fixes.extend(whose(ask).map(|who| Fix::Nofile { who, limit }));
        remedy = format!(
            "more processes, or RLIMIT_NOFILE {needed} before they start (fs.nr_open is {})",
            thousands(nr_open)
        );
    }
    Some(Judged {
        bound: Bound::Count(most),
        here,
        need: match ask.processes {
            Some(processes) => format!(
                "{} each",
                thousands(
                    ask.connections
                        .div_ceil(processes.max(1))
                        .saturating_add(BASE_FDS)
                )
            ),
            None => format!("{} at each end", counted(processes, "process", "processes")),
        },
        remedy,
        fixes,
    })
}

/// `1 process`, `51 processes`
fn counted(number: u64, one: &str, more: &str) -> String {
    format!(
        "{} {}",
        thousands(number),
        if number == 1 { one } else { more }
    )
}

pub(super) fn files(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let room = Room {
        limit: facts.host.file_max?,
        used: facts.host.file_nr?,
    };
    // Each process brings some of its own: so many files are `per` processes full.
    let per = room_per_process(facts).max(1);
    let each = u128::from(per + FILES_PER_WORKER);
    let ends = ask.ends();
    let left = room.left().saturating_sub(ends * FILES_OF_SUPERVISOR);
    let most = u128::from(left) * u128::from(per) / (u128::from(ends) * each);
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    let workers = ask.connections.div_ceil(per);
    let files = ask.connections.saturating_add(workers * FILES_PER_WORKER);
    let need = files
        .saturating_add(FILES_OF_SUPERVISOR)
        .saturating_mul(ends);
    let here = format!(
        "{} of {} in use",
        thousands(room.used),
        limit_text(room.limit)
    );
    if facts.exempt_from_file_max {
        return Some(Judged {
            here: format!("{here}; {} is exempt", facts.user),
            need: match most {
                NO_LIMIT.. => String::new(),
                _ => format!("users: up to {}", thousands(most)),
            },
            ..Judged::default()
        });
    }
    let wanted = power_of_two(room.used.saturating_add(need));
    let short = most < ask.connections;
    Some(Judged {
        bound: Bound::Count(most),
        here,
        need: thousands(need),
        remedy: "or make the connections with CAP_SYS_ADMIN, as root has it: exempt".to_owned(),
        fixes: match short {
            true => vec![Fix::sysctl(Who::Server, "fs.file-max", wanted)],
            false => Vec::new(),
        },
    })
}

/// Bytes of one connection, all its ends here together.
fn connection_bytes(facts: &Facts, ask: &Ask) -> u64 {
    let workers = ask.ends() * WORKER_BYTES / room_per_process(facts).max(1);
    // Beyond the sockets: what waits in them, what our slate notes of it, and a share of a worker.
    ask.ends() * SOCKET_BYTES + queued_pages(facts, ask) * PAGE_BYTES + 32 + workers
}

/// How much memory a socket takes is no exact number: nor is what is computed from it.
fn about(connections: u64) -> u64 {
    match connections {
        10_000.. => connections / 1_000 * 1_000,
        _ => connections,
    }
}

pub(super) fn memory(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let available = facts.host.memory_available_bytes?;
    let usable =
        available - facts.host.memory_bytes.unwrap_or(available).min(available) / MEMORY_KEPT;
    let each = connection_bytes(facts, ask);
    let need = ask.connections.saturating_mul(each);
    Some(Judged {
        bound: Bound::Count(about(usable / each)),
        here: format!("{} available", bytes(available)),
        need: format!("{}, {} each", bytes(need), bytes(each)),
        remedy: "more memory, or an end on another host".to_owned(),
        fixes: Vec::new(),
    })
}

pub(super) fn memory_cgroup(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let (room, name) = facts.memory_cgroup.as_ref()?;
    let each = connection_bytes(facts, ask);
    Some(Judged {
        bound: Bound::Count(about(room.left() / each)),
        here: format!("{} of {} in use", bytes(room.used), bytes(room.limit)),
        need: bytes(ask.connections.saturating_mul(each)),
        remedy: format!("raise {name}"),
        fixes: Vec::new(),
    })
}

pub(super) fn tasks(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let (room, name) = facts.tasks.as_ref()?;
    let per = room_per_process(facts).max(1);
    // Each end has a supervisor, too, and starts one worker before it is needed.
    let workers = (room.left() / ask.ends()).saturating_sub(2);
    let needed = match ask.processes {
        Some(processes) => processes,
        None => ask.connections.div_ceil(per) + 2,
    };
    let most = match ask.processes {
        Some(processes) if processes <= workers => return None,
        _ => workers.saturating_mul(per),
    };
    Some(Judged {
        bound: Bound::Count(most),
        here: format!(
            "{} of {} in use",
            thousands(room.used),
            thousands(room.limit)
        ),
        need: thousands(needed.saturating_mul(ask.ends())),
        remedy: format!("raise {name}, or RLIMIT_NOFILE: fewer processes"),
        fixes: Vec::new(),
    })
}

pub(super) fn epoll(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let most = facts.epoll_watches_max?;
    let need = ask.connections.saturating_mul(ask.ends());
    Some(Judged {
        bound: Bound::Soft(most / ask.ends()),
        here: thousands(most),
        need: thousands(need),
        remedy: String::new(),
        fixes: match most < need {
            true => vec![Fix::sysctl(
                Who::Server,
                "fs.epoll.max_user_watches",
                power_of_two(need),
            )],
            false => Vec::new(),
        },
    })
}
