//! The hooks. Each cites its kernel prototype; arguments that a kernel lacks are behind a configured
//! count, and the verifier removes those branches.

mod drop;
mod handshake;
mod listen;
mod reset;
mod retransmit;
mod state;
