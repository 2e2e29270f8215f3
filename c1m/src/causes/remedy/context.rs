//! What a remedy is computed from.

use std::collections::BTreeSet;

use crate::host::Host;

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
    /// The limits of the host, in the network namespace of the server.
    pub host: Host,
    /// The same in that of the client, where it is another.
    pub client_host: Option<Host>,
    /// How many attempts the cause took.
    pub lost: u64,
    /// How many attempts met the queue that was full: besides these also those that the same queue took by another cause, and those
    /// that got over it.
    pub met: u64,
    /// The listener's `sk_max_ack_backlog`: the smaller of its backlog and somaxconn.
    pub accept_limit: Option<u32>,
    /// How many listeners share the address and port; 0 if that was not seen.
    pub listeners: u32,
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
    /// Those that the OOM killer chose, whatever they met.
    pub victims: BTreeSet<u32>,
    /// RLIMIT_NOFILE of the process that met it, soft; the host's value is that of c1m itself.
    pub nofile: Option<u64>,
    /// The same of a server's process that has all of its descriptors in use; none if none has.
    pub server_nofile: Option<u64>,
}

impl RemedyContext {
    /// The limits in the client's namespace.
    pub(super) fn client_host(&self) -> &Host {
        self.client_host.as_ref().unwrap_or(&self.host)
    }
}
