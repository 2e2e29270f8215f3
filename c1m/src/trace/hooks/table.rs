//! The rows: for each fact the best hook first.

use super::{Backend, Cost, Fact, Hook, Part, Point};

/// A program without which its hook is of no use.
const fn part(program: &'static str, point: Point) -> Part {
    Part {
        program,
        point,
        args_min: 0,
        needed: true,
    }
}

/// Likewise, at a tracepoint of at least so many arguments.
const fn tracepoint(program: &'static str, name: &'static str, args_min: u32) -> Part {
    Part {
        args_min,
        ..part(program, Point::Tracepoint(name))
    }
}

/// Likewise, at a tracepoint whose arguments' types the program relies on.
const fn typed(program: &'static str, name: &'static str, args_min: u32) -> Part {
    Part {
        args_min,
        ..part(program, Point::Typed(name))
    }
}

/// A part whose function may be missing, or inlined: the others infer what it would tell.
const fn optional(part: Part) -> Part {
    Part {
        needed: false,
        ..part
    }
}

/// All hooks, those of one fact together.
pub static HOOKS: &[Hook] = &[
    Hook {
        fact: Fact::States,
        backend: Backend::Tracepoint,
        parts: &[typed("set_state_by_program", "inet_sock_set_state", 3)],
        cost: Cost::PerConnection(4),
        without: "who closed a connection, and why",
    },
    Hook {
        fact: Fact::StatesByNetwork,
        backend: Backend::Tracepoint,
        parts: &[typed("set_state_by_network", "inet_sock_set_state", 3)],
        cost: Cost::PerConnection(4),
        without: "who closed a connection, and why",
    },
    Hook {
        fact: Fact::StatesPreempted,
        backend: Backend::Tracepoint,
        parts: &[part(
            "set_state_by_event",
            Point::Event("sock", "inet_sock_set_state"),
        )],
        cost: Cost::PerConnection(4),
        without: "what both programs that look at states were preempted for (needs tracefs at /sys/kernel/tracing)",
    },
    Hook {
        fact: Fact::OldListeners,
        backend: Backend::Tracepoint,
        parts: &[part("find_listeners", Point::Iterator("tcp"))],
        cost: Cost::Once,
        without: "the queues of listeners that are older than the trace",
    },
    Hook {
        fact: Fact::SynDrops,
        backend: Backend::Fentry,
        parts: &[
            part("f_conn_request", Point::Fentry("tcp_conn_request")),
            part("f_make_synack", Point::Fentry("tcp_make_synack")),
            part("fx_conn_request", Point::Fexit("tcp_conn_request")),
            optional(part(
                "fx_syn_flood_action",
                Point::Fexit("tcp_syn_flood_action"),
            )),
            optional(part(
                "fx_peer_is_proven",
                Point::Fexit("tcp_peer_is_proven"),
            )),
        ],
        cost: Cost::PerConnection(3),
        without: "SYNs that a listener dropped",
    },
    Hook {
        fact: Fact::SynDrops,
        backend: Backend::Kprobe,
        parts: &[
            part("k_conn_request", Point::Kprobe("tcp_conn_request")),
            part("k_make_synack", Point::Kprobe("tcp_make_synack")),
            part("kr_conn_request", Point::Kretprobe("tcp_conn_request")),
            optional(part(
                "kr_syn_flood_action",
                Point::Kretprobe("tcp_syn_flood_action"),
            )),
            optional(part(
                "kr_peer_is_proven",
                Point::Kretprobe("tcp_peer_is_proven"),
            )),
        ],
        cost: Cost::PerConnection(3),
        without: "SYNs that a listener dropped",
    },
    Hook {
        fact: Fact::SynDrops,
        backend: Backend::Tracepoint,
        parts: &[
            typed("consume_skb", "consume_skb", 2),
            typed("consume_skb_again", "consume_skb", 2),
            typed("net_dev_queue", "net_dev_queue", 1),
            optional(tracepoint(
                "neigh_event_send_done",
                "neigh_event_send_done",
                2,
            )),
            optional(part("which_listener", Point::Lookup)),
        ],
        cost: Cost::PerConnection(4),
        without: "SYNs that a listener dropped",
    },
    Hook {
        fact: Fact::AckRefusals,
        backend: Backend::Fentry,
        parts: &[
            part("f_syn_recv_sock_v4", Point::Fentry("tcp_v4_syn_recv_sock")),
            part("fx_syn_recv_sock_v4", Point::Fexit("tcp_v4_syn_recv_sock")),
            optional(part(
                "f_syn_recv_sock_v6",
                Point::Fentry("tcp_v6_syn_recv_sock"),
            )),
            optional(part(
                "fx_syn_recv_sock_v6",
                Point::Fexit("tcp_v6_syn_recv_sock"),
            )),
        ],
        cost: Cost::PerConnection(2),
        without: "final ACKs that a listener refused",
    },
    Hook {
        fact: Fact::AckRefusals,
        backend: Backend::Kprobe,
        parts: &[
            part("k_syn_recv_sock", Point::Kprobe("tcp_v4_syn_recv_sock")),
            part("kr_syn_recv_sock", Point::Kretprobe("tcp_v4_syn_recv_sock")),
            optional(part(
                "k_syn_recv_sock",
                Point::Kprobe("tcp_v6_syn_recv_sock"),
            )),
            optional(part(
                "kr_syn_recv_sock",
                Point::Kretprobe("tcp_v6_syn_recv_sock"),
            )),
        ],
        cost: Cost::PerConnection(2),
        without: "final ACKs that a listener refused",
    },
    Hook {
        fact: Fact::AckRefusals,
        backend: Backend::Tracepoint,
        parts: &[
            tracepoint("kfree_skb", "kfree_skb", 4),
            tracepoint("kfree_skb_again", "kfree_skb", 4),
        ],
        cost: Cost::OnFailure,
        without: "final ACKs that a listener refused",
    },
    Hook {
        fact: Fact::AckChecks,
        backend: Backend::Fentry,
        parts: &[part("fx_request_check", Point::Fexit("tcp_check_req"))],
        cost: Cost::PerConnection(1),
        without: "final ACKs that failed a check of the request",
    },
    Hook {
        fact: Fact::AckChecks,
        backend: Backend::Kprobe,
        parts: &[
            part("k_request_check", Point::Kprobe("tcp_check_req")),
            part("kr_request_check", Point::Kretprobe("tcp_check_req")),
        ],
        cost: Cost::PerConnection(2),
        without: "final ACKs that failed a check of the request",
    },
    Hook {
        fact: Fact::AckChecks,
        backend: Backend::Tracepoint,
        parts: &[
            tracepoint("kfree_skb", "kfree_skb", 4),
            tracepoint("kfree_skb_again", "kfree_skb", 4),
        ],
        cost: Cost::OnFailure,
        without: "final ACKs that failed a check of the request",
    },
    Hook {
        fact: Fact::Drops,
        backend: Backend::Tracepoint,
        parts: &[
            tracepoint("kfree_skb", "kfree_skb", 2),
            tracepoint("kfree_skb_again", "kfree_skb", 2),
        ],
        cost: Cost::OnFailure,
        without: "why a segment was dropped",
    },
    Hook {
        fact: Fact::DropReasons,
        backend: Backend::Fentry,
        parts: &[
            part("fx_timewait", Point::Fexit("tcp_timewait_state_process")),
            part("fx_check_req", Point::Fexit("tcp_check_req")),
            // Missing from a kernel without CONFIG_CGROUP_BPF, where nothing is to be told.
            optional(part(
                "fx_cgroup_filter",
                Point::Fexit("__cgroup_bpf_run_filter_skb"),
            )),
        ],
        cost: Cost::PerConnection(1),
        without: "why a segment was dropped that a socket did not want",
    },
    Hook {
        fact: Fact::DropReasons,
        backend: Backend::Kprobe,
        parts: &[
            part("k_look", Point::Kprobe("tcp_timewait_state_process")),
            part(
                "kr_timewait",
                Point::Kretprobe("tcp_timewait_state_process"),
            ),
            part("k_check_req", Point::Kprobe("tcp_check_req")),
            part("kr_check_req", Point::Kretprobe("tcp_check_req")),
            // Both are missing from a kernel without CONFIG_CGROUP_BPF, where nothing is to be told.
            optional(part(
                "k_cgroup_filter",
                Point::Kprobe("__cgroup_bpf_run_filter_skb"),
            )),
            optional(part(
                "kr_cgroup_filter",
                Point::Kretprobe("__cgroup_bpf_run_filter_skb"),
            )),
        ],
        cost: Cost::PerConnection(2),
        without: "why a segment was dropped that a socket did not want",
    },
    Hook {
        fact: Fact::ConntrackFull,
        backend: Backend::Kprobe,
        parts: &[part("kr_early_drop", Point::Kretprobe("early_drop"))],
        cost: Cost::OnFailure,
        without: "a full conntrack table, told apart from a drop rule",
    },
    Hook {
        fact: Fact::SynRetransmits,
        backend: Backend::Tracepoint,
        parts: &[tracepoint("tcp_retransmit_skb", "tcp_retransmit_skb", 2)],
        cost: Cost::OnFailure,
        without: "how often a SYN was sent",
    },
    Hook {
        fact: Fact::SynAckRetransmits,
        backend: Backend::Tracepoint,
        parts: &[tracepoint(
            "tcp_retransmit_synack",
            "tcp_retransmit_synack",
            2,
        )],
        cost: Cost::OnFailure,
        without: "requests that wait for their final ACK",
    },
    Hook {
        fact: Fact::RequestsExpired,
        backend: Backend::Fentry,
        parts: &[
            part("f_reqsk_timer", Point::Fentry("reqsk_timer_handler")),
            part("fx_reqsk_timer", Point::Fexit("reqsk_timer_handler")),
        ],
        cost: Cost::OnFailure,
        without: "requests that the listener gave up",
    },
    Hook {
        fact: Fact::RequestsExpired,
        backend: Backend::Kprobe,
        parts: &[
            part("k_reqsk_timer", Point::Kprobe("reqsk_timer_handler")),
            part("kr_reqsk_timer", Point::Kretprobe("reqsk_timer_handler")),
        ],
        cost: Cost::OnFailure,
        without: "requests that the listener gave up",
    },
    Hook {
        fact: Fact::RequestsExpired,
        backend: Backend::Tracepoint,
        parts: &[tracepoint(
            "tcp_retransmit_synack",
            "tcp_retransmit_synack",
            2,
        )],
        cost: Cost::OnFailure,
        without: "requests that the listener gave up",
    },
    Hook {
        fact: Fact::ResetsSent,
        backend: Backend::Tracepoint,
        parts: &[
            tracepoint("tcp_send_reset", "tcp_send_reset", 3),
            tracepoint("tcp_send_reset_again", "tcp_send_reset", 3),
        ],
        cost: Cost::OnFailure,
        without: "which end sent a RST, and why",
    },
    Hook {
        fact: Fact::ResetsSent,
        backend: Backend::Fentry,
        parts: &[
            part("f_send_reset_v4", Point::Fentry("tcp_v4_send_reset")),
            optional(part("f_send_reset_v6", Point::Fentry("tcp_v6_send_reset"))),
            part(
                "f_send_active_reset",
                Point::Fentry("tcp_send_active_reset"),
            ),
        ],
        cost: Cost::OnFailure,
        without: "which end sent a RST, and why",
    },
    Hook {
        fact: Fact::ResetsSent,
        backend: Backend::Kprobe,
        parts: &[
            part("k_send_reset", Point::Kprobe("tcp_v4_send_reset")),
            optional(part("k_send_reset", Point::Kprobe("tcp_v6_send_reset"))),
            part(
                "k_send_active_reset",
                Point::Kprobe("tcp_send_active_reset"),
            ),
        ],
        cost: Cost::OnFailure,
        without: "which end sent a RST, and why",
    },
    Hook {
        fact: Fact::ResetsSent,
        backend: Backend::Tracepoint,
        parts: &[
            tracepoint("tcp_send_reset", "tcp_send_reset", 2),
            tracepoint("tcp_send_reset_again", "tcp_send_reset", 2),
        ],
        cost: Cost::OnFailure,
        without: "which end sent a RST, and why",
    },
    Hook {
        fact: Fact::ResetsReceived,
        backend: Backend::Tracepoint,
        parts: &[
            tracepoint("tcp_receive_reset", "tcp_receive_reset", 1),
            tracepoint("tcp_receive_reset_again", "tcp_receive_reset", 1),
        ],
        cost: Cost::OnFailure,
        without: "RSTs that answer a SYN",
    },
    Hook {
        fact: Fact::IcmpErrors,
        backend: Backend::Tracepoint,
        parts: &[
            tracepoint("inet_sk_error_report", "inet_sk_error_report", 1),
            optional(typed("consume_skb", "consume_skb", 2)),
            optional(typed("consume_skb_again", "consume_skb", 2)),
        ],
        cost: Cost::PerConnection(1),
        without: "ICMP errors that end an attempt",
    },
    Hook {
        fact: Fact::IcmpErrors,
        backend: Backend::Kprobe,
        parts: &[part(
            "k_error_report",
            Point::Kprobe("sock_def_error_report"),
        )],
        cost: Cost::OnFailure,
        without: "ICMP errors that end an attempt",
    },
    Hook {
        fact: Fact::Forgotten,
        backend: Backend::Kprobe,
        parts: &[part("k_child_forget", Point::Kprobe("inet_child_forget"))],
        cost: Cost::OnFailure,
        without: "connections that ended in a closed listener's queue",
    },
    Hook {
        fact: Fact::Forgotten,
        backend: Backend::Tracepoint,
        parts: &[typed("set_state_by_program", "inet_sock_set_state", 3)],
        cost: Cost::OnFailure,
        without: "connections that ended in a closed listener's queue",
    },
    Hook {
        fact: Fact::OutOfMemory,
        backend: Backend::Fentry,
        parts: &[
            part("f_check_oom", Point::Fentry("tcp_check_oom")),
            part("fx_check_oom", Point::Fexit("tcp_check_oom")),
        ],
        cost: Cost::OnFailure,
        without: "connections given up for want of memory",
    },
    Hook {
        fact: Fact::OutOfMemory,
        backend: Backend::Kprobe,
        parts: &[
            part("k_check_oom", Point::Kprobe("tcp_check_oom")),
            part("kr_check_oom", Point::Kretprobe("tcp_check_oom")),
        ],
        cost: Cost::OnFailure,
        without: "connections given up for want of memory",
    },
    Hook {
        fact: Fact::OutOfMemory,
        backend: Backend::Tracepoint,
        parts: &[
            tracepoint("tcp_send_reset", "tcp_send_reset", 3),
            tracepoint("tcp_send_reset_again", "tcp_send_reset", 3),
        ],
        cost: Cost::OnFailure,
        without: "connections given up for want of memory",
    },
    Hook {
        fact: Fact::OomVictims,
        backend: Backend::Tracepoint,
        parts: &[tracepoint("mark_victim", "mark_victim", 1)],
        cost: Cost::OnFailure,
        without: "processes that the OOM killer chose",
    },
    Hook {
        fact: Fact::TimeWait,
        backend: Backend::Fentry,
        parts: &[part("f_time_wait", Point::Fentry("tcp_time_wait"))],
        cost: Cost::PerConnection(1),
        without: "sockets that entered TIME_WAIT",
    },
    Hook {
        fact: Fact::TimeWait,
        backend: Backend::Kprobe,
        parts: &[part("k_time_wait", Point::Kprobe("tcp_time_wait"))],
        cost: Cost::PerConnection(1),
        without: "sockets that entered TIME_WAIT",
    },
    Hook {
        fact: Fact::TimeWait,
        backend: Backend::Tracepoint,
        parts: &[typed("set_state_by_network", "inet_sock_set_state", 3)],
        cost: Cost::OnFailure,
        without: "sockets that entered TIME_WAIT",
    },
    Hook {
        fact: Fact::TimeWaitRefused,
        backend: Backend::Fentry,
        parts: &[
            part("f_twsk_alloc", Point::Fentry("inet_twsk_alloc")),
            part("fx_twsk_alloc", Point::Fexit("inet_twsk_alloc")),
        ],
        cost: Cost::PerConnection(2),
        without: "sockets that found no room for their TIME_WAIT",
    },
    Hook {
        fact: Fact::TimeWaitRefused,
        backend: Backend::Kprobe,
        parts: &[
            part("k_twsk_alloc", Point::Kprobe("inet_twsk_alloc")),
            part("kr_twsk_alloc", Point::Kretprobe("inet_twsk_alloc")),
        ],
        cost: Cost::PerConnection(2),
        without: "sockets that found no room for their TIME_WAIT",
    },
    Hook {
        fact: Fact::PortsInTimeWait,
        backend: Backend::Fentry,
        parts: &[
            part("f_twsk_unique", Point::Fentry("tcp_twsk_unique")),
            part("fx_twsk_unique", Point::Fexit("tcp_twsk_unique")),
        ],
        cost: Cost::OnFailure,
        without: "ports that connect() found held by TIME_WAIT",
    },
    Hook {
        fact: Fact::PortsInTimeWait,
        backend: Backend::Kprobe,
        parts: &[
            part("k_twsk_unique", Point::Kprobe("tcp_twsk_unique")),
            part("kr_twsk_unique", Point::Kretprobe("tcp_twsk_unique")),
        ],
        cost: Cost::OnFailure,
        without: "ports that connect() found held by TIME_WAIT",
    },
    Hook {
        fact: Fact::Calls,
        backend: Backend::Fentry,
        parts: &[
            part("fx_socket", Point::Fexit("__sys_socket")),
            part("fx_bind", Point::Fexit("__sys_bind")),
            part("fx_connect", Point::Fexit("__sys_connect_file")),
            part("fx_accept", Point::Fexit("__sys_accept4")),
            tracepoint("process_fork", "sched_process_fork", 2),
            optional(tracepoint("process_exit", "sched_process_exit", 1)),
        ],
        cost: Cost::PerConnection(3),
        without: "why a program's socket(), bind() or connect() failed at once",
    },
    Hook {
        fact: Fact::Calls,
        backend: Backend::Kprobe,
        parts: &[
            part("k_socket", Point::Kprobe("__sys_socket")),
            part("kr_call", Point::Kretprobe("__sys_socket")),
            part("k_bind", Point::Kprobe("__sys_bind")),
            part("kr_call", Point::Kretprobe("__sys_bind")),
            part("k_connect", Point::Kprobe("__sys_connect_file")),
            part("kr_call", Point::Kretprobe("__sys_connect_file")),
            part("k_accept", Point::Kprobe("__sys_accept4")),
            part("kr_call", Point::Kretprobe("__sys_accept4")),
            tracepoint("process_fork", "sched_process_fork", 2),
            optional(tracepoint("process_exit", "sched_process_exit", 1)),
        ],
        cost: Cost::PerConnection(6),
        without: "why a program's socket(), bind() or connect() failed at once",
    },
    Hook {
        fact: Fact::Calls,
        backend: Backend::Tracepoint,
        parts: &[
            tracepoint("sys_exit", "sys_exit", 2),
            tracepoint("process_fork", "sched_process_fork", 2),
            optional(tracepoint("process_exit", "sched_process_exit", 1)),
        ],
        cost: Cost::PerConnection(10),
        without: "why a program's socket(), bind() or connect() failed at once",
    },
    Hook {
        fact: Fact::RingCalls,
        backend: Backend::Tracepoint,
        parts: &[
            tracepoint("ring_complete", "io_uring_complete", 3),
            tracepoint("process_fork", "sched_process_fork", 2),
            optional(tracepoint("process_exit", "sched_process_exit", 1)),
        ],
        cost: Cost::OnFailure,
        without: "why a program's socket(), bind(), connect() or accept() by io_uring failed at once",
    },
    Hook {
        fact: Fact::FilesRefused,
        backend: Backend::Fentry,
        parts: &[part(
            "fx_alloc_empty_file",
            Point::Fexit("alloc_empty_file"),
        )],
        cost: Cost::PerConnection(2),
        without: "files refused at fs.file-max",
    },
    Hook {
        fact: Fact::FilesRefused,
        backend: Backend::Kprobe,
        parts: &[part(
            "kr_alloc_empty_file",
            Point::Kretprobe("alloc_empty_file"),
        )],
        cost: Cost::PerConnection(2),
        without: "files refused at fs.file-max",
    },
    Hook {
        fact: Fact::DescriptorsRefused,
        backend: Backend::Fentry,
        parts: &[part("fx_alloc_fd", Point::Fexit("alloc_fd"))],
        cost: Cost::PerConnection(2),
        without: "descriptors refused at RLIMIT_NOFILE",
    },
    Hook {
        fact: Fact::DescriptorsRefused,
        backend: Backend::Kprobe,
        parts: &[part("kr_alloc_fd", Point::Kretprobe("alloc_fd"))],
        cost: Cost::PerConnection(2),
        without: "descriptors refused at RLIMIT_NOFILE",
    },
    Hook {
        fact: Fact::TimerInterrupts,
        backend: Backend::Tracepoint,
        parts: &[tracepoint("local_timer_entry", "local_timer_entry", 1)],
        cost: Cost::PerInterrupt,
        without: "timer interrupts in which the kernel ran no program",
    },
];
