//! Which source address and port each attempt uses: a formula, so that a million of them take no memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Source addresses as written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The first one; the others count up from it.
    pub first: IpAddr,
    /// How many there are, if the notation says so (a range or a network).
    pub extent: Option<u32>,
}

impl Sources {
    /// How many there may be; none if there is no end to them. Every address of 127/8 is there; elsewhere it takes somebody to
    /// add more than one.
    pub fn most(&self) -> Option<u32> {
        let endless = self.first.is_ipv4() && self.first.is_loopback();
        self.extent.or((!endless).then_some(1))
    }
}

/// Why a notation of source addresses means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no set of source addresses: write a first address (127.0.1.1), a range \
     (10.0.0.100-139) or a network (127.0.1.0/24)"
)]
pub struct NoSources {
    text: String,
}

impl std::str::FromStr for Sources {
    type Err = NoSources;

    fn from_str(text: &str) -> Result<Self, NoSources> {
        let no = || NoSources { text: text.into() };
        let (first, extent) = if let Some((network, length)) = text.split_once('/') {
            let address = network.parse().map_err(|_| no())?;
            let length = length.parse().map_err(|_| no())?;
            let (first, extent) = hosts(address, length).ok_or_else(no)?;
            (first, Some(extent))
        } else if let Some((first, last)) = text.split_once('-') {
            let first: IpAddr = first.parse().map_err(|_| no())?;
            let last = last_of(first, last).ok_or_else(no)?;
            let extent = distance(first, last).and_then(|steps| steps.checked_add(1));
            (first, Some(extent.ok_or_else(no)?))
        } else {
            (text.parse().map_err(|_| no())?, None)
        };
        Ok(Self { first, extent })
    }
}

/// The hosts of a network: all but its own address and, for IPv4, the broadcast address.
fn hosts(address: IpAddr, length: u32) -> Option<(IpAddr, u32)> {
    match address {
        IpAddr::V4(v4) => {
            let size = 1u64 << 32u32.checked_sub(length)?;
            let base = u32::from(v4) & !((size - 1) as u32);
            let (skip, extent) = if size > 2 { (1, size - 2) } else { (0, size) };
            let first = IpAddr::V4(Ipv4Addr::from(base + skip));
            Some((first, u32::try_from(extent).ok()?))
        }
        IpAddr::V6(v6) => {
            let bits = 128u32.checked_sub(length)?.min(32);
            let size = 1u64 << bits;
            let mask = if length == 0 {
                0
            } else {
                u128::MAX << (128 - length)
            };
            let base = u128::from(v6) & mask;
            let skip = u128::from(size > 2);
            let extent = u32::try_from(size - skip as u64).ok()?;
            Some((IpAddr::V6(Ipv6Addr::from(base + skip)), extent))
        }
    }
}

/// The end of a range: a whole address, or only the last part of one.
fn last_of(first: IpAddr, last: &str) -> Option<IpAddr> {
    match first {
        _ if last.contains(['.', ':']) => last.parse().ok(),
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Some(Ipv4Addr::new(a, b, c, last.parse().ok()?).into())
        }
        IpAddr::V6(v6) => {
            let mut segments = v6.segments();
            segments[7] = u16::from_str_radix(last, 16).ok()?;
            Some(Ipv6Addr::from(segments).into())
        }
    }
}

/// How many addresses `to` lies after `from`; `None` if it does not, or not within 2³².
fn distance(from: IpAddr, to: IpAddr) -> Option<u32> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => u32::from(to).checked_sub(u32::from(from)),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            u32::try_from(u128::from(to).checked_sub(u128::from(from))?).ok()
        }
        _ => None,
    }
}

/// The address `steps` after `from`, if there is one.
fn count_up(from: IpAddr, steps: u32) -> Option<IpAddr> {
    match from {
        IpAddr::V4(v4) => Some(Ipv4Addr::from(u32::from(v4).checked_add(steps)?).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from(u128::from(v6).checked_add(steps.into())?).into()),
    }
}

/// The source of every attempt, by index: all of the first address, then all of the second, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuples {
    first: IpAddr,
    ips: u32,
    per_ip: u32,
    /// `None`: the kernel chooses.
    first_port: Option<u16>,
    len: usize,
}

impl Tuples {
    /// `len` attempts from `ips` addresses, counted up from `first`, with `per_ip` ports each from
    /// `first_port` on (`None`: the kernel chooses). `None` if addresses, ports or tuples run out.
    pub fn new(
        first: IpAddr,
        ips: u32,
        per_ip: u32,
        first_port: Option<u16>,
        len: usize,
    ) -> Option<Self> {
        let fits = len as u64 <= u64::from(ips) * u64::from(per_ip)
            && count_up(first, ips.saturating_sub(1)).is_some()
            && first_port.is_none_or(|port| u32::from(port) + per_ip <= 65_536);
        fits.then_some(Self {
            first,
            ips,
            per_ip,
            first_port,
            len,
        })
    }

    /// How many attempts there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the kernel chooses the ports.
    pub fn kernel_ports(&self) -> bool {
        self.first_port.is_none()
    }

    /// The addresses that the attempts really use, in their order.
    pub fn sources(&self) -> impl ExactSizeIterator<Item = IpAddr> + use<> {
        let used = self.len.div_ceil(self.per_ip.max(1) as usize) as u32;
        let first = self.first;
        (0..used).map(move |step| count_up(first, step).unwrap_or(first))
    }

