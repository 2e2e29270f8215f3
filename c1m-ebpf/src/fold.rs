//! The only writer of facts: finds or makes the entry of an attempt, and folds events into it.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_ktime_get_ns};
use c1m_common::{
    config::{changed, phase},
    fact::{End, Facts, QueueState, SkbDrop, ack_refusal, end_flag, last_drop, syn_drop},
    stats::{Stats, hook},
    tuple::Tuple,
};

use crate::{
    kernel::Side,
    maps::{CHANGED, FACTS, GENERATIONS, HAS_ENTRIES, config, stats},
};

/// An entry as it is born.
// SAFETY: an integers-only struct, for which all zeros is a value.
static EMPTY: Facts = unsafe { core::mem::zeroed() };

/// Facts as they leave when their tuple is used again.
#[repr(C)]
struct Generation {
    tuple: Tuple,
    facts: Facts,
}

/// Monotonic time, as `CLOCK_MONOTONIC`.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

/// Whether anything has gone wrong yet: as long as nothing has, nobody needs to look for an entry.
#[inline(always)]
pub(crate) fn has_entries() -> bool {
    HAS_ENTRIES.get(0).copied().unwrap_or(1) != 0
}

/// The entry of `tuple`, if it has one.
#[inline(always)]
pub(crate) fn existing(tuple: &Tuple) -> Option<&'static mut Facts> {
    if !has_entries() {
        return None;
    }
    // SAFETY: entries are never deleted; fields are integers, and each fact has its own.
    FACTS.get_ptr_mut(tuple).map(|facts| unsafe { &mut *facts })
}

/// The entry of `tuple`, made if need be. None if the map is full: `hook` then has lost a fact.
#[inline(always)]
pub(crate) fn entry(tuple: &Tuple, hook: usize) -> Option<&'static mut Facts> {
    if let Some(facts) = existing(tuple) {
        return Some(facts);
    }
    if let Some(has_entries) = HAS_ENTRIES.get_ptr_mut(0) {
        // SAFETY: a word that only ever becomes 1.
        unsafe { *has_entries = 1 };
    }
    // Another CPU may have been faster: then it is there, and that is all that matters.
    let empty: &Facts = &EMPTY;
    let _ = FACTS.insert(tuple, empty, u64::from(BPF_NOEXIST));
    let Some(facts) = existing(tuple) else {
        lose(hook);
        return None;
    };
    if facts.first_ns == 0 {
        facts.first_ns = now_ns();
    }
    Some(facts)
}

/// Counts a fact that found no room.
#[inline(always)]
pub(crate) fn lose(hook: usize) {
    if let Some(stats) = stats()
        && hook < hook::COUNT
    {
        stats.lost[hook] += 1;
    }
}

/// The entry of the attempt whose SYN has this sequence number, made if need be. None as [`entry`].
#[inline(always)]
pub(crate) fn entry_of(tuple: &Tuple, sequence: u32, hook: usize) -> Option<&'static mut Facts> {
    begin(tuple, sequence);
    let facts = entry(tuple, hook)?;
    facts.generation = sequence;
    Some(facts)
}

/// The entry of the attempt whose SYN was answered, or made a request, made if need be. None as [`entry`], and if the tuple has
/// a newer attempt: a request lives on, and is answered again, when its client has long given up.
#[inline(always)]
pub(crate) fn entry_of_answer(
    tuple: &Tuple,
    sequence: u32,
    hook: usize,
) -> Option<&'static mut Facts> {
    if let Some(facts) = existing(tuple)
        && is_older(sequence, facts.generation)
    {
        return None;
    }
    entry_of(tuple, sequence, hook)
}

/// Whether a SYN with this sequence number was sent before that of an entry. A tuple's initial numbers grow with time and
/// begin anew after 274 s (`secure_tcp_seq`); no request lives for half as long.
#[inline(always)]
fn is_older(sequence: u32, generation: u32) -> bool {
    generation != 0 && (sequence.wrapping_sub(generation) as i32) < 0
}

/// Whether an entry tells of a failure, so that it must outlive its attempt.
#[inline(always)]
fn tells(facts: &Facts) -> bool {
    facts.first_drop_ns != 0
        || facts.filtered.count != 0
        || facts.syn_retransmits | facts.synack_retransmits != 0
        || facts.client.icmp_err != 0
        || (facts.client.flags | facts.server.flags) & end_flag::FAILURE != 0
}

/// Makes room for the attempt that begins with this SYN: if the tuple has an entry of an earlier attempt,
/// that one goes to the ring buffer.
#[inline(always)]
pub(crate) fn begin(tuple: &Tuple, sequence: u32) {
    let Some(facts) = existing(tuple) else { return };
    if facts.generation == sequence {
        return;
    }
    if tells(facts) {
        keep(tuple, facts);
    }
    let (reused, unsent) = (facts.reused + 1, facts.unsent);
    clear(facts);
    facts.reused = reused;
    facts.unsent = unsent;
    facts.generation = sequence;
    facts.first_ns = now_ns();
}

const FACTS_WORDS: usize = size_of::<Facts>() / size_of::<u64>();

/// Makes an entry as it is born. Word by word, here and below, and volatile: the compiler's own way with so many bytes is a
/// loop over them, which the verifier follows as often as it is run.
#[inline(always)]
fn clear(facts: &mut Facts) {
    let words = (&raw mut *facts).cast::<u64>();
    let mut i = 0;
    while i < FACTS_WORDS {
        // SAFETY: so many words are there, and zeros are a value.
        unsafe { words.add(i).write_volatile(0) };
        i += 1;
    }
}

