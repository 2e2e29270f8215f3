//! A way with a router in between: what the router drops, nobody on either end sees.

use std::os::fd::{AsFd, AsRawFd};

use super::{bench::Bench, process::tool};
use crate::netns::Netns;

/// The server's address at the far end, IPv4.
pub(super) const FAR: &str = "10.9.2.2:8000";
/// Likewise, IPv6.
pub(super) const FAR_IPV6: &str = "[fd09:2::2]:8000";

/// The lab's own namespace (`10.9.1.1`, `10.9.1.2`, `fd09:1::1`, `fd09:1::2`), a router, and a far namespace
/// (`10.9.2.2`, `fd09:2::2`).
#[derive(Debug)]
pub(super) struct Route {
    router: Netns,
    /// Where the server is.
    pub(super) far: Netns,
}

/// Where one end of a link is, its name, and its addresses.
type End<'a> = (Option<&'a Netns>, &'static str, &'static [&'static str]);

/// The hardware address of an end, by its place in the list: those at one link are neighbours there.
fn hardware(number: usize) -> String {
    format!("02:00:00:00:01:{number:02x}")
}

impl Route {
    /// Makes both namespaces and the links between them.
    pub(super) fn new(bench: &Bench) -> anyhow::Result<Self> {
        let route = Self {
            router: Netns::create()?,
            far: Netns::create()?,
        };
        let Self { router, far } = &route;
        bench.sysctl(Some(router), "net.ipv4.ip_forward", "1")?;
        bench.sysctl(Some(router), "net.ipv6.conf.all.forwarding", "1")?;
        link(bench, None, "c1m-own", (router, "c1m-near"))?;
        link(bench, Some(far), "c1m-far", (router, "c1m-other"))?;
        let ends: [End; 4] = [
            (
                None,
                "c1m-own",
                &["10.9.1.1/24", "10.9.1.2/24", "fd09:1::1/64", "fd09:1::2/64"],
            ),
            (
                Some(router),
                "c1m-near",
                &["10.9.1.254/24", "fd09:1::fe/64"],
            ),
            (
                Some(router),
                "c1m-other",
                &["10.9.2.254/24", "fd09:2::fe/64"],
            ),
            (Some(far), "c1m-far", &["10.9.2.2/24", "fd09:2::2/64"]),
        ];
        for (number, (ns, device, addresses)) in ends.iter().enumerate() {
            for address in *addresses {
                let nodad = if address.contains(':') { " nodad" } else { "" };
                bench.ip(*ns, &format!("addr add {address} dev {device}{nodad}"))?;
            }
            let hardware = hardware(number);
            bench.ip(*ns, &format!("link set {device} address {hardware} up"))?;
        }
        // Each end knows the other for good: nothing waits for an answer, and none can get lost.
        for (number, (ns, device, _)) in ends.iter().enumerate() {
            let other = number ^ 1;
            for address in ends[other]
                .2
                .iter()
                .filter_map(|with| with.split('/').next())
            {
                let lladdr = hardware(other);
                bench.ip(
                    *ns,
                    &format!("neigh replace {address} lladdr {lladdr} dev {device} nud permanent"),
                )?;
            }
        }
        for (ns, way) in [
            (None, ["10.9.1.254", "fd09:1::fe"]),
            (Some(far), ["10.9.2.254", "fd09:2::fe"]),
        ] {
            for gateway in way {
                bench.ip(ns, &format!("route add default via {gateway}"))?;
            }
        }
        Ok(route)
    }

    /// From here on the router drops what matches.
    pub(super) fn cut(&self, matching: &str) -> anyhow::Result<()> {
        let rule = format!(
            "table inet c1m {{ chain forward {{ type filter hook forward priority 0; {matching} counter drop; }}; }}\n"
        );
        tool("nft", &["-f", "-"], &rule, Some(&self.router)).map(drop)
    }

    /// It drops nothing any more.
    pub(super) fn mend(&self) -> anyhow::Result<()> {
        let words = ["delete", "table", "inet", "c1m"];
        tool("nft", &words, "", Some(&self.router)).map(drop)
    }
}

/// A veth pair from `ns` (`None`: the lab's own) to another namespace.
fn link(
    bench: &Bench,
    ns: Option<&Netns>,
    name: &str,
    (other, other_name): (&Netns, &str),
) -> anyhow::Result<()> {
    let fd = other.as_fd().as_raw_fd();
    let pid = std::process::id();
    bench.ip(
        ns,
        &format!("link add {name} type veth peer name {other_name} netns /proc/{pid}/fd/{fd}"),
    )
}
