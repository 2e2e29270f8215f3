//! The packet filter as a witness: it counts the SYNs of each attempt, whoever loses them later.

use std::{collections::BTreeMap, net::SocketAddr};

use super::process::tool;

/// The SYNs to the lab's port, as nft writes them.
pub(super) const SYNS: &str = "tcp dport 8000 tcp flags & (syn|ack) == syn";

/// Counts every SYN to the lab's port that leaves the lab's own namespace, by where it comes from.
pub(super) struct Witness;

impl Witness {
    /// From now on. Errors: nft is missing.
    pub(super) fn new() -> anyhow::Result<Self> {
        let text = format!(
            "table inet witness {{\nset sent {{ type ipv4_addr . inet_service; flags dynamic; size 65535; }}\n\
             chain output {{ type filter hook output priority 0\n\
             {SYNS} update @sent {{ ip saddr . tcp sport counter }}\n}}\n}}\n"
        );
        tool("nft", &["-f", "-"], &text, None)?;
        Ok(Self)
    }

    /// Who sent how many so far.
    pub(super) fn sent(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let text = tool("nft", &["list", "set", "inet", "witness", "sent"], "", None)?;
        Ok(elements(&text))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // Its namespace ends soon, too.
        let _ = tool("nft", &["delete", "table", "inet", "witness"], "", None);
    }
}

/// An address and port as an element of such a set.
pub(super) fn element(source: SocketAddr) -> String {
    format!("{} . {}", source.ip(), source.port())
}

/// The elements of a set and how many packets each counted, as `nft list set` prints them.
pub(super) fn elements(text: &str) -> BTreeMap<String, u64> {
    let Some((_, list)) = text.split_once("elements = {") else {
        return BTreeMap::new();
    };
    let list = list.split('}').next().unwrap_or_default();
    let element = |text: &str| {
        let (source, counted) = text.trim().split_once(" counter packets ")?;
        let packets = counted.split(' ').next()?.parse().ok()?;
        Some((source.to_owned(), packets))
    };
    list.split(',').filter_map(element).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elements_of_a_set_are_read_with_their_counts() {
        let text = "table inet mixed {\n\tset dropped {\n\t\ttype ipv4_addr . inet_service\n\t\tsize 65535\n\
                    \t\telements = { 127.0.1.1 . 10000 counter packets 1 bytes 60, \
                    127.0.1.1 . 10001 counter packets 12 bytes 720,\n\
                    \t\t\t     127.0.1.2 . 10000 counter packets 2 bytes 120 }\n\t}\n}\n";
        let expected = [
            ("127.0.1.1 . 10000", 1),
            ("127.0.1.1 . 10001", 12),
            ("127.0.1.2 . 10000", 2),
        ];
        let expected = expected.map(|(source, packets)| (source.to_owned(), packets));
        assert_eq!(elements(text), expected.into());
        assert_eq!(
            elements("table inet mixed {\n\tset dropped {\n\t}\n}\n").len(),
            0
        );
    }
}
