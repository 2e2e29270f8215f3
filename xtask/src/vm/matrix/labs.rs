//! What no backend, or not every one, can show of a lab on older kernels.

/// Labs that tracepoints can't be exact in on older kernels, and from which on they are: before, each must end in *not
/// observable*, and never in another cause. The other backends are exact everywhere, but for [`FENTRY_LACKS_CHILD`].
pub(super) const EXACT_FROM: &[(&str, [u32; 2])] = &[
    // kfree_skb tells a reason.
    ("bad-segment", [5, 17]),
    ("bad-segment-xfrm", [5, 17]),
    ("stale-established", [5, 17]),
    ("stale-established-ipv6", [5, 17]),
    ("refused", [5, 17]),
    ("refused-kernel-ports", [5, 17]),
    ("refused-ipv6", [5, 17]),
    // consume_skb tells where from.
    ("qdisc-drop", [6, 5]),
    ("evidence-lost", [6, 5]),
    ("gave-up", [6, 5]),
    ("icmp-error", [6, 5]),
    ("syn-unanswered", [6, 5]),
    ("request-expired", [6, 5]),
    ("request-expired-ipv6", [6, 5]),
    ("syn-backlog-full", [6, 5]),
    ("syn-backlog-last-quarter", [6, 5]),
    ("accept-queue-full-syn", [6, 5]),
    ("accept-queue-full-syn-ipv6", [6, 5]),
    ("accept-queue-full-syn-shared", [6, 5]),
    ("accept-queue-full-syn-shared-ipv6", [6, 5]),
    ("mixed", [6, 5]),
    // kfree_skb tells the receiving socket.
    ("netfilter-in-ack", [6, 11]),
    ("bad-segment-minttl", [6, 11]),
    ("accept-queue-full-ack", [6, 11]),
    ("accept-queue-full-ack-late", [6, 11]),
    ("accept-queue-full-reset", [6, 11]),
    ("accept-queue-full-cookie", [6, 11]),
    ("stale-established-request", [6, 11]),
    ("listener-gone", [6, 11]),
    ("listener-gone-reuseport", [6, 11]),
    ("time-wait-hit", [6, 11]),
    ("time-wait-hit-ipv6", [6, 11]),
    ("cookie-invalid", [6, 11]),
    ("cookie-invalid-ipv6", [6, 11]),
    ("field-notes", [6, 11]),
    // An RST tells its reason.
    ("memory-pressure", [6, 10]),
    ("memory-pressure-tcp-mem", [6, 10]),
    // A drop of a rule and one of conntrack look alike, and a SYN that was not answered may be one whose answer was not
    // seen.
    ("conntrack-full", NEVER),
    // The listener's queue is read when the SYN is freed: another CPU may have accepted all of it by then.
    ("random", NEVER),
    ("no-request-memory", NEVER),
    // tcp_check_req tells a reason.
    ("child-failed", [6, 15]),
    ("ack-rejected", [6, 15]),
    ("ack-rejected-ipv6", [6, 15]),
    ("ack-rejected-deferred", [6, 11]),
];

/// Of these, the ones that may be exact all the same, as the time went: an ACK that meets no socket is told if its SYN or SYN-ACK
/// was sent again, and `random` is exact unless a CPU stands still just then.
pub(super) const MAY_BE_EXACT: &[&str] = &["listener-gone", "random"];

/// The kernel from which on a trampoline takes more than six arguments.
pub(super) const TRAMPOLINE_OF_MANY: [u32; 2] = [6, 6];

/// Kernels before, on which `tcp_v4_syn_recv_sock` has seven: with fentry forced, what it tells must end in *not observable*.
pub(super) const FENTRY_LACKS_CHILD: &[[u32; 2]] = &[[6, 1]];

/// The labs that it tells.
pub(super) const TOLD_BY_CHILD: &[&str] = &[
    "accept-queue-full-ack",
    "accept-queue-full-ack-late",
    "accept-queue-full-reset",
    "accept-queue-full-cookie",
    "child-failed",
    "ack-rejected",
    "ack-rejected-ipv6",
    "field-notes",
    // Of a final ACK that was refused none would be seen, so that silence tells nothing.
    "gave-up",
    "icmp-error",
    "qdisc-drop",
    "syn-unanswered",
    "netfilter-in-ack",
    "evidence-lost",
];

/// Labs that need what older kernels lack, and from which on they run: before, they must be skipped.
pub(super) const RUNS_FROM: &[(&str, [u32; 2])] = &[
    // IORING_OP_SOCKET
    ("io-uring", [5, 19]),
    // reuseport_migrate_sock
    ("listener-gone-migrate", [5, 14]),
    ("listener-closed-migrate", [5, 14]),
    // CONFIG_MPTCP, without which Debian builds its 5.10
    ("server-exited-mptcp", [5, 11]),
];

/// No kernel at all.
pub(super) const NEVER: [u32; 2] = [u32::MAX, 0];
