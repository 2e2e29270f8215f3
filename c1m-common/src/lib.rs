//! What c1m's eBPF programs and its tracer share: the layout of maps and globals, and nothing else.
//!
//! Everything here is `repr(C)` with sized integers and explicit padding, so that both sides agree
//! byte for byte; sizes and offsets are asserted at compile time.
#![no_std]

pub mod call;
pub mod config;
pub mod fact;
pub mod listener;
pub mod offsets;
pub mod stats;
pub mod tuple;

/// `AF_INET` as the kernel's `sock_common.skc_family` holds it.
pub const AF_INET: u16 = 2;
/// `AF_INET6` likewise.
pub const AF_INET6: u16 = 10;

/// TCP socket states, `include/net/tcp_states.h`; unchanged since Linux 2.6.
pub mod state {
    /// Connection stands.
    pub const ESTABLISHED: u8 = 1;
    /// SYN sent, no answer yet.
    pub const SYN_SENT: u8 = 2;
    /// Child of a listener, its final ACK being processed.
    pub const SYN_RECV: u8 = 3;
    /// Closed here, FIN not acknowledged.
    pub const FIN_WAIT1: u8 = 4;
    /// Closed here, FIN acknowledged, the peer has not closed.
    pub const FIN_WAIT2: u8 = 5;
    /// Closed on both sides, waiting for stray segments.
    pub const TIME_WAIT: u8 = 6;
    /// No connection.
    pub const CLOSE: u8 = 7;
    /// The peer has closed, this side has not.
    pub const CLOSE_WAIT: u8 = 8;
    /// The peer closed first, then this side; FIN not acknowledged.
    pub const LAST_ACK: u8 = 9;
    /// Waiting for connections.
    pub const LISTEN: u8 = 10;
    /// Both closed at once.
    pub const CLOSING: u8 = 11;
    /// A request socket, as `sock_diag` never shows it (it says SYN_RECV).
    pub const NEW_SYN_RECV: u8 = 12;
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, integers alone, no padding that is not a field, every bit pattern valid.
    unsafe impl aya::Pod for crate::call::Call {}
    // SAFETY: `repr(C)`, integers alone, no padding that is not a field, every bit pattern valid.
    unsafe impl aya::Pod for crate::tuple::Tuple {}
    // SAFETY: `repr(C)`, integers alone, no padding that is not a field, every bit pattern valid.
    unsafe impl aya::Pod for crate::fact::Facts {}
    // SAFETY: `repr(C)`, integers alone, no padding that is not a field, every bit pattern valid.
    unsafe impl aya::Pod for crate::config::Config {}
    // SAFETY: `repr(C)`, integers alone, no padding that is not a field, every bit pattern valid.
    unsafe impl aya::Pod for crate::offsets::Offsets {}
    // SAFETY: `repr(C)`, integers alone, no padding that is not a field, every bit pattern valid.
    unsafe impl aya::Pod for crate::stats::Stats {}
    // SAFETY: `repr(C)`, integers alone, no padding that is not a field, every bit pattern valid.
    unsafe impl aya::Pod for crate::listener::Port {}
    // SAFETY: `repr(C)`, integers alone, no padding that is not a field, every bit pattern valid.
    unsafe impl aya::Pod for crate::listener::Group {}
    // SAFETY: `repr(C)`, integers alone, no padding that is not a field, every bit pattern valid.
    unsafe impl aya::Pod for crate::listener::Lookups {}
}
