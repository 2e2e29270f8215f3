//! Reads a TCP segment from a packet buffer, by its headers alone: `skb->sk` is no guide on loopback.

use c1m_common::tuple::Tuple;

use crate::{
    kernel::{By, Object, Ptr, Side, side},
    maps::offset,
    protocol::TCP,
    words::{ends, set_word, v4_part},
};

/// FIN, in the flags byte of the TCP header.
pub(crate) const FIN: u8 = 0x01;
/// SYN
pub(crate) const SYN: u8 = 0x02;
/// RST
pub(crate) const RST: u8 = 0x04;
/// ACK
pub(crate) const ACK: u8 = 0x10;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
/// sk_buff.network_header of a buffer that has none.
const UNSET: u16 = u16::MAX;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
/// As much of the TCP header as is looked at.
const TCP_START: usize = 16;

/// What can be told without reading the addresses of IPv6.
pub(crate) struct Header {
    network: Ptr,
    v6: bool,
    /// Source and destination of IPv4, as they lie.
    addresses: [u32; 2],
    /// How long the packet is behind its IP header.
    length: u16,
    /// How long the TCP header is.
    header_length: u16,
    /// Port of its sender.
    pub(crate) source_port: u16,
    dest_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
}

impl Header {
    /// The TCP header of `skb`. None if it is not TCP, or cannot be read.
    #[inline(always)]
    pub(crate) fn of(skb: impl Object) -> Option<Header> {
        let (protocol, header) = protocol_and_header(skb)?;
        let v6 = match u16::from_be(protocol) {
            ETH_P_IP => false,
            ETH_P_IPV6 => true,
            _ => return None,
        };
        if header == UNSET {
            return None;
        }
        let head: u64 = skb.read(offset!(skb_head))?;
        Self::at(Ptr(head + u64::from(header)), v6)
    }

    /// The same of a packet whose IP header is at `network`.
    #[inline(always)]
    pub(crate) fn at(network: Ptr, v6: bool) -> Option<Header> {
        if v6 {
            let start: [u8; IPV6_HEADER + TCP_START] = network.read(0)?;
            if start[0] >> 4 != 6 || u16::from(start[6]) != TCP {
                return None;
            }
            let length = u16::from_be_bytes([start[4], start[5]]);
            let (_, tcp) = start.split_last_chunk()?;
            return Some(Self::with(network, [0; 2], length, tcp, true));
        }
        // One read for both headers: no buffer ends between them.
        let start: [u8; IPV4_HEADER + TCP_START] = network.read(0)?;
        // A fragment that is not the first has no TCP header.
        let later = u16::from_be_bytes([start[6], start[7]]) & 0x1fff != 0;
        if start[0] >> 4 != 4 || u16::from(start[9]) != TCP || later {
            return None;
        }
        let word = |at: usize| {
            u32::from_ne_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]])
        };
        let addresses = [word(12), word(16)];
        let own = u16::from(start[0] & 0xf) * 4;
        let length = u16::from_be_bytes([start[2], start[3]]).wrapping_sub(own);
        if usize::from(own) == IPV4_HEADER {
            let (_, tcp) = start.split_last_chunk()?;
            return Some(Self::with(network, addresses, length, tcp, false));
        }
        let tcp = network.read(usize::from(own))?;
        Some(Self::with(network, addresses, length, &tcp, false))
    }

    #[inline(always)]
    fn with(
        network: Ptr,
        addresses: [u32; 2],
        length: u16,
        tcp: &[u8; TCP_START],
        v6: bool,
    ) -> Header {
        Header {
            network,
            v6,
            addresses,
            length,
            header_length: u16::from(tcp[12] >> 4) * 4,
            source_port: u16::from_be_bytes([tcp[0], tcp[1]]),
            dest_port: u16::from_be_bytes([tcp[2], tcp[3]]),
            sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            acknowledged: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
            flags: tcp[13],
        }
    }

    /// Whether it carries the SYN and not the ACK.
    #[inline(always)]
    pub(crate) fn is_syn(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN
    }

    /// Whether it is a SYN-ACK.
    #[inline(always)]
    pub(crate) fn is_synack(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN | ACK
    }

    /// Whether it brings bytes after the TCP header.
    #[inline(always)]
    pub(crate) fn has_payload(&self) -> bool {
        self.length > self.header_length
    }

    /// Which end sent it, if it is to or from a traced port; the attempt's tuple is written to `tuple`.
    #[inline(always)]
    pub(crate) fn traced(&self, tuple: &mut Tuple) -> Option<Side> {
        let from = match side(self.source_port, self.dest_port)? {
            By::Ports(side) => side,
            // Between two servers' ports only the handshake tells.
            By::Listener if self.is_synack() => Side::Server,
            By::Listener => Side::Client,
        };
        let (source, dest) = ends(tuple, from, self.source_port, self.dest_port);
        if self.v6 {
            self.network.read_into(8, source)?;
            self.network.read_into(24, dest)?;
        } else {
            set_word(v4_part(source), self.addresses[0]);
            set_word(v4_part(dest), self.addresses[1]);
        }
        Some(from)
    }
}

/// `sk_buff.protocol` and `sk_buff.network_header`, by one call of the helper where they lie as close together as they do
/// on all kernels so far.
#[inline(always)]
fn protocol_and_header<O: Object>(skb: O) -> Option<(u16, u16)> {
    let (protocol, header) = (offset!(skb_protocol), offset!(skb_network_header));
    if !O::TYPED && header == protocol + 4 {
        let both: u64 = skb.read(protocol)?;
        return Some((both as u16, (both >> 32) as u16));
    }
    Some((skb.read(protocol)?, skb.read(header)?))
}
