//! Who stands: the sockets of a namespace, by `sock_diag(7)`. Works without root.
//!
//! The messages are parsed by hand, from their fixed-size head alone: a million sockets are 130 MB of
//! netlink, and a parser that allocates per message takes longer than the kernel.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use c1m_common::{AF_INET, AF_INET6, state, tuple::Tuple, tuple::mapped_v4};
use netlink_sys::{Socket as Netlink, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

use crate::netns::Netns;

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

const NLMSG_HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `sizeof(struct inet_diag_req_v2)`
const REQUEST: usize = 56;
/// `sizeof(struct inet_diag_msg)`
const MESSAGE: usize = 72;
/// The kernel fills at most 32 KiB at a time (`netlink_dump`).
const RECEIVE: usize = 64 << 10;

/// Which sockets: ports in host byte order, 0 for any.
struct Request {
    source_port: u16,
    target_port: u16,
    states: u32,
}

impl Request {
    /// `struct nlmsghdr` and `struct inet_diag_req_v2`.
    fn bytes(&self, family: u16) -> [u8; NLMSG_HEADER + REQUEST] {
        let mut bytes = [0; NLMSG_HEADER + REQUEST];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &((NLMSG_HEADER + REQUEST) as u32).to_ne_bytes());
        put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        put(6, &(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
        put(16, &[family as u8, libc::IPPROTO_TCP as u8]);
        put(20, &self.states.to_ne_bytes());
        put(24, &self.source_port.to_be_bytes());
        put(26, &self.target_port.to_be_bytes());
        bytes
    }

    /// Dumps both families; `interrupted` is set, never cleared.
    fn send(
        &self,
        ns: &Netns,
        interrupted: &mut bool,
        mut each: impl FnMut(Message),
    ) -> io::Result<()> {
        // The socket belongs to the namespace it is made in: only this needs to happen inside.
        let netlink = ns
            .run(|| Netlink::new(NETLINK_SOCK_DIAG))?
            .map_err(unavailable)?;
        for family in [AF_INET, AF_INET6] {
            netlink.send_to(&self.bytes(family), &NetlinkAddr::new(0, 0), 0)?;
            match receive(&netlink, interrupted, &mut each) {
                // A kernel without IPv6 has no handler for it.
                Err(error) if family == AF_INET6 && error.raw_os_error() == Some(libc::ENOENT) => {}
                done => done.map_err(unavailable)?,
            }
        }
        Ok(())
    }
}

/// Says what is missing if the kernel has no `sock_diag` for TCP.
fn unavailable(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EPROTONOSUPPORT) => {
            let message =
                format!("this kernel has no sock_diag for TCP ({error}): modprobe tcp_diag");
            io::Error::new(io::ErrorKind::Unsupported, message)
        }
        _ => error,
    }
}

/// Reads the answers to one request.
fn receive(
    netlink: &Netlink,
    interrupted: &mut bool,
    each: &mut impl FnMut(Message),
) -> io::Result<()> {
    let mut buffer = bytes::BytesMut::with_capacity(RECEIVE);
    loop {
        buffer.clear();
        let (length, from) = match netlink.recv_from(&mut buffer, libc::MSG_TRUNC) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            received => received?,
        };
        if from.port_number() != 0 {
            continue; // only the kernel may answer
        }
        if length > buffer.len() {
            return Err(malformed("is longer than the kernel's own limit"));
        }
        if datagram(&buffer, interrupted, each)? {
            return Ok(());
        }
    }
}

/// Parses one datagram; true if the dump ends with it.
fn datagram(
    mut bytes: &[u8],
    interrupted: &mut bool,
    each: &mut impl FnMut(Message),
) -> io::Result<bool> {
    while !bytes.is_empty() {
        let head = bytes
            .first_chunk::<NLMSG_HEADER>()
            .ok_or_else(|| malformed("has half a header"))?;
        let length = field_u32(head, 0) as usize;
        let body = bytes
            .get(NLMSG_HEADER..length)
            .ok_or_else(|| malformed("has a wrong length"))?;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let flags = u16::from_ne_bytes([head[6], head[7]]);
        *interrupted |= flags & NLM_F_DUMP_INTR != 0;
        match kind {
            NLMSG_DONE | NLMSG_ERROR => {
                // Both begin with an errno, negative or 0; NLMSG_DONE may come without one.
                let errno = body
                    .first_chunk()
                    .map_or(0, |&errno| i32::from_ne_bytes(errno));
                return if errno == 0 {
                    Ok(true)
                } else {
                    Err(io::Error::from_raw_os_error(errno.saturating_neg()))
                };
            }
            SOCK_DIAG_BY_FAMILY => {
                let fixed = body
                    .first_chunk::<MESSAGE>()
                    .ok_or_else(|| malformed("is cut off"))?;
                each(Message(fixed));
            }
            _ => {}
        }
        let aligned = length.next_multiple_of(4).min(bytes.len());
        bytes = &bytes[aligned..];
    }
    Ok(false)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a sock_diag message {what}"),
    )
}

fn field_u32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// `struct inet_diag_msg`.
struct Message<'a>(&'a [u8; MESSAGE]);

impl Message<'_> {
    fn port(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    /// An address field, IPv4 mapped.
    fn address(&self, at: usize) -> [u8; 16] {
        let mut address = [0; 16];
        address.copy_from_slice(&self.0[at..at + 16]);
        if u16::from(self.0[0]) == AF_INET {
            let [a, b, c, d, ..] = address;
            return mapped_v4([a, b, c, d]);
        }
        address
    }

    fn socket(&self, side: Side) -> Socket {
        let ours = (self.address(8), self.port(4));
        let theirs = (self.address(24), self.port(6));
        let ((client, client_port), (server, server_port)) = match side {
            Side::Client => (ours, theirs),
            Side::Server => (theirs, ours),
        };
        Socket {
            tuple: Tuple {
                client,
                server,
                client_port,
                server_port,
                pad: 0,
            },
            side,
            state: self.0[1],
            timer: self.0[2],
            retransmits: self.0[3],
            receive_queue: field_u32(self.0, 56),
            send_queue: field_u32(self.0, 60),
            uid: field_u32(self.0, 64),
            inode: field_u32(self.0, 68),
        }
    }

    fn listener(&self) -> Listener {
        let address = match self.address(8) {
            // An IPv4 wildcard would otherwise read ::ffff:0.0.0.0.
            mapped if u16::from(self.0[0]) == AF_INET => {
                let [.., a, b, c, d] = mapped;
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            v6 => IpAddr::V6(Ipv6Addr::from(v6)),
        };
        Listener {
            address,
            port: self.port(4),
            accept_queue: field_u32(self.0, 56),
            accept_limit: field_u32(self.0, 60),
            uid: field_u32(self.0, 64),
            inode: field_u32(self.0, 68),
        }
    }
}

#[cfg(test)]
mod tests;
