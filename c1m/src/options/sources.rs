//! The source of every attempt, from a client's options: addresses, and ports on each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::{Context, bail, ensure};

use super::sysctl_text;
use crate::{
    cli::{ClientArgs, Ports},
    load::tuples::{Sources, Tuples},
};

/// Connections per source address unless told otherwise.
pub(crate) const PER_IP: u32 = 25_000;
/// Source addresses unless told otherwise.
pub(crate) const IPS: u32 = 40;

/// The sources of all attempts: from --ips, --per-ip, --connections, --sources and --port-range.
pub(super) fn tuples(args: &ClientArgs) -> anyhow::Result<Tuples> {
    let (first_port, ports) = ports(args.ports, &args.port_range)?;
    let written = args.sources.as_ref().or(args.addresses.as_ref());
    let sources = match written {
        Some(text) => text.parse()?,
        None => default_sources(args.target),
    };
    ensure!(
        sources.first.is_ipv4() == args.target.is_ipv4(),
        "source {} and target {} are of different families: --sources of the target's",
        sources.first,
        args.target
    );
    let per_ip = args
        .per_ip
        .unwrap_or_else(|| default_per_ip(args, &sources, ports));
    ensure!(
        per_ip > 0,
        "--per-ip 0 leaves no connection: --per-ip 1 or more"
    );
    ensure!(
        per_ip <= ports || (args.unchecked && first_port.is_none()),
        "--per-ip {per_ip} is more than the {ports} ports of {}: {}",
        port_option(args),
        if first_port.is_none() {
            "widen it"
        } else {
            "--port-range 1024-65535, or more --ips"
        }
    );
    let ips = match args.ips {
        Some(ips) => ips,
        None => default_ips(&sources, args.connections, per_ip)?,
    };
    ensure!(ips > 0, "--ips 0 leaves no source address: --ips 1 or more");
    let connections = (args.connections).unwrap_or(u64::from(ips) * u64::from(per_ip));
    let has = sources.extent.unwrap_or(u32::MAX);
    let tuples_here = u64::from(ips.min(has)) * u64::from(per_ip);
    ensure!(
        connections <= tuples_here && ips <= has,
        "{connections} connections need more than the {tuples_here} tuples of {} source addresses × {per_ip} \
         ports: {} addresses (--ips, --sources) or a larger --per-ip",
        ips.min(has),
        connections.div_ceil(per_ip.into()).max(u64::from(ips))
    );
    // Both given: spread over all of the addresses.
    let per_ip = match (args.ips, args.connections) {
        (Some(ips), Some(connections)) => connections.div_ceil(ips.into()) as u32,
        _ => per_ip,
    };
    let count = usize::try_from(connections)?;
    let tuples = Tuples::new(sources.first, ips, per_ip, first_port, count).with_context(|| {
        format!(
            "{ips} addresses do not exist from {} on: fewer --ips",
            sources.first
        )
    })?;
    ensure!(
        u32::try_from(count).is_ok(),
        "{connections} connections are more than c1m counts: at most {}",
        u32::MAX
    );
    ensure!(
        args.unchecked || tuples.index(args.target).is_none(),
        "{} would connect to itself: a --port-range without port {}",
        args.target,
        args.target.port()
    );
    Ok(tuples)
}

/// How many connections per source address, where --per-ip does not say: more than usual where there are so many addresses
/// and no more.
fn default_per_ip(args: &ClientArgs, sources: &Sources, ports: u32) -> u32 {
    let ips = args.ips.or(sources.most());
    let each = args
        .connections
        .zip(ips)
        .map_or(0, |(all, ips)| all.div_ceil(u64::from(ips.max(1))));
    u32::try_from(each).unwrap_or(ports).max(PER_IP).min(ports)
}

/// How many source addresses, where --ips does not say.
fn default_ips(sources: &Sources, connections: Option<u64>, per_ip: u32) -> anyhow::Result<u32> {
    match (sources.extent, connections) {
        (Some(extent), None) => Ok(extent),
        (None, None) => Ok(sources.most().unwrap_or(IPS)),
        (_, Some(connections)) => u32::try_from(connections.div_ceil(per_ip.into()))
            .context("--connections: more than 2³² source addresses"),
    }
}

/// The first port, if it is ours to choose, and how many there are.
pub(crate) fn ports(who_chooses: Ports, range: &str) -> anyhow::Result<(Option<u16>, u32)> {
    let explicit = who_chooses == Ports::Explicit;
    let text = match explicit {
        true => range.to_owned(),
        false => sysctl_text("net.ipv4.ip_local_port_range")?
            .split_whitespace()
            .collect::<Vec<_>>()
            .join("-"),
    };
    let range = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?)));
    match range {
        Some((first, last)) if 0 < first && first <= last => {
            Ok((explicit.then_some(first), u32::from(last - first) + 1))
        }
        _ => bail!("`{text}` is no range of ports: write --port-range 10000-65535"),
    }
}

fn port_option(args: &ClientArgs) -> String {
    match args.ports {
        Ports::Explicit => format!("--port-range {}", args.port_range),
        Ports::Kernel => "net.ipv4.ip_local_port_range".into(),
    }
}

/// On loopback all of 127/8 is local, and IPv6 has one address; elsewhere the one that routing chooses.
pub(crate) fn default_sources(target: SocketAddr) -> Sources {
    let loopback: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::new(127, 0, 1, 1).into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let routed = || {
        let unspecified: IpAddr = match target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // A datagram socket only looks the route up.
        let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0)).ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let first = match target.ip().is_loopback() {
        true => loopback,
        false => routed().unwrap_or(loopback),
    };
    Sources {
        first,
        extent: None,
    }
}
