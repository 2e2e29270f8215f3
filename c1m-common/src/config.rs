//! What the tracer tells the kernel side before it loads it.

/// How many network namespaces one trace can cover.
pub const NAMESPACES_MAX: usize = 8;
/// How many server ports one trace can cover.
pub const PORTS_MAX: usize = 8;

/// Places for what the state programs have done with each socket, where they can be preempted; a power of two. Two sockets that
/// share one must rarely be in the middle of a transition at once, however many had theirs while one was off its CPU.
pub const STATE_MARKS: u32 = 65_536;

/// How many functions tell by themselves why they freed a segment, where the kernel gives no reason.
pub const PLACES_MAX: usize = 20;
/// The place of those whose drops are a packet filter's.
pub const PLACE_OF_FILTER: usize = 0;

/// The filter and the abilities of this kernel, a read-only global: branches that cannot be taken here
/// are removed by the verifier.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Inode numbers of the namespaces to trace; 0 ends the list.
    pub namespaces: [u32; NAMESPACES_MAX],
    /// Server ports to trace, host byte order; 0 ends the list.
    pub ports: [u16; PORTS_MAX],
    /// Where `tcp_rcv_state_process` begins in the kernel's text; 0 if not known.
    pub rcv_state_process_start: u64,
    /// Where it ends.
    pub rcv_state_process_end: u64,
    /// Where `icmp_rcv` and `icmpv6_rcv` begin and end; 0 if that is not known.
    pub icmp: [[u64; 2]; 2],
    /// Functions that free a segment for one reason only, where kfree_skb tells none: begin and end; 0 ends the list.
    pub places: [[u64; 2]; PLACES_MAX],
    /// Arguments of the `kfree_skb` tracepoint: 2 to 5.16, 3 from 5.17, 4 from 6.11.
    pub kfree_skb_args: u32,
    /// Arguments of the `consume_skb` tracepoint: 1, later 2.
    pub consume_skb_args: u32,
    /// Arguments of the `tcp_send_reset` tracepoint: 2, later 3.
    pub send_reset_args: u32,
    /// `SKB_DROP_REASON_NOT_SPECIFIED` of this kernel.
    pub reason_not_specified: u32,
    /// `SKB_DROP_REASON_TCP_LISTEN_OVERFLOW` of this kernel; `u32::MAX` if it has none.
    pub reason_listen_overflow: u32,
    /// `SKB_DROP_REASON_NO_SOCKET` of this kernel; `u32::MAX` if it has none.
    pub reason_no_socket: u32,
    /// Whether `inet_csk_reqsk_queue_is_full` compares with `>=` (older kernels) instead of `>`.
    pub syn_queue_full_at_equal: u32,
    /// Whether a server that closes first is a failure of the run (a client that holds), which makes an entry,
    /// or everyday life (anybody's server), which only counts.
    pub server_close_is_loss: u32,
    /// Arguments of `tcp_v4_syn_recv_sock`, after which a function's exit finds its return value; likewise below.
    /// 0 if this kernel has no such function.
    pub syn_recv_sock_v4_args: u32,
    /// Arguments of `tcp_v6_syn_recv_sock`.
    pub syn_recv_sock_v6_args: u32,
    /// Arguments of `tcp_syn_flood_action`.
    pub syn_flood_action_args: u32,
    /// Arguments of `tcp_peer_is_proven`.
    pub peer_is_proven_args: u32,
    /// Arguments of `inet_twsk_alloc`.
    pub twsk_alloc_args: u32,
    /// Arguments of `tcp_twsk_unique`.
    pub twsk_unique_args: u32,
    /// Arguments of `tcp_check_oom`.
    pub check_oom_args: u32,
    /// Arguments of `alloc_empty_file`.
    pub alloc_empty_file_args: u32,
    /// Arguments of `alloc_fd`.
    pub alloc_fd_args: u32,
    /// Arguments of `__sys_socket`.
    pub sys_socket_args: u32,
    /// Arguments of `__sys_bind`.
    pub sys_bind_args: u32,
    /// Arguments of `__sys_connect_file`.
    pub sys_connect_file_args: u32,
    /// Arguments of `__sys_accept4`.
    pub sys_accept4_args: u32,
    /// Number of the system call socket(); likewise below.
    pub nr_socket: u32,
    /// bind()
    pub nr_bind: u32,
    /// connect()
    pub nr_connect: u32,
    /// accept()
    pub nr_accept: u32,
    /// accept4()
    pub nr_accept4: u32,
    /// `SKB_DROP_REASON_NETFILTER_DROP` of this kernel; `u32::MAX` if it has none.
    pub reason_netfilter_drop: u32,
    /// `SKB_DROP_REASON_TCP_INVALID_SYN` of this kernel; `u32::MAX` if it has none.
    pub reason_invalid_syn: u32,
    /// `tcp_v4_rcv` and `tcp_v6_rcv`, begin and end, where what else they free a SYN for is all hooked; else zeros.
    pub receive: [[u64; 2]; 2],
    /// `TCP_TW_SYN` of this kernel: TIME_WAIT makes room for a new connection.
    pub time_wait_syn: u32,
    /// Arguments of the `tcp_retransmit_skb` tracepoint: 2, later 3.
    pub retransmit_skb_args: u32,
    /// Arguments of `tcp_check_req`.
    pub check_req_args: u32,
    /// Arguments of `tcp_timewait_state_process`.
    pub timewait_args: u32,
    /// Arguments of `__cgroup_bpf_run_filter_skb`.
    pub cgroup_filter_args: u32,
    /// Whether a program at a tracepoint can be preempted (since Linux 7.0).
    pub preemptible_tracepoints: u32,
    /// Arguments of the `mark_victim` tracepoint: 1, later 2.
    pub mark_victim_args: u32,
    /// Whether clients' ends may have to be counted as servers' are: what runs is not ours, and its servers may be elsewhere.
    pub counts_clients: u32,
}