/// Copies an entry.
///
/// # Safety
/// `to` has room for it, aligned.
#[inline(always)]
unsafe fn copy(facts: &Facts, to: *mut Facts) {
    let (from, to) = ((&raw const *facts).cast::<u64>(), to.cast::<u64>());
    let mut i = 0;
    while i < FACTS_WORDS {
        // SAFETY: both have so many words.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
        i += 1;
    }
}

/// Hands the facts of an attempt that is over to the tracer.
#[inline(always)]
fn keep(tuple: &Tuple, facts: &Facts) {
    match GENERATIONS.reserve::<Generation>(0) {
        Some(mut room) => {
            let place = room.as_mut_ptr();
            // SAFETY: reserved memory of this size, aligned as both its fields are.
            unsafe {
                (&raw mut (*place).tuple).write(*tuple);
                copy(facts, &raw mut (*place).facts);
            }
            room.submit(0);
        }
        None => {
            if let Some(stats) = stats() {
                stats.generations_lost += 1;
            }
        }
    }
}

/// Notes the time of a drop, and that it was the last.
#[inline(always)]
fn dropped(facts: &mut Facts, kind: u8) {
    let now = now_ns();
    if facts.first_drop_ns == 0 {
        facts.first_drop_ns = now;
    }
    facts.last_drop_ns = now;
    facts.last_drop = kind;
}

/// A class as an index that every verifier can follow: a number that the compiler knows nothing of, and so leaves its bound
/// where it is used. Older verifiers forget a bound on the stack, and lose their way where two of them exclude each other.
#[inline(always)]
fn bounded(class: usize) -> usize {
    // SAFETY: a live local.
    unsafe { core::ptr::read_volatile(&raw const class) & 7 }
}

/// Counts a SYN that a listener dropped.
#[inline(always)]
pub(crate) fn count_syn_drop(stats: &mut Stats, class: usize) {
    let class = bounded(class);
    if class < stats.syn_drops.len() {
        stats.syn_drops[class] += 1;
    }
}

/// A listener dropped the attempt's SYN; of several, one of `full_slots` may have been it.
#[inline(always)]
pub(crate) fn syn_dropped(facts: &mut Facts, class: usize, queue: &QueueState, full_slots: u64) {
    let class = bounded(class);
    if class == syn_drop::UNKNOWN {
        facts.full_slots = match facts.syn_drops[class] {
            0 => full_slots,
            _ => facts.full_slots & full_slots,
        };
    }
    if class < facts.syn_drops.len() {
        facts.syn_drops[class] = facts.syn_drops[class].saturating_add(1);
    }
    facts.queue = *queue;
    dropped(facts, last_drop::LISTENER + class as u8);
}

/// The attempt's data came, for which its listener had waited: that it did is forgotten.
#[inline(always)]
pub(crate) fn no_longer_deferred(facts: &mut Facts) {
    facts.ack_refusals[ack_refusal::DEFERRED] = 0;
    if facts.last_drop == last_drop::ACK + ack_refusal::DEFERRED as u8 {
        facts.last_drop = last_drop::NONE;
    }
}

/// A listener refused the attempt's final ACK.
#[inline(always)]
pub(crate) fn ack_refused(facts: &mut Facts, kind: usize, queue: &QueueState) {
    if kind < facts.ack_refusals.len() {
        facts.ack_refusals[kind] = facts.ack_refusals[kind].saturating_add(1);
    }
    facts.queue = *queue;
    dropped(facts, last_drop::ACK + kind as u8);
}

/// A handshake segment of the attempt was freed with a drop reason.
#[inline(always)]
pub(crate) fn segment_dropped(facts: &mut Facts, kind: usize, last: &SkbDrop) {
    if kind < facts.skb_drops.len() {
        let drop = &mut facts.skb_drops[kind];
        drop.location = last.location;
        drop.reason = last.reason;
        drop.flags = last.flags;
        drop.count += 1;
    }
    dropped(facts, last_drop::SKB + kind as u8);
}

/// A tuple to be filled.
pub(crate) const NOBODY: Tuple = Tuple {
    client: [0; 16],
    server: [0; 16],
    client_port: 0,
    server_port: 0,
    pad: 0,
};

/// The same where each good connection comes by, made word by word.
#[inline(always)]
pub(crate) fn nobody() -> Tuple {
    let mut tuple = MaybeUninit::<Tuple>::uninit();
    let words = tuple.as_mut_ptr().cast::<u32>();
    let mut i = 0;
    while i < size_of::<Tuple>() / 4 {
        // SAFETY: so many words are there.
        unsafe { words.add(i).write_volatile(0) };
        i += 1;
    }
    // SAFETY: all of it is written.
    unsafe { tuple.assume_init() }
}

/// One end of the attempt.
#[inline(always)]
pub(crate) fn end(facts: &mut Facts, side: Side) -> &mut End {
    match side {
        Side::Client => &mut facts.client,
        Side::Server => &mut facts.server,
    }
}

/// Notes what happened to one end of a connection while a census is being taken: the last of it before the run, the
/// first of it after the run, for these tell what stood at the moment in between.
#[inline(always)]
pub(crate) fn note_changed(tuple: &mut Tuple, side: Side, what: u32, phase: u32) {
    if side == Side::Client {
        if config!(counts_clients) == 0 {
            return;
        }
        tuple.pad = changed::CLIENT;
    }
    let tuple = &*tuple;
    let flags = if phase == phase::ENDED {
        // What is there already came first.
        if CHANGED.get_ptr(tuple).is_some() {
            return;
        }
        u64::from(BPF_NOEXIST)
    } else {
        0
    };
    if CHANGED.insert(tuple, what, flags).is_err() && flags == 0 {
        lose(hook::STATE);
    }
}
