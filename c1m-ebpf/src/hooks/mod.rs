//! The hooks. Each cites its kernel prototype; arguments that a kernel lacks are behind a configured
//! count, and the verifier removes those branches.

mod call;
mod drop;
mod event;
mod function;
mod handshake;
mod icmp;
mod interrupt;
mod limit;
mod listen;
mod lookup;
mod reason;
mod request;
mod reset;
mod retransmit;
mod ring;
mod state;
mod teardown;
mod timer;
mod transition;
mod twin;

pub(crate) use call::Pending;
pub(crate) use drop::Freed;