const _: () =
    assert!(size_of::<Config>() == 32 + 16 + 16 + 32 + 16 * PLACES_MAX + 28 * 4 + 32 + 32);

/// What the words of the `WORDS` map say.
pub mod word {
    /// The [`phase`](super::phase) of the trace.
    pub const PHASE: u32 = 0;
    /// Whether SYNs that a listener drops are told by what is sent, and not by the functions that drop them.
    pub const INFERS_SYN_DROPS: u32 = 1;
    /// Whether functions tell of a traced command's calls, and not each system call's end.
    pub const CALLS_BY_FUNCTION: u32 = 2;
    /// How many there are.
    pub const COUNT: u32 = 3;
}

/// Phases of a trace.
pub mod phase {
    /// Being attached: nothing is counted or folded, only listeners are kept.
    pub const ATTACHING: u32 = 0;
    /// All is attached, and the census of what stands before the run is being taken: what changes is noted in
    /// `CHANGED`, the last change of each tuple.
    pub const STARTING: u32 = 1;
    /// The run.
    pub const RUNNING: u32 = 2;
    /// The end: facts no longer change, what changes is noted in `CHANGED` for the census, the first change of
    /// each tuple.
    pub const ENDED: u32 = 3;
}

/// The `CHANGED` map's values: what happened to one end of a connection while a census was being taken.
pub mod changed {
    /// In [`Tuple::pad`](crate::tuple::Tuple::pad) of a key: it was the client's end.
    pub const CLIENT: u32 = 1;
    /// It was established.
    pub const ESTABLISHED: u32 = 1;
    /// It left ESTABLISHED.
    pub const CLOSED: u32 = 2;
    /// It left ESTABLISHED, and no program had accepted it.
    pub const CLOSED_QUEUED: u32 = 3;
}
