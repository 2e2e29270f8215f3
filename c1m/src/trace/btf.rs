//! What the running kernel's BTF tells: offsets of fields, arguments of tracepoints, names of enum values.

mod blob;

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use aya::{Btf, Endianness};
use c1m_common::offsets::{ABSENT, Offsets};

use self::blob::{Blob, Type, kind};
use super::hooks::{HOOKS, Point};

/// Where the kernel shows its own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The types of the running kernel.
pub struct KernelTypes {
    blob: Blob,
}

/// A listener, or a connection.
const CONNECTION: &str = "inet_connection_sock";

/// Of a request of io_uring; before 5.19 it lay elsewhere, and the tracepoint did not name the request.
const RING_RESULT: &str = "cqe.res";

/// Perf's record of a transition.
const STATE_EVENT: &str = "trace_event_raw_inet_sock_set_state";

/// Where a field lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    offset: u32,
    bytes: u32,
}

/// Errors name the missing kernel option.
pub fn is_there() -> anyhow::Result<()> {
    if !std::path::Path::new(VMLINUX).exists() {
        bail!("{VMLINUX} is missing: the tracer needs a kernel built with CONFIG_DEBUG_INFO_BTF=y");
    }
    Ok(())
}

impl KernelTypes {
    /// Reads [`VMLINUX`]. Errors name the missing kernel option.
    pub fn load() -> anyhow::Result<Self> {
        is_there()?;
        let whole = || -> anyhow::Result<Blob> { Blob::new(std::fs::read(VMLINUX)?) };
        let blob = whole().with_context(|| format!("cannot read {VMLINUX}"))?;
        Ok(Self { blob })
    }

    /// The types as the loader of programs wants them, to find the number of what a hook is attached to: nothing else in it
    /// has a name. Whole, they take it a tenth of a second and 35 MB, and two milliseconds for each program.
    pub fn for_loader(&self) -> anyhow::Result<Btf> {
        let points = HOOKS.iter().flat_map(|hook| hook.parts);
        let wanted = points.filter_map(|part| match part.point {
            Point::Typed(name) => self.tracepoint(name),
            Point::Fentry(name) | Point::Fexit(name) => self.blob.find(kind::FUNC, name),
            Point::Iterator(name) => self.blob.find(kind::FUNC, &format!("bpf_iter_{name}")),
            Point::Tracepoint(_) | Point::Event(..) | Point::Lookup => None,
            Point::Kprobe(_) | Point::Kretprobe(_) => None,
        });
        let wanted: Vec<Type> = wanted.collect();
        Btf::parse(&self.blob.only(&wanted), Endianness::default())
            .context("the kernel's BTF cannot be read")
    }

    /// Each tracepoint has a typedef of a function whose first parameter is the tracepoint's own data.
    fn tracepoint(&self, name: &str) -> Option<Type> {
        self.blob.find(kind::TYPEDEF, &format!("btf_trace_{name}"))
    }

    /// How many arguments a tracepoint has; None if this kernel does not have it.
    pub fn tracepoint_args(&self, name: &str) -> Option<u32> {
        let pointer = self.blob.get(self.tracepoint(name)?.refers)?;
        self.parameters(pointer)?.checked_sub(1)
    }

    /// How many arguments a function has; None if it is not one that a program can be attached to by its type.
    pub fn function_args(&self, name: &str) -> Option<u32> {
        self.parameters(self.blob.find(kind::FUNC, name)?)
    }

    /// How many parameters the function has that a type refers to.
    fn parameters(&self, of: Type) -> Option<u32> {
        let function = self.blob.get(of.refers)?;
        match function.kind {
            kind::FUNC_PROTO => u32::try_from(function.len).ok(),
            _ => None,
        }
    }

    /// Whether the registers that a system call came with are still known when it returns.
    pub fn has_call_registers(&self) -> bool {
        self.field("pt_regs", "orig_ax").is_some()
    }

    /// Whether it is known where perf's record of a transition has what.
    pub fn has_state_event(&self) -> bool {
        let has = |name| self.field(STATE_EVENT, name).is_some();
        has("skaddr") && has("oldstate") && has("newstate")
    }

    /// Whether a request of io_uring can be asked for its result when the ring's owner is told of it.
    pub fn has_ring_results(&self) -> bool {
        self.field("io_kiocb", RING_RESULT).is_some()
    }

