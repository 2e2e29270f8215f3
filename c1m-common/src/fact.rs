//! What the kernel side remembers of one attempt that met a failure.
//!
//! A connection without trouble has no entry. Facts are folded: a repeated event raises a count and
//! moves the last time, it never takes more room.

/// How the listener looked when it dropped a SYN: the index into [`Facts::syn_drops`].
pub mod syn_drop {
    /// `sk_ack_backlog > sk_max_ack_backlog` (`sk_acceptq_is_full`).
    pub const ACCEPT_QUEUE_FULL: usize = 0;
    /// The request queue is longer than the backlog, and no syncookies (`inet_csk_reqsk_queue_is_full`).
    pub const SYN_QUEUE_FULL: usize = 1;
    /// Only a quarter of `tcp_max_syn_backlog` is left, and no syncookies.
    pub const LAST_QUARTER: usize = 2;
    /// The listener is known and none of these held: no request could be made or kept (memory, a security
    /// module, no route back, a duplicate).
    pub const NO_REQUEST: usize = 3;
    /// The listener is not known: the drop is a fact, its condition is not.
    pub const UNKNOWN: usize = 4;
    /// How many classes there are.
    pub const COUNT: usize = 5;
}

/// How the final ACK was refused (`tcp_v4_syn_recv_sock` or `tcp_v6_syn_recv_sock` gave no child): the index into
/// [`Facts::ack_refusals`].
pub mod ack_refusal {
    /// The accept queue was full; the request waits on.
    pub const QUEUE_FULL: usize = 0;
    /// The accept queue was full, and the ACK brought a syncookie: there is no request.
    pub const QUEUE_FULL_COOKIE: usize = 1;
    /// There was room: no child could be made.
    pub const NO_CHILD: usize = 2;
    /// Likewise, by syncookie.
    pub const NO_CHILD_COOKIE: usize = 3;
    /// It failed a check of the request's (`tcp_check_req`): its timestamp or its window.
    pub const CHECK: usize = 4;
    /// It brought no data, and the listener waits for some (TCP_DEFER_ACCEPT). Forgotten when data comes.
    pub const DEFERRED: usize = 5;
    /// How many kinds there are.
    pub const COUNT: usize = 6;
}

/// Which handshake segment a [`SkbDrop`] tells of: the index into [`Facts::skb_drops`].
pub mod segment {
    /// The client's SYN.
    pub const SYN: usize = 0;
    /// The server's SYN-ACK.
    pub const SYNACK: usize = 1;
    /// A bare ACK, the final one of the handshake among them.
    pub const ACK: usize = 2;
    /// How many kinds there are.
    pub const COUNT: usize = 3;
}

/// Bits of [`SkbDrop::flags`].
pub mod drop_flag {
    /// The segment still belonged to its sender's socket: it was dropped on the way out.
    pub const OUTPUT: u8 = 1 << 0;
    /// The kernel named the receiving socket, and it was a listener.
    pub const RX_LISTENER: u8 = 1 << 1;
    /// That listener's accept queue was full (`sk_ack_backlog > sk_max_ack_backlog`).
    pub const ACCEPT_QUEUE_FULL: u8 = 1 << 2;
    /// The kernel named the receiving socket, and it was a TIME_WAIT socket.
    pub const RX_TIME_WAIT: u8 = 1 << 3;
    /// The kernel named the receiving socket, and it was a full socket in another state.
    pub const RX_OTHER: u8 = 1 << 4;
    /// The kernel named the receiving socket, and it was a request socket (TCP_NEW_SYN_RECV).
    pub const RX_REQUEST: u8 = 1 << 6;
    /// Conntrack had just found its table full (`early_drop` of nf_conntrack_core.c freed nothing).
    pub const CONNTRACK_FULL: u8 = 1 << 7;
    /// The kernel gave no drop reason: [`SkbDrop::reason`](super::SkbDrop::reason) is one of [`why`](super::why).
    pub const NO_REASON: u8 = 1 << 5;
}

