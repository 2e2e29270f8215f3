//! What the view shows at one moment. Data alone: reading it is [`super::host`]'s and the run's matter, showing it
//! [`super::draw`]'s.

use std::time::Duration;

use crate::{load::stats::WorkerRow, watch::seen::Seen};

/// How far a run is, as its own processes count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunView {
    /// `client to 127.0.0.1:8000`
    pub title: String,
    /// How many connections it is to be, where that is known.
    pub planned: Option<u64>,
    /// Attempts begun, or connections accepted.
    pub begun: u64,
    /// Under way; a server does not know.
    pub in_flight: Option<u64>,
    /// Established, as this end's own processes count: standing, if the other end agrees.
    pub standing: u64,
    /// Ended without a connection.
    pub failed: u64,
    /// Stood, and were lost.
    pub lost: u64,
    /// Of the failed, those without a descriptor and without a file: EMFILE, ENFILE.
    pub no_file: [u64; 2],
    /// Closed by the other end, where that is what was asked for.
    pub closed: u64,
    /// The worker processes.
    pub workers: Vec<WorkerRow>,
}

/// A limit, and how much of it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Used.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

/// One CPU since the last look, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    /// Programs.
    pub user: f64,
    /// The kernel on their behalf.
    pub system: f64,
    /// Softirqs: what the network brings.
    pub softirq: f64,
    /// Nothing to do.
    pub idle: f64,
}

/// A listener's queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueView {
    /// Connections waiting to be accepted, and the limit.
    pub accept: Gauge,
    /// Requests waiting for their final ACK; `None` where nobody could count them.
    pub requests: Option<u64>,
    /// From how many on it answers by syncookies, or drops.
    pub requests_limit: u64,
}

/// The host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostView {
    /// Open files and fs.file-max.
    pub files: Gauge,
    /// Pages of TCP's buffers and the third number of tcp_mem.
    pub tcp_pages: Gauge,
    /// Memory that is in use and all of it, in bytes.
    pub memory: Gauge,
    /// Of it, slab, in bytes.
    pub slab_bytes: u64,
    /// TCP sockets in this network namespace: in use, and all that are allocated on the host.
    pub sockets: [u64; 2],
    /// Sockets in TIME_WAIT and its limit.
    pub time_wait: Gauge,
    /// Sockets without a program and the limit.
    pub orphans: Gauge,
    /// The listeners' queues.
    pub queues: Vec<QueueView>,
    /// Per CPU.
    pub cpus: Vec<Cpu>,
    /// Packets per second that softirqs took in.
    pub packets_per_s: u64,
    /// Dropped because a CPU's queue was full, since the view began.
    pub softnet_dropped: u64,
}

/// What the kernel side counted, both ends: `[client's, server's]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelView {
    /// Established now.
    pub established: [u64; 2],
    /// SYNs that a listener dropped: packets, not connections.
    pub syns_dropped: u64,
    /// Final ACKs refused, likewise.
    pub acks_refused: u64,
    /// Attempts that met trouble, by cause.
    pub seen: Seen,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// How long the run lasts.
    pub elapsed: Duration,
    /// How many connections came to stand in the last second.
    pub rate_per_s: u64,
    /// The run.
    pub run: RunView,
    /// The host.
    pub host: HostView,
    /// What the tracer saw; `None` without one.
    pub kernel: Option<KernelView>,
}
