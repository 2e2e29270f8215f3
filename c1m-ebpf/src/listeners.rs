//! The listeners of the traced ports, and how their queues look when they refuse something.

use aya_ebpf::bindings::BPF_NOEXIST;
use c1m_common::{
    AF_INET,
    fact::{QueueState, syn_drop},
    listener::{GROUP_MAX, Group, Port},
    state::SYN_SENT,
    stats::hook,
    tuple::{Tuple, mapped_v4},
};

use crate::{
    fold::{lose, now_ns},
    kernel::{Ptr, is_server_port, is_traced_namespace, sock_inum, sock_net, sock_state},
    maps::{LISTENERS, config, offset, window},
    protocol::is_tcp,
};

/// What the listeners of a port have in common. It lies in map memory: on the stack the verifier would follow
/// every combination of its values.
#[repr(C)]
pub(crate) struct Tally {
    class: u32,
    differ: u32,
    /// Where the SYN went.
    address: [u8; 16],
    /// The queues of the last one, of one that is full if there is one, and how many there were.
    pub(crate) queue: QueueState,
    /// Those of them, by slot, whose accept queue is full; none if the kernel may choose by more than addresses and ports.
    pub(crate) full_slots: u64,
    /// Whether it may.
    chosen_otherwise: u32,
}

/// No listener.
pub(crate) const NO_QUEUE: QueueState = QueueState {
    accept_queue: 0,
    accept_limit: 0,
    syn_queue: 0,
    listeners: 0,
};

static NOBODY: Group = Group {
    overflow: 0,
    pad: 0,
    changed_ns: 0,
    socks: [0; GROUP_MAX],
};

/// The traced port that a listener listens on. (One of MPTCP is two sockets, of which TCP's gets the SYNs.)
#[inline(always)]
pub(crate) fn port_of(sk: Ptr) -> Option<Port> {
    let port: u16 = sk.read(offset!(skc_num))?;
    let port = if port != 0 {
        port
    } else {
        u16::from_be(sk.read(offset!(inet_sport))?)
    };
    if !is_server_port(port) || !is_tcp(sk) {
        return None;
    }
    let namespace = sock_inum(sk)?;
    is_traced_namespace(namespace).then_some(Port {
        namespace,
        port,
        pad: 0,
    })
}

/// A socket listens; 1 if that is news, on a traced port. A global function, as all with numbers for arguments here: the
/// verifier goes through it once, and not for each way to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn add_listener(sk: u64) -> u32 {
    u32::from(add(Ptr(sk)).is_some())
}

#[inline(always)]
fn add(sk: Ptr) -> Option<()> {
    let port = port_of(sk)?;
    let nobody: &Group = &NOBODY;
    let _ = LISTENERS.insert(port, nobody, u64::from(BPF_NOEXIST));
    let Some(group) = LISTENERS.get_ptr_mut(port) else {
        lose(hook::LISTENERS);
        return None;
    };
    // SAFETY: groups are never deleted; listeners come and go rarely, and a lost race is told by `overflow`.
    let group = unsafe { &mut *group };
    let mut i = 0;
    while i < GROUP_MAX {
        if group.socks[i] == sk.0 {
            return None;
        }
        if group.socks[i] == 0 {
            group.socks[i] = sk.0;
            group.changed_ns = now_ns();
            return Some(());
        }
        i += 1;
    }
    group.overflow += 1;
    None
}

/// A listener is gone; 1 if its port is traced.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn remove_listener(sk: u64) -> u32 {
    u32::from(remove(Ptr(sk)).is_some())
}

#[inline(always)]
fn remove(sk: Ptr) -> Option<()> {
    let port = port_of(sk)?;
    // SAFETY: as in `add`.
    let group = unsafe { &mut *LISTENERS.get_ptr_mut(port)? };
    let mut i = 0;
    while i < GROUP_MAX {
        if group.socks[i] == sk.0 {
            group.socks[i] = 0;
        }
        i += 1;
    }
    group.changed_ns = now_ns();
    Some(())
}

