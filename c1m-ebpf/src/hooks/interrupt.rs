//! Whether programs run at all.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::maps::{folding, stats};

/// `local_timer_entry(int vector)`: a timer interrupt begins, the CPU's own, before the kernel counts it
/// (`local_apic_timer_interrupt`).
#[raw_tracepoint(tracepoint = "local_timer_entry")]
pub(crate) fn local_timer_entry(_: RawTracePointContext) -> i32 {
    if folding()
        && let Some(stats) = stats()
    {
        stats.timer_interrupts += 1;
    }
    0
}
