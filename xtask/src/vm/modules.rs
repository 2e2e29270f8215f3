//! Which modules the labs need, and in which order they load.

use std::collections::{BTreeMap, BTreeSet};

/// What a lab, or somebody who debugs one, may want. What a kernel has built in, or under another module's roof, is not
/// in its `modules.dep`, and is not missed.
pub(super) const WANTED: &[&str] = &[
    "nf_tables",
    "nft_ct",
    "nft_counter",
    "nft_limit",
    "nft_log",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_chain_nat",
    "nft_nat",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nfnetlink",
    "veth",
    "dummy",
    "macvlan",
    "tcp_diag",
    "inet_diag",
    "sch_tbf",
    "sch_htb",
    "sch_netem",
    "sch_ingress",
    "sch_fq",
    "cls_bpf",
    "cls_u32",
    "cls_flower",
    "cls_matchall",
    "act_gact",
    "act_police",
    "act_mirred",
    "act_pedit",
    "act_csum",
    "xfrm_user",
    "ifb",
];

/// The files of the wanted modules and of all that they need, each after what it needs.
pub(super) fn in_order(modules_dep: &str, wanted: &[&str]) -> Vec<String> {
    let needs: BTreeMap<&str, Vec<&str>> = modules_dep
        .lines()
        .filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            Some((file, needs.split_whitespace().collect()))
        })
        .collect();
    let files: BTreeMap<String, &str> = needs.keys().map(|file| (name(file), *file)).collect();
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for file in wanted.iter().filter_map(|name| files.get(*name)) {
        add(file, &needs, &mut seen, &mut order);
    }
    order
}

fn add<'a>(
    file: &'a str,
    needs: &BTreeMap<&'a str, Vec<&'a str>>,
    seen: &mut BTreeSet<&'a str>,
    order: &mut Vec<String>,
) {
    if !seen.insert(file) {
        return;
    }
    for needed in needs.get(file).into_iter().flatten() {
        add(needed, needs, seen, order);
    }
    order.push(file.to_owned());
}

/// A module's name, by its file: `kernel/net/nf-x.ko.xz` is `nf_x`.
pub(super) fn name(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let text = "k/nft-ct.ko.xz: k/nf_tables.ko.xz k/nf_conntrack.ko.xz k/crc.ko.xz\n\
             k/nf_tables.ko.xz: k/nfnetlink.ko.xz k/crc.ko.xz\nk/nfnetlink.ko.xz:\n\
             k/nf_conntrack.ko.xz: k/crc.ko.xz\nk/crc.ko.xz:\nk/other.ko.xz: k/crc.ko.xz\n";
        assert_eq!(
            in_order(text, &["nft_ct", "nf_tables", "built_in"]),
            [
                "k/nfnetlink.ko.xz",
                "k/crc.ko.xz",
                "k/nf_tables.ko.xz",
                "k/nf_conntrack.ko.xz",
                "k/nft-ct.ko.xz"
            ]
        );
        assert_eq!(name("a/b/nf-x.ko.zst"), "nf_x");
    }
}
