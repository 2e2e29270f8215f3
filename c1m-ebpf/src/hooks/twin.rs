//! Programs in pairs at one tracepoint. The kernel skips a program that already runs on this CPU, so what an interrupt brings
//! while a program looks at something else would be lost, and since Linux 7.0, where a tracepoint can be preempted, all that
//! happens until the program is on the CPU again: what the first program has not marked, its twin looks at.

use c1m_common::stats::pair;

use crate::maps::{MARKS, Window, stats, window};

/// What the first program of `pair` does with an event about `what`, the address of a segment or a socket.
#[inline(always)]
pub(super) fn first(pair: usize, what: u64, work: impl FnOnce() -> Option<()>) {
    let Some(window) = window() else { return };
    // SAFETY: a word of this CPU's. Volatile: its twin reads it.
    unsafe { mark(window, pair, what).write_volatile(what) };
    let _ = work();
}

/// What the second does: nothing, unless the first was skipped. (Whoever is moved to another CPU between the two is looked at
/// twice, in the same words; a segment that arrives cannot be.)
#[inline(always)]
pub(super) fn second(pair: usize, what: u64, work: impl FnOnce() -> Option<()>) {
    let Some(window) = window() else { return };
    let mark = mark(window, pair, what);
    // SAFETY: a word of this CPU's. Volatile: the first program writes it.
    if unsafe { mark.read_volatile() } == what {
        // SAFETY: as above.
        unsafe { mark.write_volatile(0) };
        return;
    }
    if let Some(stats) = stats() {
        stats.twins[pair % pair::COUNT] += 1;
    }
    let _ = work();
}

/// Where the first program of `pair` says that it looks at `what`. An event that comes in between has, as a rule, another
/// place: `struct sk_buff` is allocated in steps of 256 bytes, and sockets are larger.
#[inline(always)]
fn mark(window: &mut Window, pair: usize, what: u64) -> *mut u64 {
    let place = (what >> 8) as usize % MARKS;
    &raw mut window.marks[pair % pair::COUNT][place]
}
