//! Every map and global. All maps are bounded; whoever finds one full counts it.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use c1m_common::{
    call::Call,
    config::{Config, phase, word},
    fact::Facts,
    listener::{Group, Lookups, Port},
    offsets::Offsets,
    stats::{Stats, pair},
    tuple::Tuple,
};

use crate::{
    hooks::{Freed, Pending},
    listeners::Tally,
};

/// Offsets of kernel fields; set before loading.
// SAFETY: an integers-only struct, for which all zeros is a value.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = unsafe { core::mem::zeroed() };

/// Filter and abilities; set before loading.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub(crate) static CONFIG: Config = unsafe { core::mem::zeroed() };

/// An offset. Volatile, because the value in the object is not the one that runs.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a live static of plain integers.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::OFFSETS.$field) as usize }
    };
}
pub(crate) use offset;

/// A configured value; volatile likewise.
macro_rules! config {
    ($($field:tt)+) => {
        // SAFETY: a live static of plain integers.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::CONFIG.$($field)+) }
    };
}
pub(crate) use config;

/// Facts of the attempts that met a failure. Sized by the tracer; memory is taken per entry.
#[map]
pub(crate) static FACTS: HashMap<Tuple, Facts> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// One word: whether `FACTS` has ever had an entry.
#[map]
pub(crate) static HAS_ENTRIES: Array<u32> = Array::with_max_entries(1, 0);

/// What happened while a census was being taken.
#[map]
pub(crate) static CHANGED: HashMap<Tuple, u32> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// The listeners of each traced port.
#[map]
pub(crate) static LISTENERS: HashMap<Port, Group> = HashMap::with_max_entries(64, 0);

/// What [`which_listener`](crate::hooks) is asked.
#[map]
pub(crate) static LOOKUPS: Array<Lookups> = Array::with_max_entries(1, 0);

/// Words that change while a trace lasts, by [`word`].
#[map]
pub(crate) static WORDS: Array<u32> = Array::with_max_entries(word::COUNT, 0);

/// What the programs so far have done with the last transition of each socket. Where they can be preempted the tracer gives it
/// [`STATE_MARKS`](c1m_common::config::STATE_MARKS) places.
#[map]
pub(crate) static STATE_MARKS: Array<u64> = Array::with_max_entries(1, 0);

/// Counters.
#[map]
pub(crate) static STATS: PerCpuArray<Stats> = PerCpuArray::with_max_entries(1, 0);

/// What this CPU did since the last SYN that a listener took in.
#[map]
pub(crate) static WINDOW: PerCpuArray<Window> = PerCpuArray::with_max_entries(1, 0);

/// Failed system calls of the traced command, and how often.
#[map]
pub(crate) static CALLS: PerCpuHashMap<Call, u64> = PerCpuHashMap::with_max_entries(4096, 0);

/// System calls under way, by thread.
#[map]
pub(crate) static PENDING: HashMap<u64, Pending> = HashMap::with_max_entries(8192, 0);

/// The traced command's processes.
#[map]
pub(crate) static TREE: HashMap<u32, u32> = HashMap::with_max_entries(16384, 0);

/// The processes that the OOM killer has chosen.
#[map]
pub(crate) static VICTIMS: HashMap<u32, u32> = HashMap::with_max_entries(1024, 0);

/// Facts of earlier attempts whose tuple is used again.
#[map]
pub(crate) static GENERATIONS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// What is known of a segment that is being freed, for the program that looks at it first and for its twin.
#[map]
pub(crate) static FREED: PerCpuArray<Freed> = PerCpuArray::with_max_entries(2, 0);

