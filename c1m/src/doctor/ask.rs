//! What is asked of the host: how many connections, from where to where, opened how.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::{
    cli::{ClientArgs, Close, DoctorArgs, End, Ports},
    load::tuples::{Sources, Tuples, connectable},
    options::{IPS, PER_IP, default_sources, ports},
};

/// Connections that are asked for where nobody says how many.
const CONNECTIONS: u64 = IPS as u64 * PER_IP as u64;

/// What a host is asked to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// How many connections.
    pub connections: u64,
    /// The server's address.
    pub target: SocketAddr,
    /// Which ends are on this host.
    pub end: End,
    /// The first source address.
    pub first_source: IpAddr,
    /// How many source addresses there may be; `None`: as many as it takes.
    pub sources: Option<u64>,
    /// The first port and how many, if the client binds to ports of its own choice; else the kernel's range counts.
    pub explicit_ports: Option<(u16, u32)>,
    /// The listener's backlog; `None`: net.core.somaxconn.
    pub backlog: Option<u64>,
    /// Attempts under way at one time.
    pub in_flight: u64,
    /// Processes at each end; `None`: as many as c1m starts.
    pub processes: Option<u64>,
    /// Bytes that wait at one end of each connection, sent and not read.
    pub queued_bytes: u64,
    /// Whether the client closes with FIN, which leaves TIME_WAIT.
    pub closes_by_fin: bool,
}

impl Ask {
    /// From `c1m doctor`'s options. Errors: a sentence for the user.
    pub fn of_doctor(args: &DoctorArgs) -> anyhow::Result<Self> {
        let mut ask = Self::new(
            args.target,
            args.sources.as_deref(),
            args.ports,
            &args.port_range,
        )?;
        ask.connections = args.connections.unwrap_or(CONNECTIONS);
        ask.end = args.end.unwrap_or(ask.end);
        ask.sources = args.ips.map(u64::from).or(ask.sources);
        ask.backlog = args.backlog.map(u64::from);
        ask.in_flight = args.in_flight.into();
        ask.processes = args.processes;
        ask.queued_bytes = args.queued;
        ask.closes_by_fin = args.close == Close::Fin;
        Ok(ask)
    }

    /// From a client's options. Errors: a sentence for the user.
    pub fn of_client(args: &ClientArgs) -> anyhow::Result<Self> {
        let written = args.sources.as_deref().or(args.addresses.as_deref());
        let mut ask = Self::new(args.target, written, args.ports, &args.port_range)?;
        let ips = args
            .ips
            .map(u64::from)
            .or(ask.sources)
            .unwrap_or(IPS.into());
        let ports = ask.explicit_ports.map_or(PER_IP, |(_, count)| count);
        let per_ip = args.per_ip.unwrap_or(PER_IP.min(ports));
        ask.connections = args.connections.unwrap_or(ips * u64::from(per_ip));
        ask.sources = args.ips.map(u64::from).or(ask.sources);
        ask.in_flight = args.in_flight.into();
        ask.closes_by_fin = args.close == Close::Fin;
        Ok(ask)
    }

    fn new(
        target: SocketAddr,
        sources: Option<&str>,
        who_chooses: Ports,
        port_range: &str,
    ) -> anyhow::Result<Self> {
        let target = connectable(target);
        let sources: Sources = match sources {
            Some(text) => text.parse()?,
            None => default_sources(target),
        };
        let (first_port, count) = ports(who_chooses, port_range)?;
        Ok(Self {
            connections: CONNECTIONS,
            target,
            end: match is_here(target.ip()) {
                true => End::Both,
                false => End::Client,
            },
            first_source: sources.first,
            sources: sources.most().map(u64::from),
            explicit_ports: first_port.map(|first| (first, count)),
            backlog: None,
            in_flight: 1024,
            processes: None,
            queued_bytes: 0,
            closes_by_fin: false,
        })
    }

    /// How many ends of each connection are on this host.
    pub fn ends(&self) -> u64 {
        1 + u64::from(self.end == End::Both)
    }

    /// Whether the client's end is here.
    pub fn has_client(&self) -> bool {
        self.end != End::Server
    }

    /// Whether the server's end is here.
    pub fn has_server(&self) -> bool {
        self.end != End::Client
    }

    /// Whether nothing of it leaves the host.
    pub fn is_local(&self) -> bool {
        self.end == End::Both
    }

    /// Whether the target's address and port are the client's first address and one of its own ports.
    pub fn has_own(&self) -> bool {
        let ports = self.explicit_ports.map_or(0..0, |(first, count)| {
            u32::from(first)..u32::from(first) + count
        });
        self.first_source == self.target.ip() && ports.contains(&self.target.port().into())
    }

    /// How many source addresses it takes, with so many ports each.
    pub fn sources_needed(&self, ports_each: u64) -> u64 {
        let needed = self.connections.div_ceil(ports_each.max(1)).max(1);
        self.sources.unwrap_or(needed)
    }

    /// The source addresses, or those that it takes, at most `limit` of them.
    pub fn source_addresses(&self, limit: u32) -> Vec<IpAddr> {
        let each = self.explicit_ports.map_or(PER_IP, |(_, count)| count);
        let count = self.sources_needed(each.into()).min(limit.into()) as u32;
        let all = Tuples::new(self.first_source, count, 1, None, count as usize);
        all.map_or(Vec::new(), |all| all.sources().collect())
    }
}

/// Whether this host has the address. A datagram socket: no port of a connection is touched.
pub(super) fn is_here(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}
