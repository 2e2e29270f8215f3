//! Reads a TCP segment from a packet buffer, by its headers alone: `skb->sk` is no guide on loopback.

use c1m_common::{
    state::{ESTABLISHED, SYN_SENT},
    tuple::Tuple,
};

use crate::{
    kernel::{Ptr, Side, TCP, ends, is_server_port, sock_state, v4_part},
    maps::offset,
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
const IPV6_HEADER: usize = 40;

/// What can be told without reading the addresses.
pub(crate) struct Header {
    network: Ptr,
    transport: Ptr,
    v6: bool,
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
    pub(crate) fn of(skb: Ptr) -> Option<Header> {
        let (protocol, header) = protocol_and_header(skb)?;
        let v6 = match u16::from_be(protocol) {
            ETH_P_IP => false,
            ETH_P_IPV6 => true,
            _ => return None,
        };
        if header == UNSET {
            return None;
        }
        Self::at(
            Ptr(skb.follow(offset!(skb_head))?.0 + u64::from(header)),
            v6,
        )
    }

    /// The same of a packet whose IP header is at `network`.
    #[inline(always)]
    pub(crate) fn at(network: Ptr, v6: bool) -> Option<Header> {
        let length = if v6 {
            let start: [u8; 8] = network.read(0)?;
            if start[0] >> 4 != 6 || start[6] != TCP {
                return None;
            }
            IPV6_HEADER
        } else {
            let start: [u8; 12] = network.read(0)?;
            // A fragment that is not the first has no TCP header.
            let later = u16::from_be_bytes([start[6], start[7]]) & 0x1fff != 0;
            if start[0] >> 4 != 4 || start[9] != TCP || later {
                return None;
            }
            usize::from(start[0] & 0xf) * 4
        };
        let transport = Ptr(network.0 + length as u64);
        let tcp: [u8; 16] = transport.read(0)?;
        Some(Header {
            network,
            transport,
            v6,
            source_port: u16::from_be_bytes([tcp[0], tcp[1]]),
            dest_port: u16::from_be_bytes([tcp[2], tcp[3]]),
            sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            acknowledged: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
            flags: tcp[13],
        })
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
        let total = if self.v6 {
            self.network
                .read::<[u8; 2]>(4)
                .map(|length| IPV6_HEADER as u16 + u16::from_be_bytes(length))
        } else {
            self.network.read::<[u8; 2]>(2).map(u16::from_be_bytes)
        };
        let offset = self
            .transport
            .read::<u8>(12)
            .map(|byte| u16::from(byte >> 4) * 4);
        match (total, offset) {
            (Some(total), Some(offset)) => {
                u64::from(total) > self.transport.0 - self.network.0 + u64::from(offset)
            }
            _ => false,
        }
    }

    /// Which end sent it, if it is to or from a traced port; the attempt's tuple is written to `tuple`.
    #[inline(always)]
    pub(crate) fn traced(&self, tuple: &mut Tuple) -> Option<Side> {
        let from = if is_server_port(self.dest_port) {
            Side::Client
        } else if is_server_port(self.source_port) {
            Side::Server
        } else {
            return None;
        };
        let (source, dest) = ends(tuple, from, self.source_port, self.dest_port);
        if self.v6 {
            self.network.read_into(8, source)?;
            self.network.read_into(24, dest)?;
        } else {
            self.network.read_into(12, v4_part(source))?;
            self.network.read_into(16, v4_part(dest))?;
        }
        Some(from)
    }
}

/// `sk_buff.protocol` and `sk_buff.network_header`, by one read where they lie as close together as they do on all
/// kernels so far.
#[inline(always)]
fn protocol_and_header(skb: Ptr) -> Option<(u16, u16)> {
    let (protocol, header) = (offset!(skb_protocol), offset!(skb_network_header));
    if header == protocol + 4 {
        let both: u64 = skb.read(protocol)?;
        return Some((both as u16, (both >> 32) as u16));
    }
    Some((skb.read(protocol)?, skb.read(header)?))
}

/// Whether a packet on its way out can be told from its socket alone to be no SYN-ACK: a connecting or established
/// socket sends none. That is most of them.
#[inline(always)]
pub(crate) fn is_no_synack(skb: Ptr) -> bool {
    match skb.follow(offset!(skb_sk)).and_then(sock_state) {
        Some(state) => matches!(state, SYN_SENT | ESTABLISHED),
        None => false,
    }
}
