//! The ledger: every attempt with all that is known of it, closed by a census of who stands.

pub mod census;
pub mod counters;