    /// The values of an enum by number, without their common `prefix`; empty if this kernel lacks it.
    pub fn enum_names(&self, name: &str, prefix: &str) -> BTreeMap<u32, String> {
        let values = self.blob.find(kind::ENUM, name);
        let values = values.into_iter().flat_map(|it| self.blob.values(it));
        let named = values.map(|(name, number)| {
            let name = String::from_utf8_lossy(name);
            (
                number,
                name.strip_prefix(prefix).unwrap_or(&name).to_owned(),
            )
        });
        named.collect()
    }

    /// The number of an enum's value; `u32::MAX` if this kernel lacks it.
    pub fn enum_value(&self, name: &str, value: &str) -> u32 {
        let mut values = self.enum_names(name, "").into_iter();
        let found = values.find(|(_, its)| its == value);
        found.map_or(u32::MAX, |(number, _)| number)
    }

    /// The offsets of every field that the kernel side reads. Errors name the first that is missing and
    /// cannot be done without.
    pub fn offsets(&self) -> anyhow::Result<Offsets> {
        let need = |of: &str, path: &str| {
            self.field(of, path)
                .with_context(|| format!("this kernel's BTF has no {of}.{path}"))
        };
        let may = |of: &str, path: &str| self.may(of, path);
        let syncookies = need("net", "ipv4.sysctl_tcp_syncookies")?;
        let protocol = need("sock", "sk_protocol")?;
        Ok(Offsets {
            skc_daddr: need("sock_common", "skc_daddr")?.offset,
            skc_rcv_saddr: need("sock_common", "skc_rcv_saddr")?.offset,
            skc_dport: need("sock_common", "skc_dport")?.offset,
            skc_num: need("sock_common", "skc_num")?.offset,
            skc_family: need("sock_common", "skc_family")?.offset,
            skc_state: need("sock_common", "skc_state")?.offset,
            skc_net: need("sock_common", "skc_net")?.offset,
            // A kernel may be built without IPv6.
            skc_v6_daddr: may("sock_common", "skc_v6_daddr"),
            skc_v6_rcv_saddr: may("sock_common", "skc_v6_rcv_saddr"),
            inet_sport: need("inet_sock", "inet_sport")?.offset,
            sk_protocol: protocol.offset,
            sk_protocol_bytes: protocol.bytes,
            sk_err: need("sock", "sk_err")?.offset,
            sk_lock_owned: need("sock", "sk_lock.owned")?.offset,
            sk_socket: need("sock", "sk_socket")?.offset,
            sk_ack_backlog: need("sock", "sk_ack_backlog")?.offset,
            sk_max_ack_backlog: need("sock", "sk_max_ack_backlog")?.offset,
            sk_reuseport_cb: may("sock", "sk_reuseport_cb"),
            reuse_prog: may("sock_reuseport", "prog"),
            skc_incoming_cpu: may("sock_common", "skc_incoming_cpu"),
            skc_bound_dev_if: may("sock_common", "skc_bound_dev_if"),
            reqsk_defer_accept: may(CONNECTION, "icsk_accept_queue.rskq_defer_accept"),
            reqsk_qlen: need(CONNECTION, "icsk_accept_queue.qlen")?.offset,
            net_inum: need("net", "ns.inum")?.offset,
            net_syncookies: syncookies.offset,
            net_syncookies_bytes: syncookies.bytes,
            net_max_syn_backlog: need("net", "ipv4.sysctl_max_syn_backlog")?.offset,
            skb_head: need("sk_buff", "head")?.offset,
            skb_network_header: need("sk_buff", "network_header")?.offset,
            neigh_key: may("neighbour", "primary_key"),
            skb_protocol: need("sk_buff", "protocol")?.offset,
            skb_dev: need("sk_buff", "dev")?.offset,
            skb_sk: need("sk_buff", "sk")?.offset,
            skb_refdst: need("sk_buff", "_skb_refdst")?.offset,
            dst_dev: need("dst_entry", "dev")?.offset,
            dev_net: need("net_device", "nd_net")?.offset,
            task_flags: need("task_struct", "flags")?.offset,
            snd_una: need("tcp_sock", "snd_una")?.offset,
            is_mptcp: may("tcp_sock", "is_mptcp"),
            sk_type: may("sock", "sk_type"),
            rcv_isn: may("tcp_request_sock", "rcv_isn"),
            req_timer: may("request_sock", "rsk_timer"),
            req_num_timeout: may("request_sock", "num_timeout"),
            task_nsproxy: may("task_struct", "nsproxy"),
            nsproxy_net: may("nsproxy", "net_ns"),
            task_tgid: may("task_struct", "tgid"),
            task_files: may("task_struct", "files"),
            files_fdt: may("files_struct", "fdt"),
            fdt_fd: may("fdtable", "fd"),
            file_private: may("file", "private_data"),
            socket_sk: may("socket", "sk"),
            // x86_64's; elsewhere the first argument is gone when the call returns.
            regs_number: may("pt_regs", "orig_ax"),
            regs_first: may("pt_regs", "di"),
            regs_second: may("pt_regs", "si"),
            req_listener: may("sock_common", "skc_listener"),
            neigh_last: may("neighbour", "arp_queue.prev"),
            ..self.ring_offsets()
        })
    }

