//! The kernel side of c1m: hooks that see events, and one place that folds them into facts per attempt.
//!
//! No program here knows a cause. What happens once per good connection returns early; what only failures
//! fire may work.
#![no_std]
#![no_main]

mod fold;
mod hooks;
mod kernel;
mod listeners;
mod maps;
mod protocol;
mod segment;
mod words;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Helpers such as `bpf_probe_read_kernel` and `bpf_ktime_get_ns` beside GPL-only ones need it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
