//! `sock_diag` on the wire: the request, and a parser for answers that trusts no length.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use c1m_common::{
    AF_INET, AF_INET6,
    tuple::{Tuple, mapped_v4},
};
use netlink_sys::{Socket as Netlink, SocketAddr as NetlinkAddr};

use super::{Listener, Side, Socket};
use crate::netns::Netns;

pub(super) const NLMSG_HEADER: usize = 16;
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
pub(super) const NLM_F_REQUEST: u16 = 1;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `sizeof(struct inet_diag_req_v2)`
const REQUEST: usize = 56;
/// `sizeof(struct inet_diag_msg)`
pub(super) const MESSAGE: usize = 72;
/// The kernel fills at most 32 KiB at a time (`netlink_dump`).
const RECEIVE: usize = 64 << 10;

/// Which sockets: ports in host byte order, 0 for any.
pub(super) struct Request {
    pub(super) source_port: u16,
    pub(super) target_port: u16,
    pub(super) states: u32,
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
    pub(super) fn send(
        &self,
        ns: &Netns,
        interrupted: &mut bool,
        mut each: impl FnMut(Message),
    ) -> io::Result<()> {
        let netlink = ns.sock_diag().map_err(unavailable)?;
        for family in [AF_INET, AF_INET6] {
            netlink.send_to(&self.bytes(family), &NetlinkAddr::new(0, 0), 0)?;
            match receive(&netlink, interrupted, &mut each) {
                // A kernel without IPv6 has no handler for it.
                Err(error) if family == AF_INET6 && error.raw_os_error() == Some(libc::ENOENT) => {}
                done => done.map_err(unavailable)?,
            }
        }
        ns.keep_sock_diag(netlink);
        Ok(())
    }
}

/// Says what is missing if the kernel has no `sock_diag` for TCP.
pub(super) fn unavailable(error: io::Error) -> io::Error {
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
pub(super) fn datagram(
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
pub(super) struct Message<'a>(&'a [u8; MESSAGE]);

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

    pub(super) fn socket(&self, side: Side) -> Socket {
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
            timer_ms: field_u32(self.0, 52),
            retransmits: self.0[3],
            receive_queue: field_u32(self.0, 56),
            send_queue: field_u32(self.0, 60),
            uid: field_u32(self.0, 64),
            inode: field_u32(self.0, 68),
        }
    }

    pub(super) fn listener(&self) -> Listener {
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
