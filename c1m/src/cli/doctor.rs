//! The options of `c1m doctor`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum, value_parser};

use super::{Close, Ports, examples::DOCTOR_EXAMPLES};

/// Which ends of the connections are on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum End {
    /// The one that connects
    Client,
    /// The one that accepts
    Server,
    /// Both
    Both,
}

/// Options of `c1m doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub struct DoctorArgs {
    /// How many connections [default: 1000000]
    #[arg(long)]
    pub connections: Option<u64>,
    /// Address and port of the server
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub target: SocketAddr,
    /// Which ends are on this host [default: both if it has the target's address, else the client's]
    #[arg(long, value_enum)]
    pub end: Option<End>,
    /// How many source addresses there are [default: on loopback as many as needed, else one]
    #[arg(long)]
    pub ips: Option<u32>,
    /// Source addresses, written as for `c1m client`
    #[arg(long)]
    pub sources: Option<String>,
    /// Who chooses the source ports
    #[arg(long, value_enum, default_value_t = Ports::Explicit)]
    pub ports: Ports,
    /// Source ports to use on each address
    #[arg(long, default_value = "10000-65535")]
    pub port_range: String,
    /// The server's backlog [default: that of who listens there now, or somaxconn]
    #[arg(long)]
    pub backlog: Option<u32>,
    /// Attempts under way at one time
    #[arg(long, default_value_t = 1024)]
    pub in_flight: u32,
    /// Processes that share the connections at each end [default: as many as c1m starts]
    #[arg(long)]
    pub processes: Option<u64>,
    /// Bytes that wait in each connection, sent and not read
    #[arg(long, value_name = "BYTES", default_value_t = 0, value_parser = value_parser!(u64).range(..=1 << 30))]
    pub queued: u64,
    /// How the client ends its connections
    #[arg(long, value_enum, default_value_t = Close::Rst)]
    pub close: Close,
    /// Try every hook, and print which fact this kernel gives by which
    #[arg(long)]
    pub hooks: bool,
    /// Raise the limits that are in the way, for now; what they were is remembered (needs root)
    #[arg(long)]
    pub fix: bool,
    /// Put back what --fix changed, and take away addresses that a killed client left (needs root)
    #[arg(long, conflicts_with_all = ["fix", "persist"])]
    pub restore: bool,
    /// Write the settings to sysctl.d and limits.d, for every boot to come, and show what changes there
    #[arg(long)]
    pub persist: bool,
    /// Run into tcp_mem, and say at how many connections with --queued bytes each (for tests)
    #[arg(long, hide = true, requires = "queued")]
    pub measure: bool,
    /// Where --persist writes
    #[arg(long, hide = true, default_value = "/etc")]
    pub etc: PathBuf,
    /// Where --fix remembers
    #[arg(long, hide = true, default_value = crate::load::aliases::STATE_DIR)]
    pub state: PathBuf,
}