    /// Those of what a request of io_uring holds, the others 0.
    fn ring_offsets(&self) -> Offsets {
        let may = |of: &str, path: &str| self.may(of, path);
        Offsets {
            ring_result: may("io_kiocb", RING_RESULT),
            ring_opcode: may("io_kiocb", "opcode"),
            ring_file: may("io_kiocb", "file"),
            ring_async_data: may("io_kiocb", "async_data"),
            ring_async_address: may("io_async_msghdr", "addr"),
            ring_connect_address: may("io_connect", "addr"),
            ring_socket_domain: may("io_socket", "domain"),
            ring_socket_type: may("io_socket", "type"),
            skb_sequence: self.skb_sequence(),
            event_skaddr: may(STATE_EVENT, "skaddr"),
            event_oldstate: may(STATE_EVENT, "oldstate"),
            event_newstate: may(STATE_EVENT, "newstate"),
            ..Offsets::default()
        }
    }

    /// Where a segment's sequence number lies in what TCP keeps of it.
    fn skb_sequence(&self) -> u32 {
        let fields = [self.field("sk_buff", "cb"), self.field("tcp_skb_cb", "seq")];
        let [Some(cb), Some(sequence)] = fields else {
            return ABSENT;
        };
        cb.offset + sequence.offset
    }

    /// Where a field lies that this kernel may lack.
    fn may(&self, of: &str, path: &str) -> u32 {
        self.field(of, path).map_or(ABSENT, |its| its.offset)
    }

    /// A field by its path, through anonymous structs and unions.
    fn field(&self, of: &str, path: &str) -> Option<Field> {
        let mut at = self.blob.find(kind::STRUCT, of)?;
        let mut found = Field {
            offset: 0,
            bytes: 0,
        };
        for name in path.split('.') {
            let (offset, member) = self.member(at, name)?;
            found = Field {
                offset: found.offset + offset,
                bytes: bytes(member),
            };
            at = member;
        }
        Some(found)
    }

    /// A member of a struct or union, or of an anonymous one inside it: offset in bytes, and type.
    fn member(&self, of: Type, name: &str) -> Option<(u32, Type)> {
        for member in self.blob.members(of) {
            let offset = member.bit_offset / 8;
            let bare = self.bare(member.id)?;
            if member.name == name.as_bytes() {
                return Some((offset, bare));
            }
            if member.name.is_empty()
                && let Some((inner, found)) = self.member(bare, name)
            {
                return Some((offset + inner, found));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn bare(&self, id: u32) -> Option<Type> {
        const QUALIFIERS: [u8; 4] = [kind::TYPEDEF, kind::VOLATILE, kind::CONST, kind::TYPE_TAG];
        let mut at = self.blob.get(id)?;
        while QUALIFIERS.contains(&at.kind) {
            at = self.blob.get(at.refers)?;
        }
        Some(at)
    }
}

fn bytes(of: Type) -> u32 {
    match of.kind {
        kind::INT | kind::STRUCT | kind::UNION | kind::ENUM => of.refers,
        kind::PTR => 8,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_running_kernel_has_every_field() {
        let kernel = KernelTypes::load().unwrap();
        let offsets = kernel.offsets().unwrap();
        assert_eq!(
            offsets.skc_daddr, 0,
            "sock_common begins with the addresses"
        );
        assert_ne!(offsets.inet_sport, 0);
        assert_ne!(offsets.skb_head, offsets.skb_network_header);
    }

    #[test]
    fn tracepoints_and_enums_are_found_by_name() {
        let kernel = KernelTypes::load().unwrap();
        assert_eq!(kernel.tracepoint_args("inet_sock_set_state"), Some(3));
        assert_eq!(kernel.tracepoint_args("no_such_tracepoint"), None);
        let prefix = "SKB_DROP_REASON_";
        let reasons = kernel.enum_names("skb_drop_reason", prefix);
        assert!(reasons.is_empty() || reasons.values().any(|name| name == "NETFILTER_DROP"));
    }
}