/// On one CPU a listener handles a SYN from beginning to end before the next: what was sent in between
/// was the answer. The same holds for what else the network's side of the kernel does with bottom halves off: what a
/// function's entry saw waits here for its return.
#[repr(C)]
pub(crate) struct Window {
    /// `tcp_conn_request`.
    pub(crate) request: Request,
    /// `tcp_v4_syn_recv_sock` or `tcp_v6_syn_recv_sock`.
    pub(crate) child: Child,
    /// `tcp_check_req`.
    pub(crate) check: Check,
    /// `reqsk_timer_handler`.
    pub(crate) timer: Timer,
    /// The socket that `tcp_check_oom`, `inet_twsk_alloc` or `tcp_twsk_unique` looks at.
    pub(crate) sock: u64,
    /// What is to become a number.
    pub(crate) number: u64,
    /// The socket that was reset last.
    pub(crate) reset: u64,
    /// The ACK that a listener refused last: what frees it has nothing to add.
    pub(crate) refused: u64,
    /// Whether conntrack found its table full: the next drop by a hook of netfilter is its.
    pub(crate) conntrack_full: u32,
    /// What will become of the segment `decided`, and why: one of [`why`](c1m_common::fact::why).
    pub(crate) why: u32,
    /// The segment that a function decided about, and that is about to be freed.
    pub(crate) decided: u64,
    /// The segment that a function looks at.
    pub(crate) looked: u64,
    /// The packet that a control group's filter looks at.
    pub(crate) filtered: u64,
    /// The tuple of the last SYN-ACK that left; server port 0 for none.
    pub(crate) synack: Tuple,
    /// The number of the SYN that it answers, never 0 but where that is not known.
    pub(crate) synack_to: u64,
    /// A SYN that was dropped, while it is being looked why.
    pub(crate) unanswered: Tuple,
    /// The neighbour that a packet was last queued for; zeros for none.
    pub(crate) neighbour: [u32; 4],
    /// Why the last SYN was dropped.
    pub(crate) tally: Tally,
    /// The segments whose end the first program of a [`pair`](c1m_common::stats::pair) has seen, and its twin not yet.
    pub(crate) marks: [[u64; MARKS]; pair::COUNT],
}

/// Places for the marks of a pair, a power of two: one event may come while another lies between the two programs.
pub(crate) const MARKS: usize = 16;

/// A `tcp_conn_request` under way.
#[repr(C)]
pub(crate) struct Request {
    /// The listener; 0 for none under way.
    pub(crate) listener: u64,
    /// The SYN.
    pub(crate) syn: u64,
    /// Whether a SYN-ACK was made.
    pub(crate) answered: u32,
    /// The [`syn_drop`](c1m_common::fact::syn_drop) class, if a function told it; else their count.
    pub(crate) class: u32,
    /// Whether the accept queue was full just before it was looked at.
    pub(crate) was_full: u64,
}

/// A child under way.
#[repr(C)]
pub(crate) struct Child {
    /// The listener; 0 for none under way.
    pub(crate) listener: u64,
    /// The ACK.
    pub(crate) ack: u64,
    /// The request, one made of a syncookie included.
    pub(crate) request: u64,
    /// Whether there is no request that it would belong to: it brought a syncookie.
    pub(crate) by_cookie: u64,
    /// Whether the accept queue was full just before it was looked at.
    pub(crate) was_full: u64,
}

/// A check of a request under way.
#[repr(C)]
pub(crate) struct Check {
    /// The listener; 0 for none under way.
    pub(crate) listener: u64,
    /// What came for the request.
    pub(crate) segment: u64,
    /// The request.
    pub(crate) request: u64,
    /// Where it says that another CPU has taken the request.
    pub(crate) lost_race: u64,
}

/// A request's timer under way.
#[repr(C)]
pub(crate) struct Timer {
    /// The request; 0 for none under way.
    pub(crate) request: u64,
    /// Its attempt.
    pub(crate) tuple: Tuple,
    /// The sequence number of its SYN.
    pub(crate) sequence: u32,
    /// The byte that counts its time-outs.
    pub(crate) timeouts: u32,
    /// Whether its listener was closed.
    pub(crate) orphaned: u64,
}

/// This CPU's counters.
#[inline(always)]
pub(crate) fn stats() -> Option<&'static mut Stats> {
    // SAFETY: a slot of this CPU alone; programs do not migrate, and of those that may interrupt each other
    // each has counters of its own.
    STATS.get_ptr_mut(0).map(|stats| unsafe { &mut *stats })
}

/// This CPU's window.
#[inline(always)]
pub(crate) fn window() -> Option<&'static mut Window> {
    // SAFETY: a slot of this CPU alone.
    WINDOW.get_ptr_mut(0).map(|window| unsafe { &mut *window })
}

/// Whether facts are being folded: before, not every hook is there, and after, they are being read.
#[inline(always)]
pub(crate) fn folding() -> bool {
    phase() == phase::RUNNING
}

/// The phase of the trace.
#[inline(always)]
pub(crate) fn phase() -> u32 {
    WORDS.get(word::PHASE).copied().unwrap_or(phase::RUNNING)
}

/// Whether functions tell of connect(), and so of io_uring's.
#[inline(always)]
pub(crate) fn calls_by_function() -> bool {
    WORDS.get(word::CALLS_BY_FUNCTION) != Some(&0)
}

/// Whether no function tells which SYNs a listener drops.
#[inline(always)]
pub(crate) fn infers_syn_drops() -> bool {
    WORDS.get(word::INFERS_SYN_DROPS) != Some(&0)
}
