//! Who stands: the sockets of a namespace, by `sock_diag(7)`. Works without root.
//!
//! The messages are parsed by hand, from their fixed-size head alone: a million sockets are 130 MB of
//! netlink, and a parser that allocates per message takes longer than the kernel.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use c1m_common::{state, tuple::Tuple, tuple::mapped_v4};

use crate::netns::Netns;

mod wire;

use wire::Request;

/// Every state that `sock_diag` knows but LISTEN, as a mask for [`dump`].
pub const CONNECTED: u32 = 0xfff & !1 & !(1 << state::LISTEN);

/// Which end of its connection a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that connected.
    Client,
    /// The listener's child.
    Server,
}

/// One end of a connection, as `inet_sk_diag_fill`, `inet_req_diag_fill` and `inet_twsk_diag_fill` tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// From the client to the server, whichever end this is.
    pub tuple: Tuple,
    /// Which end this is.
    pub side: Side,
    /// A [`state`] value; a request waiting for its final ACK is SYN_RECV.
    pub state: u8,
    /// The socket's file; 0 if no program has accepted it, or holds it any longer.
    pub inode: u32,
    /// The timer that runs: 0 none, 1 retransmission or request, 2 keepalive, 3 TIME_WAIT, 4 zero window.
    pub timer: u8,
    /// When that timer ends, in ms from now.
    pub timer_ms: u32,
    /// Retransmissions by that timer.
    pub retransmits: u8,
    /// The owner.
    pub uid: u32,
    /// Bytes received that no program has read.
    pub receive_queue: u32,
    /// Bytes sent that are not acknowledged.
    pub send_queue: u32,
}

/// A listening socket and its accept queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its address; an IPv6 listener that takes IPv4 too is `::`.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Connections waiting to be accepted (`sk_ack_backlog`).
    pub accept_queue: u32,
    /// Its limit (`sk_max_ack_backlog`); the queue is full when it is *longer* than this.
    pub accept_limit: u32,
    /// The socket's file.
    pub inode: u32,
    /// The owner.
    pub uid: u32,
}

impl Listener {
    /// Whether it takes connections to `address`, its own or every one.
    pub fn takes(&self, address: IpAddr) -> bool {
        self.address.is_unspecified() || self.address.to_canonical() == address.to_canonical()
    }
}

/// Who holds source ports of one address towards one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// ESTABLISHED.
    pub live: u64,
    /// TIME_WAIT.
    pub time_wait: u64,
    /// FIN_WAIT_2.
    pub fin_wait_2: u64,
    /// Any other state: SYN_SENT, CLOSE_WAIT, LAST_ACK, …
    pub other: u64,
}

impl Holders {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.live + self.time_wait + self.fin_wait_2 + self.other
    }

    /// Adds others.
    pub fn add(&mut self, more: &Self) {
        self.live += more.live;
        self.time_wait += more.time_wait;
        self.fin_wait_2 += more.fin_wait_2;
        self.other += more.other;
    }
}

/// How a dump went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    /// How many sockets were handed over.
    pub sockets: u64,
    /// The kernel said that the tables changed under the dump (`NLM_F_DUMP_INTR`): some may be missing
    /// or told twice.
    pub interrupted: bool,
}

/// Hands every socket of `ns` that is `side` of a connection with the server port `server_port`, and in
/// one of `states` (bits `1 << state`), to `each`. Both address families; IPv4 addresses come mapped,
/// also those of IPv4 connections on IPv6 sockets.
///
/// Sockets come and go while it runs: what stands throughout is told once. Errors if the kernel has no
/// `sock_diag` for TCP.
pub fn dump(
    ns: &Netns,
    server_port: u16,
    side: Side,
    states: u32,
    mut each: impl FnMut(Socket),
) -> io::Result<Dumped> {
    let (source_port, target_port) = match side {
        Side::Client => (0, server_port),
        Side::Server => (server_port, 0),
    };
    let request = Request {
        source_port,
        target_port,
        states,
    };
    let mut dumped = Dumped::default();
    request.send(ns, &mut dumped.interrupted, |message| {
        dumped.sockets += 1;
        each(message.socket(side));
    })?;
    Ok(dumped)
}

/// The listeners of `ns` on `port`; on every port if it is 0.
pub fn listeners(ns: &Netns, port: u16) -> io::Result<Vec<Listener>> {
    let request = Request {
        source_port: port,
        target_port: 0,
        states: 1 << state::LISTEN,
    };
    settled(|interrupted| {
        let mut listeners = Vec::new();
        request.send(ns, interrupted, |message| {
            listeners.push(message.listener())
        })?;
        Ok(listeners)
    })
}

/// Who holds source ports of `ns` towards `target`, per source address.
pub fn holders(ns: &Netns, target: SocketAddr) -> io::Result<BTreeMap<IpAddr, Holders>> {
    let request = Request {
        source_port: 0,
        target_port: target.port(),
        states: CONNECTED,
    };
    let server = mapped(target.ip());
    settled(|interrupted| {
        let mut by_source = BTreeMap::<_, Holders>::new();
        request.send(ns, interrupted, |message| {
            let socket = message.socket(Side::Client);
            if socket.tuple.server != server {
                return;
            }
            let source = Ipv6Addr::from(socket.tuple.client).to_canonical();
            let holders = by_source.entry(source).or_default();
            *match socket.state {
                state::ESTABLISHED => &mut holders.live,
                state::TIME_WAIT => &mut holders.time_wait,
                state::FIN_WAIT2 => &mut holders.fin_wait_2,
                _ => &mut holders.other,
            } += 1;
        })?;
        Ok(by_source)
    })
}

/// An address as tuples have it.
pub fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => mapped_v4(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Takes a dump again, a few times, if the kernel says that it was interrupted; then the last one.
fn settled<T>(mut take: impl FnMut(&mut bool) -> io::Result<T>) -> io::Result<T> {
    const TRIES: u32 = 3;
    for _ in 1..TRIES {
        let mut interrupted = false;
        let taken = take(&mut interrupted)?;
        if !interrupted {
            return Ok(taken);
        }
    }
    take(&mut false)
}

#[cfg(test)]
mod tests;
