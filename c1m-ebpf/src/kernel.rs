//! Reads of kernel memory: sockets, namespaces, tasks. Every read can fail and says so.

use core::hint::black_box;

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_kernel_buf},
    programs::BtfTracePointContext,
};
use c1m_common::{
    AF_INET, AF_INET6,
    config::{NAMESPACES_MAX, PORTS_MAX},
    offsets::ABSENT,
    tuple::Tuple,
};

use crate::{
    listeners::is_served,
    maps::{config, offset, window},
    words::{ends, set_word, v4_part},
};

/// `PF_EXITING`, include/linux/sched.h
const PF_EXITING: u32 = 4;

/// An address in the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ptr(pub(crate) u64);

impl Ptr {
    #[inline(always)]
    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The `T` at `offset`.
    #[inline(always)]
    pub(crate) fn read<T>(self, offset: usize) -> Option<T> {
        if self.is_null() || offset == ABSENT as usize {
            return None;
        }
        let at = self.0.wrapping_add(offset as u64) as *const T;
        // SAFETY: the helper checks the address; T is a plain integer or an array of them.
        unsafe { bpf_probe_read_kernel(at) }.ok()
    }

    /// Copies the bytes at `offset`, straight to where they belong: the stack has 512 bytes.
    #[inline(always)]
    pub(crate) fn read_into(self, offset: usize, to: &mut [u8]) -> Option<()> {
        if self.is_null() || offset == ABSENT as usize {
            return None;
        }
        let at = self.0.wrapping_add(offset as u64) as *const u8;
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel_buf(at, to) }.ok()
    }

    /// The pointer at `offset`.
    #[inline(always)]
    pub(crate) fn follow(self, offset: usize) -> Option<Ptr> {
        self.read::<u64>(offset).filter(|&to| to != 0).map(Ptr)
    }
}

/// An object in the kernel, however its fields are read. What runs for every good connection reads them by plain loads.
pub(crate) trait Object: Copy {
    /// Whether each read must be of one field, as its type has it.
    const TYPED: bool;

    /// The `T` at `offset`.
    fn read<T>(self, offset: usize) -> Option<T>;

    /// Copies an address of the network's at `offset`: whole words of four bytes.
    fn read_into(self, offset: usize, to: &mut [u8]) -> Option<()>;

    /// The object that the pointer at `offset` leads to.
    fn follow(self, offset: usize) -> Option<Self>;

    /// The same, for what lies beyond the type that the verifier knows.
    fn untyped(self) -> Ptr;
}

impl Object for Ptr {
    const TYPED: bool = false;

    #[inline(always)]
    fn read<T>(self, offset: usize) -> Option<T> {
        Ptr::read(self, offset)
    }

    #[inline(always)]
    fn read_into(self, offset: usize, to: &mut [u8]) -> Option<()> {
        Ptr::read_into(self, offset, to)
    }

    #[inline(always)]
    fn follow(self, offset: usize) -> Option<Ptr> {
        Ptr::follow(self, offset)
    }

    #[inline(always)]
    fn untyped(self) -> Ptr {
        self
    }
}

/// An object whose type the verifier knows, from the argument of a tracepoint on.
#[derive(Clone, Copy)]
pub(crate) struct Typed(*const u8);

impl Typed {
    /// The `n`th argument of a tracepoint, which must not be null.
    #[inline(always)]
    pub(crate) fn argument(ctx: &BtfTracePointContext, n: usize) -> Self {
        Self(ctx.arg(n))
    }
}

/// The same, of which the verifier knows no more than that it is a number: so a global function may have it.
#[inline(always)]
pub(crate) fn untyped_argument(ctx: &impl EbpfContext, n: usize) -> Ptr {
    Ptr(Ptr(ctx.as_ptr() as u64).read(n * 8).unwrap_or(0))
}

impl Object for Typed {
    const TYPED: bool = true;

    #[inline(always)]
    fn read<T>(self, offset: usize) -> Option<T> {
        if offset == ABSENT as usize {
            return None;
        }
        // SAFETY: the verifier takes the load only if `T` is a field there, and a fault reads as 0. Volatile, so that the
        // compiler makes no load of two fields.
        Some(unsafe { core::ptr::read_volatile(self.0.add(offset).cast()) })
    }

    #[inline(always)]
    fn read_into(self, offset: usize, to: &mut [u8]) -> Option<()> {
        for (word, to) in to.chunks_exact_mut(4).enumerate() {
            set_word(to, self.read(offset + word * 4)?);
        }
        Some(())
    }