/// Whether somebody listens at the address and the traced port that a socket has, so that it is a server's end.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn is_served(sk: u64) -> u32 {
    u32::from(served(Ptr(sk)).unwrap_or(false))
}

#[inline(always)]
fn served(sk: Ptr) -> Option<bool> {
    if sock_state(sk)? == SYN_SENT {
        return Some(false);
    }
    // SAFETY: groups are never deleted.
    let group = unsafe { &*LISTENERS.get_ptr(port_of(sk)?)? };
    let mut i = 0;
    while i < GROUP_MAX {
        if group.socks[i] != 0 && listens_at(group.socks[i], sk.0) != 0 {
            return Some(true);
        }
        i += 1;
    }
    Some(false)
}

/// Whether a listener takes connections to the address that a socket has. For the verifier a function of its own, too.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn listens_at(listener: u64, sk: u64) -> u32 {
    let sk = Ptr(sk);
    let own: Option<[u8; 16]> = match sk.read(offset!(skc_family)) {
        Some(AF_INET) => sk.read(offset!(skc_rcv_saddr)).map(mapped_v4),
        _ => sk.read(offset!(skc_v6_rcv_saddr)),
    };
    u32::from(own.is_some_and(|own| listens_on(Ptr(listener), &own)))
}

/// The queues of one listener, into `queue`; whether its accept queue is full (`sk_acceptq_is_full`).
#[inline(always)]
pub(crate) fn queue(sk: Ptr, queue: &mut QueueState) -> Option<bool> {
    let accept_queue: u32 = sk.read(offset!(sk_ack_backlog))?;
    let accept_limit: u32 = sk.read(offset!(sk_max_ack_backlog))?;
    queue.accept_queue = accept_queue;
    queue.accept_limit = accept_limit;
    queue.syn_queue = sk.read(offset!(reqsk_qlen))?;
    Some(accept_queue > accept_limit)
}

/// Whether a listener's accept queue is full (`sk_acceptq_is_full`).
#[inline(always)]
pub(crate) fn is_full(sk: Ptr) -> Option<bool> {
    let accept_queue: u32 = sk.read(offset!(sk_ack_backlog))?;
    Some(accept_queue > sk.read(offset!(sk_max_ack_backlog))?)
}

/// Why the listener dropped a SYN, by the order of the checks in `tcp_conn_request`: a [`syn_drop`] class.
#[inline(always)]
pub(crate) fn classify(sk: Ptr, state: &mut QueueState) -> usize {
    class(sk, state).unwrap_or(syn_drop::UNKNOWN)
}

#[inline(always)]
fn class(sk: Ptr, state: &mut QueueState) -> Option<usize> {
    let accept_full = queue(sk, state)?;
    let net = sock_net(sk)?;
    let syncookies = if offset!(net_syncookies_bytes) == 1 {
        u32::from(net.read::<u8>(offset!(net_syncookies))?)
    } else {
        net.read::<u32>(offset!(net_syncookies))?
    };
    let syn_full = state.syn_queue > state.accept_limit
        || (config!(syn_queue_full_at_equal) != 0 && state.syn_queue == state.accept_limit);
    if syncookies == 0 && syn_full {
        return Some(syn_drop::SYN_QUEUE_FULL);
    }
    if accept_full {
        return Some(syn_drop::ACCEPT_QUEUE_FULL);
    }
    let room: u32 = net.read(offset!(net_max_syn_backlog))?;
    if syncookies == 0 && (room as i32).wrapping_sub(state.syn_queue as i32) < (room as i32 >> 2) {
        return Some(syn_drop::LAST_QUARTER);
    }
    // The queue is read just after it was found full: one accept may have come in between.
    if state.accept_queue == state.accept_limit {
        return Some(syn_drop::ACCEPT_QUEUE_FULL);
    }
    // Far from full in both, it cannot have been full a moment ago.
    let half = state.accept_limit / 2;
    let far = half >= FAR_MIN && state.accept_queue < half && state.syn_queue < half;
    Some(match far {
        true => syn_drop::NO_REQUEST,
        false => syn_drop::UNKNOWN,
    })
}

