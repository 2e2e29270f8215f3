//! The table of limits: one row for each that a number of connections can meet on a host.

use super::{
    buffers, burst, count,
    limit::{Limit, When},
    network, tracing,
};

/// Every limit. What binds first is not decided here: it depends on the host.
pub const LIMITS: &[Limit] = &[
    Limit {
        id: "descriptors",
        name: "descriptors × processes",
        when: When::Count,
        how: "socket() or accept() fails with EMFILE in a process that has RLIMIT_NOFILE of them; fs.nr_open is as far \
              as that can be raised",
        judge: count::descriptors,
    },
    Limit {
        id: "files",
        name: "open files (fs.file-max)",
        when: When::Count,
        how: "socket() or accept() fails with ENFILE; who has CAP_SYS_ADMIN is exempt",
        judge: count::files,
    },
    Limit {
        id: "ports",
        name: "source addresses × ports",
        when: When::Count,
        how: "connect() fails with EADDRNOTAVAIL, bind() with EADDRINUSE: towards one address and port, each source \
              address has its ports once",
        judge: network::ports,
    },
    Limit {
        id: "sources",
        name: "source addresses",
        when: When::Count,
        how: "bind() fails with EADDRNOTAVAIL",
        judge: network::sources,
    },
    Limit {
        id: "memory",
        name: "memory",
        when: When::Count,
        how: "the OOM killer ends a process, and its connections go with it; the kernel's objects for a connection \
              cannot be swapped out",
        judge: count::memory,
    },
    Limit {
        id: "memory-cgroup",
        name: "memory of the cgroup",
        when: When::Count,
        how: "socket() fails with ENOMEM or ENOBUFS, or the OOM killer comes",
        judge: count::memory_cgroup,
    },
    Limit {
        id: "tcp-mem",
        name: "TCP buffers (tcp_mem)",
        when: When::Count,
        how: "data is dropped at the receiver until others have read; connections without data take none of it",
        judge: buffers::tcp_mem,
    },
    Limit {
        id: "tasks",
        name: "processes",
        when: When::Count,
        how: "no further worker can be started",
        judge: count::tasks,
    },
    Limit {
        id: "conntrack",
        name: "connection tracking",
        when: When::Count,
        how: "the SYN is dropped when nf_conntrack_max are tracked",
        judge: network::conntrack,
    },
    Limit {
        id: "neighbours",
        name: "neighbour entries",
        when: When::Count,
        how: "packets to an address without an entry are dropped when gc_thresh3 are in use",
        judge: network::neighbours,
    },
    Limit {
        id: "epoll",
        name: "epoll watches of a user",
        when: When::Count,
        how: "epoll_ctl() fails with ENOSPC: connections stand, but nobody hears of their end",
        judge: count::epoll,
    },
    Limit {
        id: "accept-queue",
        name: "accept queue (somaxconn)",
        when: When::Burst,
        how: "SYNs are dropped and come again after 1 s, or final ACKs are: then a connection may be half-open for good",
        judge: burst::accept_queue,
    },
    Limit {
        id: "syn-queue",
        name: "SYN queue (max_syn_backlog)",
        when: When::Burst,
        how: "without syncookies, SYNs are dropped beyond three quarters of tcp_max_syn_backlog, or at the backlog",
        judge: burst::syn_queue,
    },
    Limit {
        id: "cpu-backlog",
        name: "input queue of a CPU",
        when: When::Burst,
        how: "segments are dropped when net.core.netdev_max_backlog wait for a CPU (loopback, veth, RPS)",
        judge: burst::cpu_backlog,
    },
    Limit {
        id: "rp-filter",
        name: "reverse path (rp_filter)",
        when: When::Burst,
        how: "a SYN is dropped whose source is not reached by the device that it came in by",
        judge: burst::rp_filter,
    },
    Limit {
        id: "time-wait",
        name: "TIME_WAIT sockets",
        when: When::After,
        how: "a connection that closes finds no room for its TIME_WAIT, and late segments of its are answered by RST",
        judge: burst::time_wait,
    },
    Limit {
        id: "orphans",
        name: "sockets without a program",
        when: When::After,
        how: "a connection that closes is reset at once (TCPAbortOnMemory)",
        judge: burst::orphans,
    },
    Limit {
        id: "trace-rights",
        name: "rights",
        when: When::Tracing,
        how: "the kernel takes no eBPF programs from other users",
        judge: tracing::rights,
    },
    Limit {
        id: "trace-object",
        name: "eBPF object",
        when: When::Tracing,
        how: "there is nothing to load",
        judge: tracing::object,
    },
    Limit {
        id: "trace-btf",
        name: "BTF",
        when: When::Tracing,
        how: "without it nobody knows where the kernel keeps what",
        judge: tracing::btf,
    },
    Limit {
        id: "trace-lockdown",
        name: "lockdown",
        when: When::Tracing,
        how: "in the mode `confidentiality` no program may read the kernel's memory",
        judge: tracing::lockdown,
    },
    Limit {
        id: "trace-hooks",
        name: "hooks in functions",
        when: When::Tracing,
        how: "without kprobes and fentry, tracepoints tell what they can, and the report says what they cannot",
        judge: tracing::hooks,
    },
];
