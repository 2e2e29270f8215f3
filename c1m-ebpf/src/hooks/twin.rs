//! Programs in pairs at one tracepoint. The kernel skips a program that already runs on this CPU, so what an interrupt brings
//! while a program looks at something else would be lost: then its twin, which otherwise does nothing, looks at it.

use c1m_common::stats::pair;

use crate::maps::{stats, window};

/// What the first program of `pair` does with an event.
#[inline(always)]
pub(super) fn first(pair: usize, work: impl FnOnce() -> Option<()>) {
    let Some(window) = window() else { return };
    let busy = &raw mut window.busy[pair % pair::COUNT];
    // SAFETY: a word of this CPU's. Volatile: an interrupt reads it.
    unsafe { busy.write_volatile(1) };
    let _ = work();
    // SAFETY: as above.
    unsafe { busy.write_volatile(0) };
}

/// What the second does: nothing, unless the first was interrupted by this event.
#[inline(always)]
pub(super) fn second(pair: usize, work: impl FnOnce() -> Option<()>) {
    let pair = pair % pair::COUNT;
    if window().is_none_or(|window| window.busy[pair] == 0) {
        return;
    }
    if let Some(stats) = stats() {
        stats.twins[pair] += 1;
    }
    let _ = work();
}
