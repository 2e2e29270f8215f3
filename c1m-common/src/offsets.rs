//! Offsets of kernel fields, resolved from the running kernel's BTF and passed in as one global.

/// Byte offsets into kernel structures, and argument positions. [`ABSENT`] where this kernel has none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `sock_common.skc_daddr`
    pub skc_daddr: u32,
    /// `sock_common.skc_rcv_saddr`
    pub skc_rcv_saddr: u32,
    /// `sock_common.skc_dport`, big-endian
    pub skc_dport: u32,
    /// `sock_common.skc_num`
    pub skc_num: u32,
    /// `sock_common.skc_family`
    pub skc_family: u32,
    /// `sock_common.skc_state`
    pub skc_state: u32,
    /// `sock_common.skc_net.net`
    pub skc_net: u32,
    /// `sock_common.skc_v6_daddr`
    pub skc_v6_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`
    pub skc_v6_rcv_saddr: u32,
    /// `inet_sock.inet_sport`, big-endian
    pub inet_sport: u32,
    /// `sock.sk_protocol`
    pub sk_protocol: u32,
    /// How many bytes `sk_protocol` has (2 from 5.6).
    pub sk_protocol_bytes: u32,
    /// `sock.sk_type`
    pub sk_type: u32,
    /// `sock.sk_err`
    pub sk_err: u32,
    /// `sock.sk_lock.owned`
    pub sk_lock_owned: u32,
    /// `sock.sk_socket`
    pub sk_socket: u32,
    /// `sock.sk_ack_backlog`
    pub sk_ack_backlog: u32,
    /// `sock.sk_max_ack_backlog`
    pub sk_max_ack_backlog: u32,
    /// `sock.sk_reuseport_cb`
    pub sk_reuseport_cb: u32,
    /// `sock_reuseport.prog`
    pub reuse_prog: u32,
    /// `sock_common.skc_incoming_cpu`
    pub skc_incoming_cpu: u32,
    /// `sock_common.skc_bound_dev_if`
    pub skc_bound_dev_if: u32,
    /// `inet_connection_sock.icsk_accept_queue.rskq_defer_accept`
    pub reqsk_defer_accept: u32,
    /// `inet_connection_sock.icsk_accept_queue.qlen`
    pub reqsk_qlen: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `net.ipv4.sysctl_tcp_syncookies`
    pub net_syncookies: u32,
    /// `net.ipv4.sysctl_max_syn_backlog`
    pub net_max_syn_backlog: u32,
    /// How many bytes `sysctl_tcp_syncookies` has (1 from 5.15).
    pub net_syncookies_bytes: u32,
    /// `sk_buff.head`
    pub skb_head: u32,
    /// `sk_buff.network_header`
    pub skb_network_header: u32,
    /// `neighbour.primary_key`
    pub neigh_key: u32,
    /// `sk_buff.protocol`, big-endian
    pub skb_protocol: u32,
    /// `sk_buff.dev`
    pub skb_dev: u32,
    /// `sk_buff.sk`
    pub skb_sk: u32,
    /// `sk_buff._skb_refdst`
    pub skb_refdst: u32,
    /// `dst_entry.dev`
    pub dst_dev: u32,
    /// `net_device.nd_net.net`
    pub dev_net: u32,
    /// `task_struct.flags`
    pub task_flags: u32,
    /// `tcp_sock.snd_una`: of a socket in SYN_SENT the sequence number of its SYN, 0 before there is one
    pub snd_una: u32,
    /// `tcp_request_sock.rcv_isn`: the sequence number of the client's SYN
    pub rcv_isn: u32,
    /// `request_sock.rsk_timer`
    pub req_timer: u32,
    /// The byte of `request_sock.num_timeout`
    pub req_num_timeout: u32,
    /// `task_struct.nsproxy`
    pub task_nsproxy: u32,
    /// `nsproxy.net_ns`
    pub nsproxy_net: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.fd`
    pub fdt_fd: u32,
    /// `file.private_data`: of a socket's file its `struct socket`
    pub file_private: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// `tcp_sock.is_mptcp`
    pub is_mptcp: u32,
    /// The number of a system call in `pt_regs`
    pub regs_number: u32,
    /// Its first argument there
    pub regs_first: u32,
    /// Its second argument there
    pub regs_second: u32,
    /// `sock_common.skc_listener`: a request's
    pub req_listener: u32,
    /// `neighbour.arp_queue.prev`: the packet that was queued last
    pub neigh_last: u32,
    /// `io_kiocb.cqe.res`: the result of a ring's request (from 5.19)
    pub ring_result: u32,
    /// `io_kiocb.opcode`
    pub ring_opcode: u32,
    /// `io_kiocb.file`
    pub ring_file: u32,
    /// `io_kiocb.async_data`
    pub ring_async_data: u32,
    /// `io_async_msghdr.addr`: in that, the address for bind()
    pub ring_async_address: u32,
    /// `io_connect.addr`, over the request's beginning: where the program has the address for connect()
    pub ring_connect_address: u32,
    /// `io_socket.domain`, likewise
    pub ring_socket_domain: u32,
    /// `io_socket.type`, likewise
    pub ring_socket_type: u32,
    /// `tcp_skb_cb.seq`, within `sk_buff`
    pub skb_sequence: u32,
    /// `trace_event_raw_inet_sock_set_state.skaddr`
    pub event_skaddr: u32,
    /// `trace_event_raw_inet_sock_set_state.oldstate`
    pub event_oldstate: u32,
    /// `trace_event_raw_inet_sock_set_state.newstate`
    pub event_newstate: u32,
}

/// The offset of a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

const _: () = assert!(size_of::<Offsets>() == 68 * 4);