/// Half a queue that nobody empties while a function returns.
const FAR_MIN: u32 = 32;

/// Whether a listener takes connections to `address`: its own address, or any.
#[inline(always)]
fn listens_on(sk: Ptr, address: &[u8; 16]) -> bool {
    let own: [u8; 16] = match sk.read::<u16>(offset!(skc_family)) {
        Some(AF_INET) => match sk.read::<[u8; 4]>(offset!(skc_rcv_saddr)) {
            Some([0, 0, 0, 0]) => return true,
            Some(own) => mapped_v4(own),
            None => return false,
        },
        _ => match sk.read(offset!(skc_v6_rcv_saddr)) {
            Some(own) => own,
            None => return false,
        },
    };
    own == *address || own == [0; 16]
}

/// Why a SYN to `tuple.server` was dropped: the class, and the queues then in `tally.queue`. With several listeners the
/// chosen one is not known: the class is told only if all of them agree on it; otherwise `tally.full_slots` has those that
/// it may have been.
#[inline(always)]
pub(crate) fn why_dropped(tuple: &Tuple, namespace: u32, tally: &mut Tally) -> usize {
    *tally = Tally {
        class: syn_drop::UNKNOWN as u32,
        differ: 0,
        address: tuple.server,
        queue: NO_QUEUE,
        full_slots: 0,
        chosen_otherwise: 0,
    };
    let port = Port {
        namespace,
        port: tuple.server_port,
        pad: 0,
    };
    let Some(group) = LISTENERS.get_ptr(port) else {
        return syn_drop::UNKNOWN;
    };
    // SAFETY: groups are never deleted.
    let group = unsafe { &*group };
    let mut i = 0;
    while i < GROUP_MAX {
        if group.socks[i] != 0 {
            count_listener(group.socks[i], i as u64);
        }
        i += 1;
    }
    if tally.chosen_otherwise != 0 || group.overflow != 0 {
        tally.full_slots = 0;
    }
    if tally.differ != 0 || group.overflow != 0 {
        tally.queue.listeners += group.overflow;
        return syn_drop::UNKNOWN;
    }
    tally.class as usize
}

/// Adds the listener of a slot to this CPU's tally, if the SYN may have gone to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn count_listener(listener: u64, slot: u64) -> u32 {
    let sk = Ptr(listener);
    if let Some(window) = window()
        && listens_on(sk, &window.tally.address)
    {
        count(&mut window.tally, sk, slot);
    }
    0
}

#[inline(always)]
fn count(tally: &mut Tally, sk: Ptr, slot: u64) {
    let mut queue = NO_QUEUE;
    let class = match classify(sk, &mut queue) {
        // By what was sent, or was not, an answer may have been missed.
        syn_drop::NO_REQUEST => syn_drop::UNKNOWN as u32,
        class => class as u32,
    };
    let is_full = class == syn_drop::ACCEPT_QUEUE_FULL as u32;
    if is_full || tally.full_slots == 0 {
        queue.listeners = tally.queue.listeners;
        tally.queue = queue;
    }
    if is_full {
        tally.full_slots |= 1 << (slot & 63);
    }
    tally.chosen_otherwise |= u32::from(is_chosen_otherwise(sk) != Some(false));
    if tally.queue.listeners != 0 && tally.class != class {
        tally.differ = 1;
    }
    tally.class = class;
    tally.queue.listeners += 1;
}

/// Whether the kernel may choose among listeners by more than addresses and ports: by a program (`reuseport_select_sock`), by
/// the CPU or the device (`compute_score`).
#[inline(always)]
fn is_chosen_otherwise(sk: Ptr) -> Option<bool> {
    let cpu: i32 = sk.read(offset!(skc_incoming_cpu))?;
    let device: i32 = sk.read(offset!(skc_bound_dev_if))?;
    let program: u64 = match sk.read::<u64>(offset!(sk_reuseport_cb))? {
        0 => 0,
        group => Ptr(group).read(offset!(reuse_prog))?,
    };
    Some(cpu >= 0 || device != 0 || program != 0)
}
