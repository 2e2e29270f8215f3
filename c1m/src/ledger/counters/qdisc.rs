//! What the queueing disciplines of the calling thread's namespace dropped, by rtnetlink: `tc -s qdisc`.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// `sizeof(struct nlmsghdr)`
const HEADER: usize = 16;
/// `sizeof(struct tcmsg)`
const MESSAGE: usize = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
/// `TC_H_ROOT`: the discipline that all of a device's packets go through. What those below it drop, it counts too.
const ROOT: u32 = 0xffff_ffff;
const TCA_STATS2: u16 = 7;
const TCA_STATS_QUEUE: u16 = 3;
/// `offsetof(struct gnet_stats_queue, drops)`
const DROPS: usize = 8;

/// Packets that the devices' root disciplines dropped so far, all devices together; the kernel counts in 32 bits.
/// Errors are those of netlink.
pub(super) fn dropped() -> io::Result<u64> {
    let mut netlink = Socket::new(NETLINK_ROUTE)?;
    netlink.bind_auto()?;
    let mut request = [0; HEADER + MESSAGE];
    request[..4].copy_from_slice(&((HEADER + MESSAGE) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETQDISC.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    netlink.send_to(&request, &SocketAddr::new(0, 0), 0)?;
    let mut sum = 0;
    loop {
        let (bytes, from) = match netlink.recv_from_full() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            received => received?,
        };
        if from.port_number() == 0 && datagram(&bytes, &mut sum)? {
            return Ok(sum);
        }
    }
}

/// Adds what one datagram tells; true if the dump ends with it.
fn datagram(mut bytes: &[u8], sum: &mut u64) -> io::Result<bool> {
    while let Some(head) = bytes.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(body) = bytes.get(HEADER..length) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match u16::from_ne_bytes([head[4], head[5]]) {
            NLMSG_DONE | NLMSG_ERROR => {
                let errno = u32_at(body, 0).map_or(0, |errno| errno as i32);
                return match errno {
                    0 => Ok(true),
                    errno => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
                };
            }
            RTM_NEWQDISC => *sum += u64::from(of_root(body).unwrap_or(0)),
            _ => {}
        }
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    Ok(false)
}

/// The drops of a `struct tcmsg` with its attributes, if it is a root.
fn of_root(body: &[u8]) -> Option<u32> {
    if u32_at(body, 12)? != ROOT {
        return None;
    }
    let stats = attribute(body.get(MESSAGE..)?, TCA_STATS2)?;
    u32_at(attribute(stats, TCA_STATS_QUEUE)?, DROPS)
}

/// The first attribute (`struct nlattr`) of that type.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    /// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` are flags in the type.
    const TYPE: u16 = 0x3fff;
    loop {
        let head = bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = bytes.get(4..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) & TYPE == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*field))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn nla(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(body);
        bytes
    }

    fn qdisc(parent: u32, drops: u32) -> Vec<u8> {
        let mut body = vec![0; MESSAGE];
        body[12..16].copy_from_slice(&parent.to_ne_bytes());
        let mut queue = vec![0; 20];
        queue[DROPS..DROPS + 4].copy_from_slice(&drops.to_ne_bytes());
        let stats = [nla(1, &[0; 12]), nla(TCA_STATS_QUEUE, &queue)].concat();
        body.extend(nla(1, b"htb\0"));
        body.extend(nla(TCA_STATS2 | 0x8000, &stats));
        message(RTM_NEWQDISC, &body)
    }

    #[test]
    fn roots_are_summed_and_what_is_below_them_is_not_counted_twice() {
        let bytes = [qdisc(ROOT, 3), qdisc(0x1_0001, 3), qdisc(ROOT, 4)].concat();
        let mut sum = 0;
        assert!(!datagram(&bytes, &mut sum).unwrap());
        assert_eq!(sum, 7);
        assert!(datagram(&message(NLMSG_DONE, &[0; 4]), &mut sum).unwrap());
    }

    #[test]
    fn whatever_is_cut_off_is_no_panic() {
        let whole = qdisc(ROOT, 3);
        for end in 0..whole.len() {
            let _ = datagram(&whole[..end], &mut 0);
            let _ = of_root(&whole[HEADER..end.max(HEADER)]);
        }
        let denied = message(NLMSG_ERROR, &(-libc::EPERM).to_ne_bytes());
        let error = datagram(&denied, &mut 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn a_namespace_without_traffic_dropped_nothing() {
        let ns = crate::netns::Netns::create().unwrap();
        assert_eq!(ns.run(dropped).unwrap().unwrap(), 0);
    }
}
