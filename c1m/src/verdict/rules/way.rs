//! What can meet any segment on its way between two hosts, whatever the handshake has come to.

use c1m_common::fact::{SkbDrop, drop_flag};

use crate::{causes::Cause, verdict::Context};

/// What a drop reason means that can meet any segment between two hosts.
pub(super) fn on_the_way(drop: &SkbDrop, context: &Context<'_>) -> Cause {
    let reason = context.names.drop_reason_name(drop);
    match reason {
        "NETFILTER_DROP" => netfilter(drop, context),
        "BPF_CGROUP" | "BPF_CGROUP_EGRESS" | "XDP" | "TC_INGRESS" | "TC_EGRESS" | "TC_CLS" => {
            Cause::BpfOrTcDrop
        }
        "CPU_BACKLOG" => Cause::CpuBacklog,
        "IP_RPFILTER" | "IP_INVALID_SOURCE" | "IP_LOCAL_SOURCE" => Cause::RpFilter,
        "TCP_CSUM" | "IP_CSUM" | "XFRM_POLICY" | "SOCKET_FILTER" | "TCP_MINTTL"
        | "TCP_AUTH_HDR" => Cause::BadSegment,
        // The last three: a destination that a host takes from no device (`ip_route_input_slow`).
        "IP_OUTNOROUTES" | "IP_INNOROUTES" | "IPV6_NO_ROUTE" | "IP_LOCALNET"
        | "IP_INVALID_DEST" | "IP_INADDRERRORS" => Cause::NoRoute,
        "NOMEM" => Cause::NoMemory,
        _ if is_of_queue(reason) => Cause::QdiscDrop,
        _ if reason.starts_with("NEIGH_") => Cause::Neighbour,
        _ if reason.starts_with("TCP_MD5") || reason.starts_with("TCP_AO") => Cause::BadSegment,
        "" | "NOT_SPECIFIED" => Cause::NotObservable,
        _ => context.sight.unexplained(),
    }
}

/// Whether a queueing discipline has this reason of its own.
fn is_of_queue(reason: &str) -> bool {
    let kinds = ["QDISC_", "FQ_", "CAKE_", "DUALPI2_"];
    kinds.iter().any(|kind| reason.starts_with(kind))
}

/// A rule's drop or a full conntrack table: both are NF_DROP to `nf_hook_slow`. A rule of nftables frees the
/// packet itself, in `nft_do_chain`, and so cannot be meant by the table.
pub(super) fn netfilter(drop: &SkbDrop, context: &Context<'_>) -> Cause {
    let function = context.names.symbols.name(drop.location).unwrap_or("");
    if function == "nf_hook_slow" && drop.flags & drop_flag::CONNTRACK_FULL != 0 {
        return Cause::ConntrackFull;
    }
    // Seen where it happens, the table's drops are all told apart; else the counter says that there were some.
    if context.sight.conntrack_dropped && !context.sight.conntrack && !function.starts_with("nft_")
    {
        return Cause::NotObservable;
    }
    if drop.flags & drop_flag::OUTPUT != 0 {
        Cause::NetfilterOut
    } else {
        Cause::NetfilterIn
    }
}
