//! The labs: each provokes one cause in network namespaces of its own, knows the true count by
//! construction, and compares the record of a traced run with it, to the last connection.
//!
//! A lab is a process: `c1m lab` starts one per lab, which first leaves the host's network namespace. What
//! it sets, adds and drops there ends with it.

use std::path::PathBuf;

use anyhow::bail;

mod ack;
mod bench;
mod close;
mod foreign;
mod life;
mod listener;
mod local;
mod notes;
mod ports;
mod process;
mod rewrite;
mod route;
mod runner;
mod silence;
mod syn;
mod truth;

pub use runner::main;

use bench::{Bench, Run};
use truth::Truth;

/// A lab: what it proves, and how.
pub struct Lab {
    /// Its name; that of the cause, but for variants and stories.
    pub name: &'static str,
    /// The slug of the cause it proves.
    pub cause: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    run: fn(&mut Bench) -> anyhow::Result<Vec<Outcome>>,
}

/// One traced run of a lab and what it should have said.
struct Outcome {
    truth: Truth,
    run: Run,
}

/// Why a lab cannot run here: this kernel or host lacks what it takes. It is counted as skipped, and never as
/// passed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Skip(String);

/// Every lab, in the order of a connection's life.
pub static LABS: &[Lab] = &[
    Lab {
        name: "emfile",
        cause: "emfile",
        about: "a client's worker has fewer file descriptors than connections to open",
        run: local::emfile,
    },
    Lab {
        name: "source-not-local",
        cause: "source-not-local",
        about: "two of four source addresses are on no interface",
        run: local::source_not_local,
    },
    Lab {
        name: "bind-conflict",
        cause: "bind-conflict",
        about: "another program has bound some of the source ports, without SO_REUSEADDR",
        run: local::bind_conflict,
    },
    Lab {
        name: "bind-conflict-ipv6",
        cause: "bind-conflict",
        about: "the same over IPv6",
        run: local::bind_conflict_ipv6,
    },
    Lab {
        name: "ports-exhausted",
        cause: "ports-exhausted",
        about: "100 ephemeral ports, some held by the living, by TIME_WAIT and by FIN_WAIT_2",
        run: ports::ports_exhausted,
    },
    Lab {
        name: "ports-exhausted-time-wait",
        cause: "ports-exhausted",
        about: "100 ephemeral ports, 60 of them held by TIME_WAIT alone",
        run: ports::ports_exhausted_time_wait,
    },
    Lab {
        name: "ports-exhausted-fin-wait-2",
        cause: "ports-exhausted",
        about: "100 ephemeral ports, 60 of them held by FIN_WAIT_2 alone",
        run: ports::ports_exhausted_fin_wait_2,
    },
    Lab {
        name: "tuple-busy",
        cause: "tuple-busy",
        about: "some tuples are held already, by living connections and by TIME_WAIT",
        run: ports::tuple_busy,
    },
    Lab {
        name: "tuple-busy-ipv6",
        cause: "tuple-busy",
        about: "the same over IPv6",
        run: ports::tuple_busy_ipv6,
    },
    Lab {
        name: "gave-up",
        cause: "gave-up",
        about: "SYNs vanish in the network, and the client's own timeout comes first",
        run: local::gave_up,
    },
    Lab {
        name: "netfilter-in",
        cause: "netfilter-in",
        about: "an nftables rule drops the SYNs of one of two sources",
        run: syn::netfilter_in,
    },
    Lab {
        name: "refused",
        cause: "refused",
        about: "nobody listens",
        run: syn::refused,
    },
    Lab {
        name: "refused-ipv6",
        cause: "refused",
        about: "nobody listens on ::1 either",
        run: syn::refused_ipv6,
    },
    Lab {
        name: "syn-backlog-full",
        cause: "syn-backlog-full",
        about: "no syncookies, and final ACKs held back until the request queue is full",
        run: listener::syn_backlog_full,
    },
    Lab {
        name: "syn-backlog-last-quarter",
        cause: "syn-backlog-last-quarter",
        about: "no syncookies, and requests up to the last quarter of tcp_max_syn_backlog",
        run: listener::syn_backlog_last_quarter,
    },
    Lab {
        name: "accept-queue-full-syn",
        cause: "accept-queue-full-syn",
        about: "a server that does not accept for a while: further SYNs are dropped",
        run: listener::accept_queue_full_syn,
    },
    Lab {
        name: "accept-queue-full-syn-ipv6",
        cause: "accept-queue-full-syn",
        about: "the same over IPv6",
        run: listener::accept_queue_full_syn_ipv6,
    },
    Lab {
        name: "synack-rejected",
        cause: "synack-rejected",
        about: "a middlebox changes what SYN-ACKs acknowledge, and the client resets them",
        run: rewrite::synack_rejected,
    },
    Lab {
        name: "synack-rejected-ipv6",
        cause: "synack-rejected",
        about: "the same over IPv6",
        run: rewrite::synack_rejected_ipv6,
    },
    Lab {
        name: "syn-unanswered",
        cause: "syn-unanswered",
        about: "SYNs vanish in the network until the kernel's retries are used up",
        run: syn::syn_unanswered,
    },
    Lab {
        name: "request-expired",
        cause: "request-expired",
        about: "final ACKs vanish in the network until the server gives the requests up",
        run: silence::request_expired,
    },
    Lab {
        name: "request-expired-ipv6",
        cause: "request-expired",
        about: "the same over IPv6",
        run: silence::request_expired_ipv6,
    },
    Lab {
        name: "accept-queue-full-ack",
        cause: "accept-queue-full-ack",
        about: "no syncookies, and final ACKs that come when the accept queue is full: half-open",
        run: ack::accept_queue_full_ack,
    },
    Lab {
        name: "accept-queue-full-reset",
        cause: "accept-queue-full-reset",
        about: "the same with tcp_abort_on_overflow: such an ACK is answered by a reset",
        run: ack::accept_queue_full_reset,
    },
    Lab {
        name: "accept-queue-full-cookie",
        cause: "accept-queue-full-cookie",
        about: "syncookies, and a burst of final ACKs longer than the accept queue: half-open for good",
        run: ack::accept_queue_full_cookie,
    },
    Lab {
        name: "cookie-invalid",
        cause: "cookie-invalid",
        about: "a middlebox changes syncookies, and the listener resets who brings them",
        run: rewrite::cookie_invalid,
    },
    Lab {
        name: "cookie-invalid-ipv6",
        cause: "cookie-invalid",
        about: "the same over IPv6",
        run: rewrite::cookie_invalid_ipv6,
    },
    Lab {
        name: "ack-rejected",
        cause: "ack-rejected",
        about: "a middlebox gives final ACKs a timestamp older than their SYN's",
        run: rewrite::ack_rejected,
    },
    Lab {
        name: "ack-rejected-ipv6",
        cause: "ack-rejected",
        about: "the same over IPv6",
        run: rewrite::ack_rejected_ipv6,
    },
    Lab {
        name: "listener-closed",
        cause: "listener-closed",
        about: "a server closes its listener while connections wait in the accept queue",
        run: life::listener_closed,
    },
    Lab {
        name: "accept-starved",
        cause: "accept-starved",
        about: "a server at its file descriptor limit: connections wait in the accept queue",
        run: life::accept_starved,
    },
    Lab {
        name: "reset-queued",
        cause: "reset-queued",
        about: "clients reset connections that no program has accepted yet",
        run: close::reset_queued,
    },
    Lab {
        name: "reset-by-peer",
        cause: "reset-by-peer",
        about: "a server resets some of the connections it accepted",
        run: life::reset_by_peer,
    },
    Lab {
        name: "closed-by-server",
        cause: "closed-by-server",
        about: "a server closes some itself, and others end with a process of it",
        run: close::closed_by_server,
    },
    Lab {
        name: "closed-by-server-ipv6",
        cause: "closed-by-server",
        about: "the same over IPv6",
        run: close::closed_by_server_ipv6,
    },
    Lab {
        name: "server-exited",
        cause: "server-exited",
        about: "one of a server's worker processes is killed",
        run: life::server_exited,
    },
    Lab {
        name: "client-exited",
        cause: "client-exited",
        about: "one of a client's worker processes is killed",
        run: close::client_exited,
    },
    Lab {
        name: "timed-out",
        cause: "timed-out",
        about: "the link to some clients is cut, and retransmits of data go without an answer",
        run: silence::timed_out,
    },
    Lab {
        name: "timed-out-ipv6",
        cause: "timed-out",
        about: "the same over IPv6",
        run: silence::timed_out_ipv6,
    },
    Lab {
        name: "timed-out-user",
        cause: "timed-out",
        about: "the same, ended by the program's own TCP_USER_TIMEOUT",
        run: silence::timed_out_user,
    },
    Lab {
        name: "timed-out-keepalive",
        cause: "timed-out",
        about: "the same without data: keepalive probes go without an answer",
        run: silence::timed_out_keepalive,
    },
    Lab {
        name: "field-notes",
        cause: "accept-queue-full-cookie",
        about: "demand at the server's capacity, default syncookies, a small backlog; then the remedy",
        run: notes::field_notes,
    },
];

/// This program, to start it again.
fn own_program() -> anyhow::Result<PathBuf> {
    let Ok(program) = std::env::current_exe() else {
        bail!("/proc/self/exe cannot be read: a lab starts c1m itself and needs /proc");
    };
    Ok(program)
}
