//! ICMP errors for a SYN: what tells of one that a socket has only taken note of (`sk_err_soft`), because its program
//! was using it at that moment.

use c1m_common::stats::hook;

use crate::{
    fold::{NOBODY, entry_of_answer},
    kernel::{Ptr, Side, is_traced_namespace, skb_inum},
    maps::{folding, offset},
    segment::Header,
};

const IPV6_HEADER: u64 = 40;
const ICMP_HEADER: u64 = 8;
/// How much of the TCP header has to be quoted for its flags to be there.
const QUOTED: u64 = 14;

/// A message that was dealt with, in `icmp_rcv` or, if `v6` is not 0, in `icmpv6_rcv`. A global function, so that it is no part of what every consumed segment meets.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn error_received(skb: u64, v6: u32) -> u32 {
    let _ = received(Ptr(skb), v6 != 0);
    0
}

#[inline(always)]
fn received(skb: Ptr, v6: bool) -> Option<()> {
    if !folding() {
        return None;
    }
    let header: u16 = skb.read(offset!(skb_network_header))?;
    let network = Ptr(skb.follow(offset!(skb_head))?.0 + u64::from(header));
    let (length, total) = if v6 {
        let start: [u8; 6] = network.read(0)?;
        let payload = u64::from(u16::from_be_bytes([start[4], start[5]]));
        (IPV6_HEADER, IPV6_HEADER + payload)
    } else {
        let start: [u8; 4] = network.read(0)?;
        let total = u64::from(u16::from_be_bytes([start[2], start[3]]));
        (u64::from(start[0] & 0xf) * 4, total)
    };
    let [kind, code]: [u8; 2] = Ptr(network.0 + length).read(0)?;
    let errno = if v6 {
        errno_v6(kind, code)
    } else {
        errno(kind, code)
    }?;
    let quote = Ptr(network.0 + length + ICMP_HEADER);
    let quoted = if v6 {
        IPV6_HEADER
    } else {
        u64::from(quote.read::<u8>(0)? & 0xf) * 4
    };
    // Of a segment of which less is quoted, nobody knows whether it is the SYN.
    if total < length + ICMP_HEADER + quoted + QUOTED {
        return None;
    }
    let syn = Header::at(quote, v6)?;
    let mut tuple = NOBODY;
    if !syn.is_syn() || syn.traced(&mut tuple)? != Side::Client {
        return None;
    }
    if !is_traced_namespace(skb_inum(skb)?) {
        return None;
    }
    entry_of_answer(&tuple, syn.sequence, hook::ERROR)?
        .client
        .icmp_err = errno;
    Some(())
}

/// The error that a message means for a connection that is being opened (`icmp_err_convert`).
#[inline(always)]
fn errno(kind: u8, code: u8) -> Option<u16> {
    match (kind, code) {
        (3, 0 | 6 | 9 | 11) => Some(ENETUNREACH),
        (3, 2) => Some(ENOPROTOOPT),
        (3, 3) => Some(ECONNREFUSED),
        // What is too large is sent again in parts; a source route that failed (5) is no error of a connection.
        (3, 4 | 5) => None,
        (3, 7) => Some(EHOSTDOWN),
        (3, 8) => Some(ENONET),
        (3, _) | (11, _) => Some(EHOSTUNREACH),
        (12, _) => Some(EPROTO),
        _ => None,
    }
}

/// The same for IPv6 (`tab_unreach`).
#[inline(always)]
fn errno_v6(kind: u8, code: u8) -> Option<u16> {
    match (kind, code) {
        (1, 0) => Some(ENETUNREACH),
        (1, 1 | 5 | 6) => Some(EACCES),
        (1, 4) => Some(ECONNREFUSED),
        (1, _) | (3, _) => Some(EHOSTUNREACH),
        (4, _) => Some(EPROTO),
        _ => None,
    }
}

const EACCES: u16 = 13;
const ENONET: u16 = 64;
const EPROTO: u16 = 71;
const ENOPROTOOPT: u16 = 92;
const ENETUNREACH: u16 = 101;
const ECONNREFUSED: u16 = 111;
const EHOSTDOWN: u16 = 112;
const EHOSTUNREACH: u16 = 113;