/// Why a segment was freed, where `kfree_skb` does not say: what a function that looked at it decided.
pub mod why {
    /// Not known, but perhaps by the function that freed it.
    pub const NOT_SEEN: u8 = 0;
    /// No socket was found for it, and a RST answered it (`tcp_v4_send_reset`).
    pub const NO_SOCKET: u8 = 1;
    /// A listener answered it with a RST: an ACK whose syncookie is not valid.
    pub const COOKIE: u8 = 2;
    /// What is left of a connection in TIME_WAIT wanted no new one (`tcp_timewait_state_process`).
    pub const TIME_WAIT: u8 = 3;
    /// A request did not take it (`tcp_check_req`).
    pub const REQUEST: u8 = 4;
    /// An established connection took it for a stray SYN, and answered with an ACK that its sender reset.
    pub const CHALLENGED: u8 = 5;
    /// A BPF program of a control group (`__cgroup_bpf_run_filter_skb`).
    pub const CGROUP: u8 = 6;
    /// A SYN that `tcp_v4_rcv` freed for none of these reasons: its checks of the segment itself are left.
    pub const DISCARDED: u8 = 7;
    /// How many.
    pub const COUNT: usize = 8;
}

/// Bits of [`End::flags`].
pub mod end_flag {
    /// The process in whose context the socket closed was exiting (`PF_EXITING`).
    pub const EXITING: u8 = 1 << 0;
    /// The socket had no `sk_socket`: no program had accepted it.
    pub const NO_SOCKET: u8 = 1 << 1;
    /// The change came from a close of the socket's own process, not from the network.
    pub const LOCAL: u8 = 1 << 2;
    /// The end counts as a failure, and not among the everyday closes.
    pub const FAILURE: u8 = 1 << 3;
    /// The listener was closed while the connection waited in its queue (`inet_child_forget`).
    pub const FORGOTTEN: u8 = 1 << 4;
    /// TCP ran out of memory or of orphans (`tcp_check_oom`).
    pub const OUT_OF_MEMORY: u8 = 1 << 5;
    /// In SYN_SENT it answered a SYN-ACK with an RST.
    pub const REFUSED_SYNACK: u8 = 1 << 6;
    /// In SYN_SENT it answered an ACK without SYN with an RST.
    pub const CHALLENGED: u8 = 1 << 7;
}

/// Drops of one kind of segment of one attempt, by `kfree_skb`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkbDrop {
    /// The caller's address in the kernel, last drop; 0 if not known.
    pub location: u64,
    /// How many.
    pub count: u32,
    /// `enum skb_drop_reason` of the running kernel, last drop.
    pub reason: u16,
    /// [`drop_flag`] bits of the last drop.
    pub flags: u8,
    /// In [`Facts::filtered`], 1 if a FIN of the client was among them while the server's end did not know of any end; else 0.
    pub closed: u8,
}

/// How one end of the connection went away.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// When it left SYN_SENT, SYN_RECV or ESTABLISHED, monotonic; 0 if it did not.
    pub closed_ns: u64,
    /// The process that closed it, if [`end_flag::LOCAL`]; else 0.
    pub pid: u32,
    /// `sk_err` at that moment.
    pub err: u16,
    /// The state it left.
    pub from: u8,
    /// The state it went to.
    pub to: u8,
    /// [`end_flag`] bits.
    pub flags: u8,
    /// How many RSTs this end sent (`tcp_send_reset`).
    pub resets_sent: u8,
    /// `enum sk_rst_reason` of the last RST this end sent; 0 where the kernel gives none.
    pub reset_reason: u16,
    /// `sk_err` of an error reported while in SYN_SENT (`inet_sk_error_report`): an ICMP error; 0 for none.
    pub icmp_err: u16,
    /// How many RSTs reached this end (`tcp_receive_reset`).
    pub resets_received: u8,
    /// The state of the socket that sent the last RST; 0 if none was found for the segment that it answers.
    pub reset_state: u8,
}

/// A listener's queues as last seen when it refused something.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// Connections waiting to be accepted (`sk_ack_backlog`).
    pub accept_queue: u32,
    /// Its limit (`sk_max_ack_backlog`): the smaller of listen()'s backlog and somaxconn.
    pub accept_limit: u32,
    /// Requests waiting for their final ACK (`icsk_accept_queue.qlen`).
    pub syn_queue: u32,
    /// How many listeners share the port (SO_REUSEPORT): above 1, which one was chosen is not known.
    pub listeners: u32,
}

