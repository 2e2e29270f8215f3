//! The rows. Kernel functions are those of 5.10 to 7.2; where versions differ, the row says so.

use super::{Cause::*, Phase::*, Row};

/// Every cause, in the order of a connection's life.
pub static TABLE: &[Row] = &[
    Row {
        cause: Emfile,
        slug: "emfile",
        phase: Local,
        title: "out of file descriptors (EMFILE)",
        what: "alloc_fd() found no free descriptor below the process's RLIMIT_NOFILE, or expand_files() met \
               fs.nr_open. The limit is per process: several processes have several tables.",
        client_sees: "socket() fails with EMFILE; no SYN is sent",
        server_sees: "nothing",
        facts: &["errno EMFILE from socket()"],
        hooks: &[
            "the worker's own errno",
            "__sys_socket (fexit, kretprobe), sys_exit",
        ],
        counter: None,
        recoverable: false,
        remedy: "raise RLIMIT_NOFILE (ulimit -n; above the hard limit that takes privilege, above fs.nr_open \
                 nothing helps), or spread the connections over more processes",
        lab: Some("emfile"),
    },
    Row {
        cause: Enfile,
        slug: "enfile",
        phase: Local,
        title: "the host is out of open files (ENFILE)",
        what: "alloc_empty_file() found fs.file-max files open on the host. A process with CAP_SYS_ADMIN is \
               exempt, so the same program run as root does not meet this limit. sock_alloc() without memory \
               for an inode answers ENFILE too: that is no-memory.",
        client_sees: "socket() fails with ENFILE; no SYN is sent",
        server_sees: "nothing",
        facts: &["errno ENFILE from socket(), and not for want of memory"],
        hooks: &[
            "the worker's own errno",
            "__sys_socket (fexit, kretprobe), sys_exit",
        ],
        counter: None,
        recoverable: false,
        remedy: "raise fs.file-max: a connection with both ends on one host takes two files",
        lab: Some("enfile"),
    },
    Row {
        cause: NoMemory,
        slug: "no-memory",
        phase: Local,
        title: "no memory for a socket",
        what: "sk_alloc() or, before it, sock_alloc() returned NULL, mostly because the memory cgroup is at its limit: \
               ENOBUFS on 5.10, ENOMEM from 6.1, and ENFILE of sock_alloc(). Where the OOM killer takes the process \
               first, that is client-exited or server-exited.",
        client_sees: "socket() fails with ENOBUFS, ENOMEM or ENFILE",
        server_sees: "nothing",
        facts: &[
            "errno ENOMEM or ENOBUFS from socket(), bind() or connect(); or ENFILE from socket(), and another file \
             fails with ENOMEM, or none was refused at fs.file-max",
        ],
        hooks: &[
            "the worker's own errno",
            "__sys_socket (fexit, kretprobe), sys_exit",
            "alloc_empty_file (fexit, kretprobe)",
        ],
        counter: None,
        recoverable: false,
        remedy: "raise memory.max of the cgroup, or hold fewer connections: a socket takes about 4 KB of \
                 kernel memory before any data",
        lab: Some("no-memory"),
    },
    Row {
        cause: SourceNotLocal,
        slug: "source-not-local",
        phase: Local,
        title: "the source address is not on this host",
        what: "__inet_bind() or __inet6_bind() refused an address that no interface of this network namespace \
               has. ip_nonlocal_bind, IP_FREEBIND and IP_TRANSPARENT would lift the check, but replies would \
               still not arrive here.",
        client_sees: "bind() fails with EADDRNOTAVAIL; no SYN is sent",
        server_sees: "nothing",
        facts: &["errno EADDRNOTAVAIL from bind()"],
        hooks: &[
            "the worker's own errno",
            "__sys_bind (fexit, kretprobe), sys_exit",
        ],
        counter: None,
        recoverable: false,
        remedy: "add the address to an interface (c1m client --dev DEV --addresses … does it for the run)",
        lab: Some("source-not-local"),
    },
    Row {
        cause: BindConflict,
        slug: "bind-conflict",
        phase: Local,
        title: "the source port is taken, or bind(0) found none (EADDRINUSE)",
        what: "inet_csk_get_port() found the port bound by another socket without SO_REUSEADDR on both, or, \
               asked for port 0, no free port in ip_local_port_range. bind() does not know the target yet, \
               so it shares a port less readily than connect() does.",
        client_sees: "bind() fails with EADDRINUSE; no SYN is sent",
        server_sees: "nothing",
        facts: &["errno EADDRINUSE from bind()"],
        hooks: &[
            "the worker's own errno",
            "__sys_bind (fexit, kretprobe), sys_exit",
        ],
        counter: None,
        recoverable: false,
        remedy: "bind to the address alone with IP_BIND_ADDRESS_NO_PORT, or set SO_REUSEADDR and choose the \
                 ports yourself",
        lab: Some("bind-conflict"),
    },
    Row {
        cause: PortsExhausted,
        slug: "ports-exhausted",
        phase: Local,
        title: "ephemeral ports exhausted",
        what: "__inet_hash_connect() tried every port of ip_local_port_range, and for each the tuple with \
               this source and target is held: by a live connection, by one in FIN_WAIT_2, or by TIME_WAIT \
               that tcp_twsk_unique() does not let go. The limit is per source address and target, not per \
               host.",
        client_sees: "connect() fails with EADDRNOTAVAIL; no SYN is sent",
        server_sees: "nothing",
        facts: &[
            "errno EADDRNOTAVAIL from connect() with a port of the kernel's choice",
            "the holders of the ports, by state",
        ],
        hooks: &[
            "the worker's own errno",
            "__sys_connect_file (fexit, kretprobe), sys_exit",
            "inet_sock_set_state (SYN_SENT to CLOSE, source port 0, no error)",
            "sock_diag for the holders",
        ],
        counter: None,
        recoverable: false,
        remedy: "widen net.ipv4.ip_local_port_range, connect from more source addresses, or get rid of the \
                 holders: net.ipv4.tcp_tw_reuse=1 for TIME_WAIT, closing by RST where that is right",
        lab: Some("ports-exhausted"),
    },
    Row {
        cause: TupleBusy,
        slug: "tuple-busy",
        phase: Local,
        title: "the chosen source port is in use to this target",
        what: "The program bound a port, and __inet_check_established() found the very same tuple in the hash \
               of established sockets: live, or in TIME_WAIT of a connection without timestamps \
               (tcp_twsk_unique() lets one with timestamps go at once).",
        client_sees: "connect() fails with EADDRNOTAVAIL; no SYN is sent",
        server_sees: "nothing",
        facts: &["errno EADDRNOTAVAIL from connect() with a port of the program's choice"],
        hooks: &[
            "the worker's own errno",
            "__sys_connect_file (fexit, kretprobe), sys_exit",
            "inet_sock_set_state (SYN_SENT to CLOSE, source port set, no error)",
        ],
        counter: None,
        recoverable: false,
        remedy: "use each source address and port once per target; for TIME_WAIT set \
                 net.ipv4.tcp_timestamps=1, wait 60 s, or close by RST",
        lab: Some("tuple-busy"),
    },
    Row {
        cause: NoRoute,
        slug: "no-route",
        phase: Local,
        title: "no route to the target",
        what: "ip_route_connect() or ip6_dst_lookup_flow() found no route, or one of type unreachable or \
               blackhole. The socket never leaves CLOSE.",
        client_sees: "connect() fails with ENETUNREACH, EHOSTUNREACH or EINVAL; no SYN is sent",
        server_sees: "nothing",
        facts: &[
            "errno ENETUNREACH, EHOSTUNREACH or EINVAL from connect() at once",
            "or kfree_skb(SYN) with reason IP_OUTNOROUTES, IP_INNOROUTES, IPV6_NO_ROUTE, IP_LOCALNET, IP_INVALID_DEST or \
             IP_INADDRERRORS",
        ],
        hooks: &[
            "the worker's own errno",
            "__sys_connect_file (fexit, kretprobe), sys_exit",
        ],
        counter: Some("IpOutNoRoutes"),
        recoverable: false,
        remedy: "add a route; `ip route get TARGET from SOURCE` shows what the kernel would take",
        lab: Some("no-route"),
    },
    Row {
        cause: Denied,
        slug: "denied",
        phase: Local,
        title: "a security policy refused it (EACCES, EPERM)",
        what: "security_socket_create(), _bind() or _connect() of an LSM, a cgroup-BPF program at bind or \
               connect, or a route of type prohibit refused the call. A netfilter drop is never seen this way: tcp_connect() ignores \
               transmit errors other than ECONNREFUSED.",
        client_sees: "socket(), bind() or connect() fails with EACCES or EPERM; no SYN is sent",
        server_sees: "nothing",
        facts: &["errno EACCES or EPERM from socket(), bind() or connect()"],
        hooks: &[
            "the worker's own errno",
            "__sys_connect_file (fexit, kretprobe), sys_exit",
        ],
        counter: None,
        recoverable: false,
        remedy: "look into the LSM's audit log (ausearch -m avc, dmesg), at `bpftool cgroup tree` and at \
                 `ip route get TARGET`; a port \
                 below net.ipv4.ip_unprivileged_port_start takes CAP_NET_BIND_SERVICE",
        lab: Some("denied"),
    },
    Row {
        cause: GaveUp,
        slug: "gave-up",
        phase: Local,
        title: "the client gave up in SYN_SENT",
        what: "The program closed the socket before the handshake was over (tcp_close() in SYN_SENT), and \
               no drop of a segment of this attempt was seen. Where one was, that drop is the cause.",
        client_sees: "its own timeout",
        server_sees: "nothing, or a request that is never completed",
        facts: &[
            "SYN_SENT to CLOSE by the program itself, without an error; or a SYN that is still being sent when the run ends",
            "no drop on this host",
        ],
        hooks: &["inet_sock_set_state", "the worker's own outcome"],
        counter: None,
        recoverable: false,
        remedy: "a longer timeout: the first SYN retransmit comes after 1 s, the next after 3 s and 7 s; from Linux 6.5 on after 2 to 5 s, 7 s and 11 s",
        lab: Some("gave-up"),
    },
    Row {
        cause: SelfConnect,
        slug: "self-connect",
        phase: Local,
        title: "the socket connected to itself",
        what: "Source and target are the same address and port: the SYN comes back to the socket in SYN_SENT, \
               which takes it for a simultaneous open. Happens when the server is down and its port lies in \
               ip_local_port_range.",
        client_sees: "an established connection that echoes whatever is sent",
        server_sees: "nothing, and it cannot listen on its port any more (EADDRINUSE)",
        facts: &["established, or SYN_SENT to SYN_RECV, with source equal to target"],
        hooks: &["the worker's own outcome", "inet_sock_set_state"],
        counter: None,
        recoverable: false,
        remedy: "choose a server port outside net.ipv4.ip_local_port_range, or reserve it with \
                 net.ipv4.ip_local_reserved_ports",
        lab: Some("self-connect"),
    },
    Row {
        cause: NetfilterOut,
        slug: "netfilter-out",
        phase: Syn,
        title: "netfilter dropped a segment on the way out",
        what: "A rule at OUTPUT or POSTROUTING dropped it (nf_hook_slow()). tcp_connect() ignores the EPERM \
               that comes back, so the program is not told.",
        client_sees: "ETIMEDOUT after tcp_syn_retries, or its own timeout",
        server_sees: "nothing",
        facts: &[
            "kfree_skb(SYN) with reason NETFILTER_DROP while its sender's socket still owned it",
        ],
        hooks: &["kfree_skb", "tcp_retransmit_skb"],
        counter: None,
        recoverable: true,
        remedy: "look for the rule: nft list ruleset, iptables -S OUTPUT; its counters name it",
        lab: Some("netfilter-out"),
    },
    Row {
        cause: NetfilterIn,
        slug: "netfilter-in",
        phase: Syn,
        title: "netfilter dropped a segment on the way in",
        what: "A rule at PREROUTING or INPUT dropped it (nf_hook_slow(), or nft_do_chain() itself for a drop \
               of nftables). A REJECT answers as well, by RST or ICMP, and so ends connections that stand.",
        client_sees: "ETIMEDOUT or its own timeout; ECONNREFUSED or EHOSTUNREACH at once for a REJECT",
        server_sees: "nothing",
        facts: &[
            "kfree_skb(SYN) with reason NETFILTER_DROP on the way in",
            "or that of a later segment, and a RST at one end that the other, which stands, did not send",
        ],
        hooks: &["kfree_skb"],
        counter: None,
        recoverable: true,
        remedy: "look for the rule: nft list ruleset, iptables -S INPUT; its counters name it",
        lab: Some("netfilter-in"),
    },
    Row {
        cause: ConntrackFull,
        slug: "conntrack-full",
        phase: Syn,
        title: "the connection tracking table is full",
        what: "__nf_conntrack_alloc() found nf_conntrack_max entries, and early_drop() none that it may \
               evict. The drop reason is that of any netfilter drop: only the kernel's own count of table \
               drops tells it from a rule.",
        client_sees: "ETIMEDOUT or its own timeout",
        server_sees: "nothing; dmesg says \"nf_conntrack: table full, dropping packet\"",
        facts: &[
            "kfree_skb(SYN) with reason NETFILTER_DROP",
            "the drop column of /proc/net/stat/nf_conntrack rose by as much",
        ],
        hooks: &[
            "early_drop (kretprobe)",
            "kfree_skb",
            "/proc/net/stat/nf_conntrack",
        ],
        counter: Some("nf_conntrack drop"),
        recoverable: true,
        remedy: "raise net.netfilter.nf_conntrack_max (and hashsize with it), or take this traffic out of \
                 tracking with a notrack rule",
        lab: Some("conntrack-full"),
    },
    Row {
        cause: BpfOrTcDrop,
        slug: "bpf-or-tc-drop",
        phase: Syn,
        title: "a BPF or TC program dropped it",
        what: "A cgroup-skb program, a TC classifier or action, or an XDP program dropped the segment \
               (reasons BPF_CGROUP_EGRESS, TC_*, XDP).",
        client_sees: "ETIMEDOUT or its own timeout",
        server_sees: "nothing",
        facts: &["kfree_skb(SYN) with a reason of BPF, TC or XDP"],
        hooks: &["kfree_skb"],
        counter: None,
        recoverable: true,
        remedy: "see who is attached: bpftool net, bpftool cgroup tree, tc -s filter show",
        lab: Some("bpf-or-tc-drop"),
    },
    Row {
        cause: QdiscDrop,
        slug: "qdisc-drop",
        phase: Syn,
        title: "the queueing discipline dropped it",
        what: "The enqueue() of the device's qdisc refused the segment: over its limit, policed, or by active \
               queue management (reasons QDISC_DROP, and from 6.13 QDISC_OVERLIMIT, QDISC_CONGESTED and \
               others).",
        client_sees: "1 s more, or ETIMEDOUT",
        server_sees: "nothing",
        facts: &["kfree_skb(SYN) with a reason QDISC_*, FQ_*, CAKE_* or DUALPI2_*"],
        hooks: &["kfree_skb"],
        counter: Some("qdisc dropped"),
        recoverable: true,
        remedy: "tc -s qdisc show says which; a longer queue (txqueuelen, limit) or a lower rate of attempts; where none \
                 counted a drop, the device has no carrier (ip -br link): bring the link up",
        lab: Some("qdisc-drop"),
    },
    Row {
        cause: CpuBacklog,
        slug: "cpu-backlog",
        phase: Syn,
        title: "the CPU's receive backlog was full",
        what: "enqueue_to_backlog() found net.core.netdev_max_backlog packets waiting on the CPU that should \
               take them: loopback, veth and RPS all go through it. Reason CPU_BACKLOG.",
        client_sees: "1 s more, or ETIMEDOUT",
        server_sees: "nothing",
        facts: &["kfree_skb(SYN) with reason CPU_BACKLOG"],
        hooks: &["kfree_skb"],
        counter: Some("softnet dropped"),
        recoverable: true,
        remedy: "raise net.core.netdev_max_backlog, or lower the rate of attempts",
        lab: Some("cpu-backlog"),
    },
    Row {
        cause: RpFilter,
        slug: "rp-filter",
        phase: Syn,
        title: "reverse path filter or martian source",
        what: "fib_validate_source() found no way back to the source by the interface it came from, or a \
               source that cannot be (reason IP_RPFILTER; martians NOT_SPECIFIED up to 6.12, then \
               IP_INVALID_SOURCE or IP_LOCAL_SOURCE).",
        client_sees: "ETIMEDOUT or its own timeout",
        server_sees: "nothing",
        facts: &["kfree_skb(SYN) with reason IP_RPFILTER, IP_INVALID_SOURCE or IP_LOCAL_SOURCE"],
        hooks: &["kfree_skb"],
        counter: Some("IPReversePathFilter"),
        recoverable: false,
        remedy: "give the server's host a route back by that interface, or set \
                 net.ipv4.conf.{all,DEV}.rp_filter to 2 (loose) or 0",
        lab: Some("rp-filter"),
    },
    Row {
        cause: Neighbour,
        slug: "neighbour",
        phase: Syn,
        title: "no neighbour entry for the next hop",
        what: "Address resolution failed, its queue was full, or the neighbour table held gc_thresh3 entries \
               (neigh_alloc(); reasons NEIGH_FAILED, NEIGH_QUEUEFULL, NEIGH_CREATEFAIL).",
        client_sees: "EHOSTUNREACH, or 1 s more, or ETIMEDOUT",
        server_sees: "nothing",
        facts: &["kfree_skb(SYN) with a reason NEIGH_*"],
        hooks: &["kfree_skb", "inet_sk_error_report"],
        counter: Some("neighbour table_fulls"),
        recoverable: true,
        remedy: "ip neigh show; for a full table raise net.ipv4.neigh.default.gc_thresh3 (net.ipv6… likewise)",
        lab: Some("neighbour"),
    },
    Row {
        cause: IcmpError,
        slug: "icmp-error",
        phase: Syn,
        title: "an ICMP error ended the attempt",
        what: "tcp_v4_err() or tcp_v6_err() got an ICMP error for a socket in SYN_SENT and reported it: host \
               unreachable, administratively prohibited, port unreachable.",
        client_sees: "EHOSTUNREACH, ENETUNREACH or ECONNREFUSED",
        server_sees: "nothing",
        facts: &[
            "an error other than a RST's was reported to the socket in SYN_SENT, or ended that state",
            "no RST came",
            "no drop on this host",
        ],
        hooks: &[
            "inet_sk_error_report",
            "inet_sock_set_state",
            "the worker's own errno",
            "tcp_receive_reset",
        ],
        counter: None,
        recoverable: false,
        remedy: "the sender of the ICMP message is in the way: tcpdump -ni any icmp or icmp6 names it",
        lab: Some("icmp-error"),
    },
    Row {
        cause: Refused,
        slug: "refused",
        phase: Syn,
        title: "nobody listens on that port (ECONNREFUSED)",
        what: "tcp_v4_rcv() or tcp_v6_rcv() found no socket for the SYN and answered with a RST (reason \
               NO_SOCKET).",
        client_sees: "ECONNREFUSED",
        server_sees: "nothing",
        facts: &[
            "a RST reached the client in SYN_SENT",
            "kfree_skb(SYN) or tcp_send_reset with reason NO_SOCKET where the server is on this host",
        ],
        hooks: &[
            "tcp_receive_reset",
            "tcp_send_reset",
            "tcp_v4_send_reset, tcp_v6_send_reset (kprobe, where the tracepoint leaves them out)",
            "kfree_skb",
        ],
        counter: Some("TcpOutRsts"),
        recoverable: false,
        remedy: "start the server, or correct the port: ss -ltn shows who listens",
        lab: Some("refused"),
    },
    Row {
        cause: BadSegment,
        slug: "bad-segment",
        phase: Syn,
        title: "the segment failed a check of the receiver",
        what: "tcp_v4_rcv() or tcp_v6_rcv() dropped it for its checksum, an IPsec policy, a socket filter \
               (or a cgroup-skb program at ingress, which the kernel does not tell from one), the minimum TTL, \
               or an MD5 or AO signature that is missing or wrong.",
        client_sees: "ETIMEDOUT or its own timeout",
        server_sees: "nothing",
        facts: &[
            "kfree_skb(SYN) with reason TCP_CSUM, XFRM_POLICY, SOCKET_FILTER, TCP_MINTTL, TCP_AUTH_HDR, TCP_MD5* or \
             TCP_AO*",
        ],
        hooks: &["kfree_skb"],
        counter: None,
        recoverable: false,
        remedy: "the drop reason names the check: make both ends agree on it (keys, policy, offloads)",
        lab: Some("bad-segment"),
    },
    Row {
        cause: SynBacklogFull,
        slug: "syn-backlog-full",
        phase: Listener,
        title: "request queue full, no syncookies",
        what: "tcp_conn_request() found more half-open requests than the listen backlog \
               (inet_csk_reqsk_queue_is_full() compares with sk_max_ack_backlog, not with \
               tcp_max_syn_backlog), and net.ipv4.tcp_syncookies is 0. The SYN is freed without a drop \
               reason.",
        client_sees: "1, 3, 7 … s more, or ETIMEDOUT",
        server_sees: "nothing",
        facts: &[
            "a SYN was freed in tcp_rcv_state_process without a SYN-ACK before it",
            "the listener's request queue was longer than its backlog",
        ],
        hooks: &[
            "tcp_conn_request, tcp_make_synack (fentry, kprobe)",
            "tcp_syn_flood_action (fexit, kretprobe)",
            "net_dev_queue",
            "consume_skb",
        ],
        counter: Some("TCPReqQFullDrop"),
        recoverable: true,
        remedy: "net.ipv4.tcp_syncookies=1, or a larger backlog (and net.core.somaxconn, which caps it)",
        lab: Some("syn-backlog-full"),
    },
    Row {
        cause: SynBacklogLastQuarter,
        slug: "syn-backlog-last-quarter",
        phase: Listener,
        title: "last quarter of tcp_max_syn_backlog, no syncookies",
        what: "With net.ipv4.tcp_syncookies=0, tcp_conn_request() keeps the last quarter of \
               tcp_max_syn_backlog for peers that the route's metrics prove alive \
               (tcp_peer_is_proven()). The SYN is freed without a drop reason.",
        client_sees: "1, 3, 7 … s more, or ETIMEDOUT",
        server_sees: "nothing",
        facts: &[
            "a SYN was freed in tcp_rcv_state_process without a SYN-ACK before it",
            "neither of the listener's queues was full, and less than a quarter of tcp_max_syn_backlog was left",
        ],
        hooks: &[
            "tcp_conn_request, tcp_make_synack (fentry, kprobe)",
            "tcp_peer_is_proven (fexit, kretprobe)",
            "net_dev_queue",
            "consume_skb",
        ],
        counter: Some("ListenDrops"),
        recoverable: true,
        remedy: "raise net.ipv4.tcp_max_syn_backlog (read when the request comes), or tcp_syncookies=1",
        lab: Some("syn-backlog-last-quarter"),
    },
    Row {
        cause: AcceptQueueFullSyn,
        slug: "accept-queue-full-syn",
        phase: Listener,
        title: "accept queue full at the SYN",
        what: "tcp_conn_request() found sk_ack_backlog > sk_max_ack_backlog (sk_acceptq_is_full()): the \
               program accepts more slowly than connections come. The SYN is freed by consume_skb, without a \
               drop reason.",
        client_sees: "1, 3, 7 … s more, or ETIMEDOUT",
        server_sees: "nothing",
        facts: &[
            "a SYN was freed in tcp_rcv_state_process without a SYN-ACK before it",
            "the listener's accept queue was full",
        ],
        hooks: &[
            "tcp_conn_request, tcp_make_synack (fentry, kprobe)",
            "net_dev_queue",
            "consume_skb",
        ],
        counter: Some("ListenOverflows"),
        recoverable: true,
        remedy: "accept faster, or listen with a larger backlog (capped by net.core.somaxconn when listen() \
                 is called)",
        lab: Some("accept-queue-full-syn"),
    },
    Row {
        cause: NoRequestMemory,
        slug: "no-request-memory",
        phase: Listener,
        title: "the listener could not make a request of the SYN",
        what: "tcp_conn_request() dropped the SYN for another reason than its queues: inet_reqsk_alloc() \
               without memory, no route back (route_req()), an LSM, or a duplicate in the hash.",
        client_sees: "1, 3, 7 … s more, or ETIMEDOUT",
        server_sees: "nothing",
        facts: &[
            "a SYN was freed in tcp_rcv_state_process without a SYN-ACK before it",
            "the listener is known, and neither of its queues was full",
        ],
        hooks: &["tcp_conn_request, tcp_make_synack (fentry, kprobe)"],
        counter: Some("ListenDrops"),
        recoverable: true,
        remedy: "see to memory (memory.max, tcp_mem) and to a route back to the client",
        lab: Some("no-request-memory"),
    },
    Row {
        cause: TimeWaitHit,
        slug: "time-wait-hit",
        phase: Listener,
        title: "the tuple was still in TIME_WAIT on the server",
        what: "tcp_timewait_state_process() took the SYN for an old segment: neither its sequence number nor \
               its timestamp is beyond those of the last connection. It answers with an ACK, which the \
               client resets; a FIN_WAIT_2 mini-socket resets at once.",
        client_sees: "a round trip more; ECONNREFUSED if the server was in FIN_WAIT_2",
        server_sees: "nothing",
        facts: &["kfree_skb(SYN) or tcp_send_reset with the receiving socket in TIME_WAIT"],
        hooks: &["kfree_skb", "tcp_send_reset"],
        counter: Some("PAWSEstab"),
        recoverable: true,
        remedy: "keep net.ipv4.tcp_timestamps=1, use a tuple again only after 60 s, or let the client close \
                 first",
        lab: Some("time-wait-hit"),
    },
    Row {
        cause: StaleEstablished,
        slug: "stale-established",
        phase: Listener,
        title: "the server still held an older connection with this tuple",
        what: "The SYN met an ESTABLISHED socket of an earlier life: tcp_validate_incoming() answers with a \
               challenge ACK, the client resets it, and the next SYN finds the way free. A request of an earlier \
               life answers likewise (tcp_check_req()).",
        client_sees: "1 s more",
        server_sees: "ECONNRESET on the old connection",
        facts: &[
            "kfree_skb(SYN) with reason TCP_INVALID_SYN and the receiving socket not a listener, or with reason \
             TCP_OVERWINDOW or TCP_RFC7323_PAWS",
        ],
        hooks: &["kfree_skb"],
        counter: Some("TCPSYNChallenge"),
        recoverable: true,
        remedy: "let the server notice dead peers: SO_KEEPALIVE or TCP_USER_TIMEOUT; do not reuse tuples of \
                 a client that crashed, or that gave up less than 63 s ago (tcp_synack_retries)",
        lab: Some("stale-established"),
    },
    Row {
        cause: Fastopen,
        slug: "fastopen",
        phase: Listener,
        title: "TCP Fast Open fell back or was refused",
        what: "tcp_try_fastopen() did not take the data in the SYN: no valid cookie, or the fast open queue \
               of the listener was full. An ordinary handshake follows, so it decides no attempt: the report says in a \
               note how many SYNs it met.",
        client_sees: "a round trip more",
        server_sees: "an ordinary connection",
        facts: &["the counter TCPFastOpenListenOverflow rose"],
        hooks: &["the host's counters"],
        counter: Some("TCPFastOpenListenOverflow"),
        recoverable: true,
        remedy: "a longer queue: the value of setsockopt(TCP_FASTOPEN) at the listener",
        lab: Some("fastopen"),
    },
    Row {
        cause: SynackLost,
        slug: "synack-lost",
        phase: SynAck,
        title: "the SYN-ACK was dropped on its way back",
        what: "The listener answered, and the answer was freed with a drop reason: by a rule, a queue, a \
               filter, as a SYN can be.",
        client_sees: "1, 3, 7 … s more, or ETIMEDOUT",
        server_sees: "a request in SYN_RECV that repeats its SYN-ACK",
        facts: &["kfree_skb(SYN-ACK)"],
        hooks: &["kfree_skb", "tcp_retransmit_synack"],
        counter: None,
        recoverable: true,
        remedy: "the drop reason names the place: rules, qdisc, rp_filter or neighbour of the way back",
        lab: Some("synack-lost"),
    },
    Row {
        cause: SynackRejected,
        slug: "synack-rejected",
        phase: SynAck,
        title: "the client rejected the SYN-ACK",
        what: "tcp_rcv_synsent_state_process() found an acknowledgement that is not of its SYN, or a \
               timestamp echo it did not send, and answered with a RST. Mostly an old answer, or a middlebox \
               that rewrites.",
        client_sees: "a retry, or ETIMEDOUT",
        server_sees: "the request is reset",
        facts: &[
            "kfree_skb(SYN-ACK) at the client with reason TCP_INVALID_ACK_SEQUENCE or TCP_RFC7323_PAWS",
            "or tcp_send_reset from the client's socket in SYN_SENT, in answer to a SYN-ACK",
        ],
        hooks: &["tcp_send_reset", "kfree_skb"],
        counter: Some("PAWSActive"),
        recoverable: true,
        remedy: "look for a middlebox that rewrites sequence numbers or timestamps, and for tuples used again \
                 at once",
        lab: Some("synack-rejected"),
    },
    Row {
        cause: SynUnanswered,
        slug: "syn-unanswered",
        phase: SynAck,
        title: "no answer to any SYN; nothing on this host dropped them",
        what: "tcp_write_timeout() ended SYN_SENT after net.ipv4.tcp_syn_retries. Stated only when all hooks \
               were there and none saw a segment of this attempt dropped: it got lost beyond this host.",
        client_sees: "ETIMEDOUT (about 127 s with 6 retries, from Linux 6.5 on 131 s)",
        server_sees: "nothing, or a request that is never completed",
        facts: &[
            "SYN_SENT to CLOSE with ETIMEDOUT",
            "SYN retransmits",
            "no drop on this host",
        ],
        hooks: &["inet_sock_set_state", "tcp_retransmit_skb", "kfree_skb"],
        counter: Some("TCPTimeouts"),
        recoverable: true,
        remedy: "trace on the server's host too, and join both records with c1m report",
        lab: Some("syn-unanswered"),
    },
    Row {
        cause: RequestExpired,
        slug: "request-expired",
        phase: SynAck,
        title: "the server gave the request up",
        what: "reqsk_timer_handler() repeated the SYN-ACK net.ipv4.tcp_synack_retries times without a final \
               ACK that it could use, or pruned young requests because the queue was half full. It tells \
               nobody.",
        client_sees: "half-open if it was ESTABLISHED; else ETIMEDOUT",
        server_sees: "nothing",
        facts: &[
            "SYN-ACK retransmits that stop",
            "no child of the request",
            "no ACK dropped",
        ],
        hooks: &[
            "reqsk_timer_handler (fentry, kprobe)",
            "tcp_retransmit_synack",
            "inet_sock_set_state",
            "reqsk_timer_handler (kprobe)",
        ],
        counter: None,
        recoverable: false,
        remedy: "find what keeps the final ACK away; net.ipv4.tcp_synack_retries buys time",
        lab: Some("request-expired"),
    },
    Row {
        cause: AcceptQueueFullAck,
        slug: "accept-queue-full-ack",
        phase: FinalAck,
        title: "accept queue full at the final ACK: half-open",
        what: "tcp_v4_syn_recv_sock() or its IPv6 twin found sk_acceptq_is_full() and made no child; with \
               tcp_abort_on_overflow=0 the request stays, and its SYN-ACK is repeated after 1, 3, 7 … s until \
               there is room or tcp_synack_retries is spent. Reason TCP_LISTEN_OVERFLOW, NOT_SPECIFIED up to \
               6.12.",
        client_sees: "an established connection that nobody serves: half-open",
        server_sees: "nothing",
        facts: &[
            "kfree_skb(ACK) at a listener whose accept queue was full",
            "no child of the request became ESTABLISHED",
        ],
        hooks: &[
            "tcp_v4_syn_recv_sock, tcp_v6_syn_recv_sock (fexit, kretprobe)",
            "kfree_skb",
            "inet_sock_set_state",
            "tcp_retransmit_synack",
        ],
        counter: Some("ListenOverflows"),
        recoverable: true,
        remedy: "listen with a larger backlog (capped by net.core.somaxconn when listen() is called), or \
                 accept faster",
        lab: Some("accept-queue-full-ack"),
    },
    Row {
        cause: AcceptQueueFullReset,
        slug: "accept-queue-full-reset",
        phase: FinalAck,
        title: "accept queue full at the final ACK: reset",
        what: "As accept-queue-full-ack, with net.ipv4.tcp_abort_on_overflow=1: tcp_check_req() resets the \
               client (embryonic_reset) instead of keeping the request.",
        client_sees: "ECONNRESET right after connect()",
        server_sees: "nothing",
        facts: &[
            "kfree_skb(ACK) at a listener whose accept queue was full",
            "tcp_send_reset by that listener",
        ],
        hooks: &[
            "tcp_v4_syn_recv_sock, tcp_v6_syn_recv_sock (fexit, kretprobe)",
            "kfree_skb",
            "tcp_send_reset",
        ],
        counter: Some("ListenOverflows"),
        recoverable: false,
        remedy: "a larger backlog; tcp_abort_on_overflow=0 gives the client a second chance",
        lab: Some("accept-queue-full-reset"),
    },
    Row {
        cause: AcceptQueueFullCookie,
        slug: "accept-queue-full-cookie",
        phase: FinalAck,
        title: "accept queue full at the final ACK, by syncookie: half-open for good",
        what: "The SYN was answered by a syncookie, and when the final ACK came the accept queue was full: \
               tcp_get_cookie_sock() made no child. There is no request, so no SYN-ACK is repeated, and \
               tcp_abort_on_overflow is not asked. Reason NO_SOCKET from 6.12, NOT_SPECIFIED on 6.1.",
        client_sees: "an established connection that nobody serves. When it sends data, that ACK makes the child if \
                      there is room by then and the cookie is younger than two minutes, and is reset if not",
        server_sees: "nothing",
        facts: &[
            "kfree_skb(ACK) with reason NO_SOCKET at a listener whose accept queue was full",
            "no child became ESTABLISHED",
        ],
        hooks: &[
            "tcp_v4_syn_recv_sock, tcp_v6_syn_recv_sock (fexit, kretprobe)",
            "kfree_skb",
            "inet_sock_set_state",
        ],
        counter: Some("ListenOverflows"),
        recoverable: true,
        remedy: "listen with a larger backlog: the request queue, which decides on cookies, is measured \
                 against the same number",
        lab: Some("accept-queue-full-cookie"),
    },
    Row {
        cause: CookieInvalid,
        slug: "cookie-invalid",
        phase: FinalAck,
        title: "the syncookie was invalid or too old",
        what: "__cookie_v4_check() or its IPv6 twin did not recognise the acknowledged number as a cookie of \
               the last two minutes: the listener answers with a RST. Any stray ACK to a listener that \
               lately sent cookies counts, too.",
        client_sees: "ECONNRESET right after connect()",
        server_sees: "nothing",
        facts: &["tcp_send_reset and kfree_skb(ACK) with reason TCP_FLAGS at a listener"],
        hooks: &["tcp_send_reset", "kfree_skb"],
        counter: Some("SyncookiesFailed"),
        recoverable: false,
        remedy: "a larger backlog, so that no cookies are needed; check that all servers behind one address \
                 share their cookie key",
        lab: Some("cookie-invalid"),
    },
    Row {
        cause: ChildFailed,
        slug: "child-failed",
        phase: FinalAck,
        title: "the server could not make the socket for it",
        what: "tcp_v4_syn_recv_sock() or its IPv6 twin returned NULL though the accept queue had room: no \
               memory (tcp_create_openreq_child()), no route back, no bind bucket to inherit, or, by syncookie, the request of a \
               later SYN under the same tuple (inet_ehash_nolisten(), which no counter tells).",
        client_sees: "half-open, then as accept-queue-full-ack",
        server_sees: "nothing",
        facts: &[
            "kfree_skb(ACK) at a listener whose accept queue was not full, with the reason of a refused child",
        ],
        hooks: &[
            "tcp_v4_syn_recv_sock, tcp_v6_syn_recv_sock (fexit, kretprobe)",
            "kfree_skb",
            "inet_sock_set_state",
        ],
        counter: Some("ListenDrops"),
        recoverable: true,
        remedy: "see to memory (memory.max, tcp_mem) and to a route back to the client",
        lab: Some("child-failed"),
    },
    Row {
        cause: AckRejected,
        slug: "ack-rejected",
        phase: FinalAck,
        title: "the final ACK failed the request's checks",
        what: "tcp_check_req() refused it: timestamp too old (PAWS), a timestamp echo that was never sent, \
               out of the window, or a bare ACK under TCP_DEFER_ACCEPT, which waits for data.",
        client_sees: "half-open until a later segment passes",
        server_sees: "nothing",
        facts: &[
            "tcp_check_req() returned no socket for an ACK, or kfree_skb(ACK) with reason TCP_RFC7323_PAWS, \
             TCP_RFC7323_TSECR or TCP_OVERWINDOW",
            "or a bare ACK was freed for a listener with TCP_DEFER_ACCEPT, and nothing came after it",
        ],
        hooks: &["tcp_check_req (fexit, kretprobe)", "kfree_skb"],
        counter: Some("PAWSEstab"),
        recoverable: true,
        remedy: "look for a middlebox that rewrites timestamps; with TCP_DEFER_ACCEPT the client has to \
                 speak first",
        lab: Some("ack-rejected"),
    },
    Row {
        cause: ListenerGone,
        slug: "listener-gone",
        phase: FinalAck,
        title: "the listener went away during the handshake",
        what: "The request's listener left LISTEN, and reuseport_migrate_sock() found no other to take the \
               request over (it looks only with net.ipv4.tcp_migrate_req=1 or a migrating BPF program).",
        client_sees: "ECONNRESET, or half-open",
        server_sees: "nothing",
        facts: &[
            "a listener of the port went from LISTEN to CLOSE",
            "then a RST to, or a drop of, the final ACK with reason NO_SOCKET, or TCP_FLAGS by another listener of the \
             port",
            "or the request's timer found its listener closed",
        ],
        hooks: &[
            "inet_sock_set_state",
            "tcp_send_reset",
            "kfree_skb",
            "reqsk_timer_handler (fentry, kprobe)",
        ],
        counter: Some("TCPMigrateReqFailure"),
        recoverable: false,
        remedy: "keep one listening socket open across restarts (pass the descriptor on), or \
                 net.ipv4.tcp_migrate_req=1 with SO_REUSEPORT",
        lab: Some("listener-gone"),
    },
    Row {
        cause: ListenerClosed,
        slug: "listener-closed",
        phase: AcceptQueue,
        title: "the listener closed with the connection still in its queue",
        what: "inet_csk_listen_stop() disconnects every child that no program accepted \
               (inet_child_forget()) and resets its peer.",
        client_sees: "ECONNRESET on an established connection",
        server_sees: "nothing: no accept() ever returned it",
        facts: &[
            "the child left ESTABLISHED without an error and without a program (sk_socket NULL)",
            "its listener went from LISTEN to CLOSE",
        ],
        hooks: &[
            "inet_child_forget (kprobe)",
            "inet_sock_set_state",
            "tcp_send_reset",
        ],
        counter: None,
        recoverable: false,
        remedy: "accept until EAGAIN before closing the listener, or hand the listening socket to its successor",
        lab: Some("listener-closed"),
    },
    Row {
        cause: AcceptStarved,
        slug: "accept-starved",
        phase: AcceptQueue,
        title: "established, and never accepted",
        what: "The child stood in the accept queue to the end of the run. accept() allocates descriptor and \
               file before it takes a connection from the queue, so with EMFILE or ENFILE nothing is lost: it \
               is stuck; so it is when the program is too slow or has stopped accepting.",
        client_sees: "an established connection that nobody serves",
        server_sees: "accept() fails with EMFILE or ENFILE, or is not called",
        facts: &["the child is ESTABLISHED and has no program (inode 0) at the end"],
        hooks: &[
            "sock_diag",
            "the worker's own errno",
            "__sys_accept4 (fexit, kretprobe), sys_exit",
        ],
        counter: None,
        recoverable: true,
        remedy: "raise the server's RLIMIT_NOFILE, give it more processes, or make it accept",
        lab: Some("accept-starved"),
    },
    Row {
        cause: ResetQueued,
        slug: "reset-queued",
        phase: AcceptQueue,
        title: "reset by the client while in the accept queue",
        what: "A RST reached the child before any accept(): tcp_reset() closes it, and accept() still returns \
               it, a dead descriptor (ECONNABORTED only if its peer's name cannot be told).",
        client_sees: "what it did itself: it reset or aborted the connection",
        server_sees: "accept() succeeds, and the first read fails with ECONNRESET",
        facts: &["tcp_receive_reset at a child without a program (sk_socket NULL)"],
        hooks: &["tcp_receive_reset", "inet_sock_set_state"],
        counter: Some("TcpEstabResets"),
        recoverable: false,
        remedy: "accept faster, or let the client wait longer before it gives up",
        lab: Some("reset-queued"),
    },
    Row {
        cause: ResetByPeer,
        slug: "reset-by-peer",
        phase: Life,
        title: "reset by the peer",
        what: "tcp_reset() took in a valid RST on an accepted connection. The record says which end sent it, \
               and with which reason where the kernel gives one.",
        client_sees: "ECONNRESET, EPIPE after that",
        server_sees: "ECONNRESET, EPIPE after that",
        facts: &[
            "tcp_receive_reset, or a close with ECONNRESET",
            "no program on this end closed first",
        ],
        hooks: &["tcp_receive_reset", "inet_sock_set_state", "tcp_send_reset"],
        counter: Some("TcpEstabResets"),
        recoverable: false,
        remedy: "ask the end that sent it: it closed with unread data or SO_LINGER 0, or lost its state",
        lab: Some("reset-by-peer"),
    },
    Row {
        cause: ClosedByServer,
        slug: "closed-by-server",
        phase: Life,
        title: "closed by the server's program",
        what: "The server called close() or shutdown() (__tcp_close()) while the client held the connection: \
               a FIN, or a RST if data was unread or SO_LINGER was 0.",
        client_sees: "end of file, or ECONNRESET",
        server_sees: "its own close",
        facts: &["the server's end left ESTABLISHED first, by its own process, which lived on"],
        hooks: &["inet_sock_set_state", "tcp_send_reset"],
        counter: None,
        recoverable: false,
        remedy: "look into the server: its idle timeout, its limit on connections, its error path",
        lab: Some("closed-by-server"),
    },
    Row {
        cause: ServerExited,
        slug: "server-exited",
        phase: Life,
        title: "the server's process exited",
        what: "do_exit() closes every descriptor of the process: its connections end in the context of a task \
               with PF_EXITING, whatever killed it.",
        client_sees: "end of file, or ECONNRESET",
        server_sees: "a process is gone",
        facts: &["the server's end was closed by an exiting process (PF_EXITING)"],
        hooks: &[
            "inet_sock_set_state",
            "mark_victim",
            "the supervisor's wait status",
        ],
        counter: None,
        recoverable: false,
        remedy: "find out what ended that pid: its wait status, dmesg, coredumpctl; that the OOM killer took it is told",
        lab: Some("server-exited"),
    },
    Row {
        cause: ClientExited,
        slug: "client-exited",
        phase: Life,
        title: "the client's process exited",
        what: "do_exit() closes every descriptor of the process: its connections end in the context of a task \
               with PF_EXITING, whatever killed it.",
        client_sees: "a process is gone",
        server_sees: "end of file, or ECONNRESET",
        facts: &["the client's end was closed by an exiting process (PF_EXITING)"],
        hooks: &[
            "inet_sock_set_state",
            "mark_victim",
            "the supervisor's wait status",
        ],
        counter: None,
        recoverable: false,
        remedy: "find out what ended that pid: its wait status, dmesg, coredumpctl; that the OOM killer took it is told",
        lab: Some("client-exited"),
    },
    Row {
        cause: TimedOut,
        slug: "timed-out",
        phase: Life,
        title: "the peer stopped answering (ETIMEDOUT)",
        what: "An established connection was given up by tcp_write_err(): retransmits (tcp_retries2), \
               TCP_USER_TIMEOUT, zero window probes or keepalives went without an answer.",
        client_sees: "ETIMEDOUT, or nothing if it was the server's end",
        server_sees: "ETIMEDOUT; nothing, or a RST, if it was the client's end",
        facts: &["ESTABLISHED to CLOSE with ETIMEDOUT at either end"],
        hooks: &["inet_sock_set_state", "tcp_send_reset"],
        counter: Some("TCPAbortOnTimeout"),
        recoverable: false,
        remedy: "find what stops the path; the timers are tcp_retries2, TCP_USER_TIMEOUT and tcp_keepalive_*",
        lab: Some("timed-out"),
    },
    Row {
        cause: MemoryPressure,
        slug: "memory-pressure",
        phase: Life,
        title: "aborted on this host: TCP memory, or orphans",
        what: "tcp_check_oom() found too many orphans (tcp_max_orphans) or TCP memory beyond tcp_mem, and \
               reset the connection.",
        client_sees: "ECONNRESET",
        server_sees: "ECONNRESET",
        facts: &["tcp_send_reset with reason TCP_ABORT_ON_MEMORY, or tcp_check_oom returned true"],
        hooks: &["tcp_check_oom (fexit, kretprobe)", "tcp_send_reset"],
        counter: Some("TCPAbortOnMemory"),
        recoverable: false,
        remedy: "raise net.ipv4.tcp_mem (pages) or net.ipv4.tcp_max_orphans",
        lab: Some("memory-pressure"),
    },
    Row {
        cause: Destroyed,
        slug: "destroyed",
        phase: Life,
        title: "its socket was destroyed from outside (ss -K)",
        what: "Somebody asked the kernel to abort the socket: `ss -K` and whatever else sends SOCK_DESTROY to \
               sock_diag, or a BPF program by bpf_sock_destroy(). tcp_abort() reports ECONNABORTED to its owner and sends \
               a RST to its peer.",
        client_sees: "ECONNABORTED, or ECONNRESET if it was the server's end",
        server_sees: "ECONNRESET, or ECONNABORTED if it was its own end",
        facts: &["a socket left for CLOSE with ECONNABORTED, which nothing else sets"],
        hooks: &["inet_sock_set_state"],
        counter: None,
        recoverable: false,
        remedy: "find who destroys sockets on this host: ss -K, a network manager or a load balancer (Cilium)",
        lab: Some("destroyed"),
    },
    Row {
        cause: TimeWaitOverflow,
        slug: "time-wait-overflow",
        phase: Life,
        title: "no room for another TIME_WAIT socket",
        what: "inet_twsk_alloc() found net.ipv4.tcp_max_tw_buckets in use: the socket goes straight to CLOSE, \
               and a repeated FIN of the peer is answered with a RST. It decides no attempt: \
               the connection was closed. The report says in a note how many found no room.",
        client_sees: "ECONNRESET at worst; its data had arrived",
        server_sees: "nothing",
        facts: &[
            "the counter TCPTimeWaitOverflow rose",
            "inet_twsk_alloc returned NULL (kprobe)",
        ],
        hooks: &["inet_twsk_alloc (fexit, kretprobe)"],
        counter: Some("TCPTimeWaitOverflow"),
        recoverable: false,
        remedy: "raise net.ipv4.tcp_max_tw_buckets, or let the other end close first",
        lab: Some("time-wait-overflow"),
    },
    Row {
        cause: FinWait2Timeout,
        slug: "fin-wait-2-timeout",
        phase: Life,
        title: "FIN_WAIT_2 timed out before the peer closed",
        what: "This end closed, the peer acknowledged but never sent its own FIN; after tcp_fin_timeout an \
               orphan in FIN_WAIT_2 is dropped, and whatever the peer sends later is answered with a RST. It \
               decides no attempt: the connection was closed. The report counts FIN_WAIT_2 among the states.",
        client_sees: "a RST on late data",
        server_sees: "a RST on late data",
        facts: &["FIN_WAIT1 to FIN_WAIT2", "no FIN of the peer"],
        hooks: &["inet_sock_set_state"],
        counter: None,
        recoverable: false,
        remedy: "let the peer close what was closed on it; net.ipv4.tcp_fin_timeout is the wait",
        lab: Some("fin-wait-2-timeout"),
    },
    Row {
        cause: EvidenceLost,
        slug: "evidence-lost",
        phase: Ledger,
        title: "evidence lost: the tracer had no room for the facts",
        what: "A map or buffer of the tracer was full when a fact of this run came, or the kernel skipped a hook. The \
               connection is lost for certain; its cause may have been among what found no room or was skipped.",
        client_sees: "depends on the cause",
        server_sees: "depends on the cause",
        facts: &[
            "nothing matched",
            "the count of facts without room is not 0, or the kernel ran no program in some timer interrupts",
        ],
        hooks: &["the tracer's own counters, per hook"],
        counter: None,
        recoverable: false,
        remedy: "run again with a larger c1m trace --entries",
        lab: Some("evidence-lost"),
    },
    Row {
        cause: NotObservable,
        slug: "not-observable",
        phase: Ledger,
        title: "not observable: there was no hook where it happened",
        what: "This kernel, or this user's privileges, lack a hook that the remaining causes need; the report \
               names it. Or it happened between the ends, in a network namespace that is not traced. No evidence \
               is never taken for evidence.",
        client_sees: "depends on the cause",
        server_sees: "depends on the cause",
        facts: &["nothing matched", "a hook that could have told is missing"],
        hooks: &["the list of missing hooks in the report"],
        counter: None,
        recoverable: false,
        remedy: "run c1m trace as root, on a kernel that has the hooks named below, with --netns for every network \
                 namespace between the ends",
        lab: None,
    },
    Row {
        cause: Unexplained,
        slug: "unexplained",
        phase: Ledger,
        title: "unexplained: everything was seen, and no cause matched",
        what: "Every hook was attached, nothing was dropped, and the facts of this attempt fit no row of this \
               table. This is a gap of c1m, and worth a report with the record.",
        client_sees: "depends on the cause",
        server_sees: "depends on the cause",
        facts: &[
            "nothing matched",
            "no hook is missing",
            "no fact found no room",
        ],
        hooks: &["all of them"],
        counter: None,
        recoverable: false,
        remedy: "send the record (--json): its attempts list what was seen of each",
        lab: None,
    },
];