    /// The source of attempt `index`; port 0 if the kernel chooses it.
    pub fn source(&self, index: usize) -> SocketAddr {
        let per_ip = self.per_ip.max(1) as usize;
        let address = count_up(self.first, (index / per_ip) as u32).unwrap_or(self.first);
        let port = self
            .first_port
            .map_or(0, |first| first.wrapping_add((index % per_ip) as u16));
        SocketAddr::new(address, port)
    }

    /// Which attempt has this source; `None` if none has, or if the kernel chooses the ports.
    pub fn index(&self, source: SocketAddr) -> Option<usize> {
        let ip = distance(self.first, source.ip()).filter(|&ip| ip < self.ips)? as usize;
        let port = u32::from(source.port().checked_sub(self.first_port?)?);
        let index = ip * self.per_ip as usize + port as usize;
        (port < self.per_ip && index < self.len).then_some(index)
    }
}

/// Where a connect to `target` goes: an address that stands for all of a host's means its loopback.
pub fn connectable(mut target: SocketAddr) -> SocketAddr {
    match target.ip() {
        IpAddr::V4(all) if all.is_unspecified() => target.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(all) if all.is_unspecified() => target.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    target
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Option<(String, Option<u32>)> {
        let sources: Sources = text.parse().ok()?;
        Some((sources.first.to_string(), sources.extent))
    }

    #[test]
    fn source_notations() {
        let cases = [
            ("127.0.1.1", "127.0.1.1", None),
            ("10.0.0.100-139", "10.0.0.100", Some(40)),
            ("10.0.0.250-10.0.1.5", "10.0.0.250", Some(12)),
            ("127.0.1.0/24", "127.0.1.1", Some(254)),
            ("127.0.1.77/24", "127.0.1.1", Some(254)),
            ("10.0.0.4/31", "10.0.0.4", Some(2)),
            ("10.0.0.4/32", "10.0.0.4", Some(1)),
            ("::1", "::1", None),
            ("fd00::10-1f", "fd00::10", Some(16)),
            ("fd00::10-fd00::1:0", "fd00::10", Some(65_521)),
            ("fd00::/120", "fd00::1", Some(255)),
            ("fd00::9/128", "fd00::9", Some(1)),
        ];
        for (text, first, extent) in cases {
            assert_eq!(parsed(text), Some((first.into(), extent)), "{text}");
        }
        for text in [
            "",
            "a",
            "10.0.0.9-3",
            "10.0.0.1/33",
            "10.0.0.1-fd00::1",
            "10.0.0.1-300",
            "::1/129",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn all_of_the_first_source_first() {
        let tuples = Tuples::new("127.0.1.255".parse().unwrap(), 2, 3, Some(10_000), 5).unwrap();
        let sources: Vec<_> = (0..5).map(|i| tuples.source(i).to_string()).collect();
        assert_eq!(
            sources,
            [
                "127.0.1.255:10000",
                "127.0.1.255:10001",
                "127.0.1.255:10002",
                "127.0.2.0:10000",
                "127.0.2.0:10001"
            ]
        );
        assert_eq!(tuples.sources().len(), 2);
        assert_eq!(
            tuples.index("127.0.2.0:10002".parse().unwrap()),
            None,
            "not planned"
        );
        assert_eq!(tuples.index("127.0.1.255:10003".parse().unwrap()), None);
        assert_eq!(tuples.index("[::1]:10000".parse().unwrap()), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let first = "255.255.255.254".parse().unwrap();
        assert!(Tuples::new(first, 2, 10, Some(1), 20).is_some());
        assert!(
            Tuples::new(first, 3, 10, Some(1), 20).is_none(),
            "addresses run out"
        );
        assert!(Tuples::new(first, 2, 10, Some(65_526), 20).is_some());
        assert!(
            Tuples::new(first, 2, 10, Some(65_527), 20).is_none(),
            "ports run out"
        );
        assert!(
            Tuples::new(first, 2, 10, Some(1), 21).is_none(),
            "tuples run out"
        );
        assert!(
            Tuples::new(first, 1, 100_000, None, 100_000).is_some(),
            "the kernel's matter"
        );
    }

    proptest! {
        #[test]
        fn an_index_comes_back(
            v6: bool, base in 0u32..u32::MAX - 300, ips in 1u32..300, first_port in 1u16..60_000,
            per_ip in 1u32..5_000, at in 0.0f64..1.0, short in 0.0f64..1.0,
        ) {
            let first: IpAddr = if v6 {
                Ipv6Addr::from(u128::from(base) << 60).into()
            } else {
                Ipv4Addr::from(base).into()
            };
            let all = (ips * per_ip) as usize;
            let len = all - ((all - 1) as f64 * short) as usize;
            let tuples = Tuples::new(first, ips, per_ip, Some(first_port), len).unwrap();
            let index = ((len - 1) as f64 * at) as usize;
            let source = tuples.source(index);
            prop_assert_eq!(tuples.index(source), Some(index));
            prop_assert!(source.port() >= first_port);
            prop_assert!(u32::from(source.port()) < u32::from(first_port) + per_ip);
            prop_assert_eq!(tuples.sources().nth(index / per_ip as usize), Some(source.ip()));
        }
    }

    #[test]
    fn a_target_that_is_every_address_is_the_loopback() {
        for (target, reached) in [
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::1]:8000"),
            ("10.0.0.1:8000", "10.0.0.1:8000"),
        ] {
            let target: SocketAddr = target.parse().unwrap();
            assert_eq!(connectable(target).to_string(), reached);
        }
    }
}
