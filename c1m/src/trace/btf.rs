//! What the running kernel's BTF tells: offsets of fields, arguments of tracepoints, names of enum values.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use btf_rs::{Btf, Type};
use c1m_common::offsets::{ABSENT, Offsets};

/// Where the kernel shows its own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The types of the running kernel.
pub struct KernelTypes {
    btf: Btf,
}

/// A listener, or a connection.
const CONNECTION: &str = "inet_connection_sock";

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
        let whole = || -> anyhow::Result<Btf> { Ok(Btf::from_bytes(&std::fs::read(VMLINUX)?)?) };
        let btf = whole().with_context(|| format!("cannot read {VMLINUX}"))?;
        Ok(Self { btf })
    }

    /// How many arguments a tracepoint has; None if this kernel does not have it.
    ///
    /// Each has a typedef `btf_trace_NAME` of a function whose first parameter is the tracepoint's own data.
    pub fn tracepoint_args(&self, name: &str) -> Option<u32> {
        let types = self
            .btf
            .resolve_types_by_name(&format!("btf_trace_{name}"))
            .ok()?;
        let typedef = types.iter().find(|kind| matches!(kind, Type::Typedef(_)))?;
        let pointer = self.btf.resolve_chained_type(typedef.as_btf_type()?).ok()?;
        match self.btf.resolve_chained_type(pointer.as_btf_type()?).ok()? {
            Type::FuncProto(proto) => u32::try_from(proto.parameters.len()).ok()?.checked_sub(1),
            _ => None,
        }
    }

    /// How many arguments a function has; None if it is not one that a program can be attached to by its type.
    pub fn function_args(&self, name: &str) -> Option<u32> {
        let types = self.btf.resolve_types_by_name(name).ok()?;
        let function = types.iter().find(|kind| matches!(kind, Type::Func(_)))?;
        match self
            .btf
            .resolve_chained_type(function.as_btf_type()?)
            .ok()?
        {
            Type::FuncProto(proto) => u32::try_from(proto.parameters.len()).ok(),
            _ => None,
        }
    }

    /// Whether the registers that a system call came with are still known when it returns.
    pub fn has_call_registers(&self) -> bool {
        self.field("pt_regs", "orig_ax").is_some()
    }

    /// The values of an enum by number, without their common `prefix`; empty if this kernel lacks it.
    pub fn enum_names(&self, name: &str, prefix: &str) -> BTreeMap<u32, String> {
        let types = self.btf.resolve_types_by_name(name).unwrap_or_default();
        let members = types.into_iter().find_map(|kind| match kind {
            Type::Enum(kind) => Some(kind.members),
            _ => None,
        });
        let named = |member: btf_rs::EnumMember| {
            let name = self.btf.resolve_name(&member).ok()?;
            Some((
                member.val(),
                name.strip_prefix(prefix).unwrap_or(&name).to_owned(),
            ))
        };
        members.into_iter().flatten().filter_map(named).collect()
    }

    /// The offsets of every field that the kernel side reads. Errors name the first that is missing and
    /// cannot be done without.
    pub fn offsets(&self) -> anyhow::Result<Offsets> {
        let need = |of: &str, path: &str| {
            self.field(of, path)
                .with_context(|| format!("this kernel's BTF has no {of}.{path}"))
        };
        let may = |of: &str, path: &str| {
            self.field(of, path).unwrap_or(Field {
                offset: ABSENT,
                bytes: 0,
            })
        };
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
            skc_v6_daddr: may("sock_common", "skc_v6_daddr").offset,
            skc_v6_rcv_saddr: may("sock_common", "skc_v6_rcv_saddr").offset,
            inet_sport: need("inet_sock", "inet_sport")?.offset,
            sk_protocol: protocol.offset,
            sk_protocol_bytes: protocol.bytes,
            sk_err: need("sock", "sk_err")?.offset,
            sk_socket: need("sock", "sk_socket")?.offset,
            sk_ack_backlog: need("sock", "sk_ack_backlog")?.offset,
            sk_max_ack_backlog: need("sock", "sk_max_ack_backlog")?.offset,
            reqsk_defer_accept: may(CONNECTION, "icsk_accept_queue.rskq_defer_accept").offset,
            reqsk_qlen: need(CONNECTION, "icsk_accept_queue.qlen")?.offset,
            net_inum: need("net", "ns.inum")?.offset,
            net_syncookies: syncookies.offset,
            net_syncookies_bytes: syncookies.bytes,
            net_max_syn_backlog: need("net", "ipv4.sysctl_max_syn_backlog")?.offset,
            skb_head: need("sk_buff", "head")?.offset,
            skb_network_header: need("sk_buff", "network_header")?.offset,
            neigh_key: may("neighbour", "primary_key").offset,
            skb_protocol: need("sk_buff", "protocol")?.offset,
            skb_dev: need("sk_buff", "dev")?.offset,
            skb_sk: need("sk_buff", "sk")?.offset,
            skb_refdst: need("sk_buff", "_skb_refdst")?.offset,
            dst_dev: need("dst_entry", "dev")?.offset,
            dev_net: need("net_device", "nd_net")?.offset,
            task_flags: need("task_struct", "flags")?.offset,
            snd_una: need("tcp_sock", "snd_una")?.offset,
            rcv_isn: may("tcp_request_sock", "rcv_isn").offset,
            req_timer: may("request_sock", "rsk_timer").offset,
            req_num_timeout: may("request_sock", "num_timeout").offset,
            task_nsproxy: may("task_struct", "nsproxy").offset,
            nsproxy_net: may("nsproxy", "net_ns").offset,
            task_tgid: may("task_struct", "tgid").offset,
            task_files: may("task_struct", "files").offset,
            files_fdt: may("files_struct", "fdt").offset,
            fdt_fd: may("fdtable", "fd").offset,
            file_private: may("file", "private_data").offset,
            socket_sk: may("socket", "sk").offset,
            // x86_64's; elsewhere the first argument is gone when the call returns.
            regs_number: may("pt_regs", "orig_ax").offset,
            regs_first: may("pt_regs", "di").offset,
            regs_second: may("pt_regs", "si").offset,
            req_listener: may("sock_common", "skc_listener").offset,
            neigh_last: may("neighbour", "arp_queue.prev").offset,
        })
    }

    /// A field by its path, through anonymous structs and unions.
    fn field(&self, of: &str, path: &str) -> Option<Field> {
        let types = self.btf.resolve_types_by_name(of).ok()?;
        let mut at = types
            .into_iter()
            .find(|kind| matches!(kind, Type::Struct(_)))?;
        let mut found = Field {
            offset: 0,
            bytes: 0,
        };
        for name in path.split('.') {
            let (offset, kind) = self.member(&at, name)?;
            found = Field {
                offset: found.offset + offset,
                bytes: self.bytes(&kind),
            };
            at = kind;
        }
        Some(found)
    }

    /// A member of a struct or union, or of an anonymous one inside it: offset in bytes, and type.
    fn member(&self, of: &Type, name: &str) -> Option<(u32, Type)> {
        let (Type::Struct(of) | Type::Union(of)) = of else {
            return None;
        };
        for member in &of.members {
            let offset = member.bit_offset() / 8;
            let kind = self.bare(self.btf.resolve_chained_type(member).ok()?)?;
            let its_name = self.btf.resolve_name(member).unwrap_or_default();
            if its_name == name {
                return Some((offset, kind));
            }
            if its_name.is_empty()
                && let Some((inner, kind)) = self.member(&kind, name)
            {
                return Some((offset + inner, kind));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn bare(&self, mut kind: Type) -> Option<Type> {
        while let Type::Typedef(_) | Type::Volatile(_) | Type::Const(_) | Type::TypeTag(_) = kind {
            kind = self.btf.resolve_chained_type(kind.as_btf_type()?).ok()?;
        }
        Some(kind)
    }

    fn bytes(&self, kind: &Type) -> u32 {
        let bytes = match kind {
            Type::Int(kind) => kind.size(),
            Type::Struct(kind) | Type::Union(kind) => kind.size(),
            Type::Enum(kind) => kind.size(),
            Type::Ptr(_) => 8,
            _ => 0,
        };
        bytes as u32
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
