//! The tracer: finds out what this kernel has, loads and attaches the eBPF programs, reads their maps.

pub mod attach;
pub mod btf;
mod changed;
mod chosen;
pub mod cost;
mod generations;
pub mod hooks;
mod interrupts;
pub mod load;
pub mod preflight;
mod queues;
pub mod read;
mod say;
pub mod symbols;
mod tree;

pub use attach::{Filter, Tracer};