/// All that the kernel side knows of one attempt. Each fact has a field of its own that is zero as long as
/// the event did not happen, so two CPUs that write different facts need no lock.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The initial sequence number of the SYN: a new one under the same tuple is a new attempt. 0: not seen.
    pub generation: u32,
    /// How many earlier attempts used this tuple.
    pub reused: u32,
    /// When the entry was born, monotonic.
    pub first_ns: u64,
    /// The last SYN dropped or freed, or the last SYN-ACK or ACK freed.
    pub last_drop_ns: u64,
    /// The first of these.
    pub first_drop_ns: u64,
    /// When the client's socket became ESTABLISHED; 0 if not after the entry was born.
    pub client_established_ns: u64,
    /// When the server's child became ESTABLISHED; 0 likewise.
    pub server_established_ns: u64,
    /// How the client's end went.
    pub client: End,
    /// How the server's end went.
    pub server: End,
    /// The listener when it last refused something of this attempt.
    pub queue: QueueState,
    /// SYNs dropped in `tcp_conn_request`, by [`syn_drop`] class.
    pub syn_drops: [u16; syn_drop::COUNT],
    /// SYNs freed without a reason, where the kernel does not tell a drop from a duplicate.
    pub syns_freed_unseen: u16,
    /// How often the server gave up the request after its last SYN-ACK (`reqsk_timer_handler`).
    pub requests_expired: u16,
    /// How often its timer found the request's listener closed, and gave it up for that.
    pub requests_orphaned: u16,
    /// Segments freed with a drop reason, by [`segment`].
    pub skb_drops: [SkbDrop; segment::COUNT],
    /// SYN retransmits by the client.
    pub syn_retransmits: u16,
    /// SYN-ACK retransmits by the server.
    pub synack_retransmits: u16,
    /// The last drop's kind: a [`last_drop`] value.
    pub last_drop: u8,
    /// Zero.
    pub pad_kind: [u8; 3],
    /// Final ACKs refused, by [`ack_refusal`].
    pub ack_refusals: [u16; ack_refusal::COUNT],
    /// How often connect() gave up this tuple before it sent a SYN (`inet_hash_connect`): port 0 means that no
    /// port was free. Counted over all attempts of the tuple.
    pub unsent: u32,
    /// Segments after the handshake's first two, of either end, that the packet filter dropped.
    pub filtered: SkbDrop,
    /// Which of several listeners, by slot of [`Group`](crate::listener::Group), had a full accept queue at each of the drops
    /// whose listener is not known ([`syn_drop::UNKNOWN`]).
    pub full_slots: u64,
}

/// Values of [`Facts::last_drop`].
pub mod last_drop {
    /// Nothing was dropped.
    pub const NONE: u8 = 0;
    /// A SYN in `tcp_conn_request`; plus the [`syn_drop`](super::syn_drop) class.
    pub const LISTENER: u8 = 1;
    /// A segment by `kfree_skb`; plus the [`segment`](super::segment) kind.
    pub const SKB: u8 = 8;
    /// A final ACK; plus the [`ack_refusal`](super::ack_refusal) kind.
    pub const ACK: u8 = 16;
}

const _: () = {
    assert!(size_of::<SkbDrop>() == 16);
    assert!(size_of::<End>() == 24);
    assert!(size_of::<QueueState>() == 16);
    assert!(size_of::<Facts>() == 48 + 2 * 24 + 16 + 16 + 3 * 16 + 8 + 12 + 4 + 16 + 8);
    assert!(core::mem::offset_of!(Facts, client) == 48);
    assert!(core::mem::offset_of!(Facts, queue) == 96);
    assert!(core::mem::offset_of!(Facts, syn_drops) == 112);
    assert!(core::mem::offset_of!(Facts, skb_drops) == 128);
    assert!(core::mem::offset_of!(Facts, syn_retransmits) == 176);
};