    #[inline(always)]
    fn follow(self, offset: usize) -> Option<Typed> {
        let to: *const u8 = self.read(offset)?;
        (!to.is_null()).then_some(Typed(to))
    }

    #[inline(always)]
    fn untyped(self) -> Ptr {
        Ptr(self.0 as u64)
    }
}

/// Which end of the connection a socket is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client = 0,
    Server = 1,
}

/// Whether `port` is a traced server port.
#[inline(always)]
pub(crate) fn is_server_port(port: u16) -> bool {
    let mut i = 0;
    while i < PORTS_MAX {
        let traced = config!(ports[i]);
        if traced == 0 {
            return false;
        }
        if traced == port {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether `inum` is a traced network namespace.
#[inline(always)]
pub(crate) fn is_traced_namespace(inum: u32) -> bool {
    let mut i = 0;
    while i < NAMESPACES_MAX {
        let traced = config!(namespaces[i]);
        if traced == 0 {
            return false;
        }
        if traced == inum {
            return true;
        }
        i += 1;
    }
    false
}

/// Inode number of a `struct net`.
#[inline(always)]
fn inum(net: impl Object) -> Option<u32> {
    net.read(offset!(net_inum))
}

/// The namespace of a socket of any kind (`sock_common`).
#[inline(always)]
pub(crate) fn sock_net<T: Object>(sk: T) -> Option<T> {
    sk.follow(offset!(skc_net))
}

/// The namespace's inode number of a socket of any kind.
#[inline(always)]
pub(crate) fn sock_inum(sk: impl Object) -> Option<u32> {
    inum(sock_net(sk)?)
}

/// The namespace of a packet: of its device, else of its route's device (`tcp_v4_rcv` clears `skb->dev`).
#[inline(always)]
pub(crate) fn skb_inum(skb: impl Object) -> Option<u32> {
    if let Some(dev) = skb.follow(offset!(skb_dev)) {
        return inum(dev.follow(offset!(dev_net))?);
    }
    // The lowest bit says that no reference is held (SKB_DST_NOREF).
    let dst = Ptr(skb.read::<u64>(offset!(skb_refdst))? & !1);
    inum(dst.follow(offset!(dst_dev))?.follow(offset!(dev_net))?)
}

/// A traced socket: which end it is; its tuple is written to `tuple`. None for any other socket.
///
/// `inet_sport` and not `skc_num`: the latter is already 0 at the transition to CLOSE.
#[inline(always)]
pub(crate) fn traced_socket(sk: Ptr, tuple: &mut Tuple) -> Option<Side> {
    let (side, ports) = traced_side(sk)?;
    fill_tuple(sk, side, ports, tuple)?;
    Some(side)
}

/// A traced socket's side, and its own and its peer's port; what can be told without its addresses.
#[inline(always)]
pub(crate) fn traced_side(sk: Ptr) -> Option<(Side, (u16, u16))> {
    let dport = u16::from_be(sk.read(offset!(skc_dport))?);
    let sport = u16::from_be(sk.read(offset!(inet_sport))?);
    let side = match side(sport, dport)? {
        By::Ports(side) => side,
        // The compiler knows what numbers the function gives, and takes them for the side; the verifier does not.
        By::Listener if black_box(is_served(untyped(sk)?.0)) != 0 => Side::Server,
        By::Listener => Side::Client,
    };
    is_traced_namespace(sock_inum(sk)?).then_some((side, (sport, dport)))
}

/// The same address as a number: what the verifier knows to be a pointer, as fentry's arguments, no global function takes.
#[inline(always)]
fn untyped(sk: Ptr) -> Option<Ptr> {
    let number = &raw mut window()?.number;
    // SAFETY: a word of this CPU's. Volatile: it is to go through memory.
    unsafe {
        number.write_volatile(sk.0);
        Some(Ptr(number.read_volatile()))
    }
}

/// The tuple of a traced request, which is a `sock_common` and no more; it is written to `tuple`. None for any other.
#[inline(always)]
pub(crate) fn traced_request(req: impl Object, tuple: &mut Tuple) -> Option<()> {
    let ports = ports(req)?;
    if !is_server_port(ports.0) || !is_traced_namespace(sock_inum(req)?) {
        return None;
    }
    fill_tuple(req, Side::Server, ports, tuple)
}

/// The same as [`traced_side`] by the fields of a `sock_common` alone, for a socket that is not closed.
#[inline(always)]
pub(crate) fn traced_common(sk: impl Object) -> Option<By> {
    let (sport, dport) = ports(sk)?;
    let side = side(sport, dport)?;
    is_traced_namespace(sock_inum(sk)?).then_some(side)
}

/// A socket's own and its peer's port.
#[inline(always)]
fn ports(sk: impl Object) -> Option<(u16, u16)> {
    let dport = u16::from_be(sk.read(offset!(skc_dport))?);
    Some((sk.read(offset!(skc_num))?, dport))
}

/// What tells which end of a traced connection a socket is, or who sent a segment.
pub(crate) enum By {
    /// Its ports: one of them is a server's.
    Ports(Side),
    /// Both are: whether anybody listens at its own.
    Listener,
}

/// The same by its own and the other end's port; none if neither is traced.
#[inline(always)]
pub(crate) fn side(sport: u16, dport: u16) -> Option<By> {
    match (is_server_port(sport), is_server_port(dport)) {
        (false, true) => Some(By::Ports(Side::Client)),
        (true, false) => Some(By::Ports(Side::Server)),
        (true, true) => Some(By::Listener),
        (false, false) => None,
    }
}

/// Writes the tuple of a socket of any kind.
#[inline(always)]
pub(crate) fn fill_tuple(
    sk: impl Object,
    side: Side,
    ports: (u16, u16),
    tuple: &mut Tuple,
) -> Option<()> {
    let (local, remote) = ends(tuple, side, ports.0, ports.1);
    match sk.read::<u16>(offset!(skc_family))? {
        AF_INET => {
            sk.read_into(offset!(skc_rcv_saddr), v4_part(local))?;
            sk.read_into(offset!(skc_daddr), v4_part(remote))
        }
        AF_INET6 => {
            sk.read_into(offset!(skc_v6_rcv_saddr), local)?;
            sk.read_into(offset!(skc_v6_daddr), remote)
        }
        _ => None,
    }
}

/// `sk_state` of a socket of any kind.
#[inline(always)]
pub(crate) fn sock_state(sk: impl Object) -> Option<u8> {
    sk.read(offset!(skc_state))
}

/// Whether the network is what closes a socket that leaves for CLOSE: a reset or a time-out sets `sk_err` before the state, a
/// close by the program does not.
///
/// The program may take the error in between (`sock_error`), between two looks at it even. But a program that closes has the
/// socket locked (`lock_sock`), which the network finds unlocked; and what no program has accepted yet nobody takes an error
/// of, and a listener that is closed leaves it unlocked (`inet_csk_listen_stop`).
#[inline(always)]
pub(crate) fn is_closed_by_network(sk: impl Object) -> bool {
    sk.read::<u32>(offset!(sk_err)) != Some(0)
        || sk.read::<u32>(offset!(sk_lock_owned)) == Some(0)
            && sk.follow(offset!(sk_socket)).is_some()
}

/// The sequence number of the SYN of a socket in SYN_SENT (`tcp_connect_init`); 0 if it has sent none. Once that is acknowledged, the
/// next.
#[inline(always)]
pub(crate) fn syn_sequence(sk: Ptr) -> Option<u32> {
    sk.read(offset!(snd_una))
}

/// The namespace's inode number of the current process; none if it is on its way out.
#[inline(always)]
pub(crate) fn current_inum() -> Option<u32> {
    // SAFETY: takes no arguments and cannot fail.
    let task = Ptr(unsafe { bpf_get_current_task() });
    let proxy = task.follow(offset!(task_nsproxy))?;
    inum(proxy.follow(offset!(nsproxy_net))?)
}

/// The file that a descriptor of the current process stands for.
#[inline(always)]
pub(crate) fn current_file(fd: u32) -> Option<Ptr> {
    // SAFETY: takes no arguments and cannot fail.
    let task = Ptr(unsafe { bpf_get_current_task() });
    let table = task
        .follow(offset!(task_files))?
        .follow(offset!(files_fdt))?;
    Ptr(table
        .follow(offset!(fdt_fd))?
        .0
        .wrapping_add(u64::from(fd) * 8))
    .follow(0)
}

/// Whether the current process is on its way out.
#[inline(always)]
pub(crate) fn current_is_exiting() -> bool {
    // SAFETY: takes no arguments and cannot fail.
    let task = Ptr(unsafe { bpf_get_current_task() });
    task.read::<u32>(offset!(task_flags))
        .is_some_and(|flags| flags & PF_EXITING != 0)
}
