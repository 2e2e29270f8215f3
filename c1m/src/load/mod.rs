//! The load: a server and a client, each a supervisor and worker processes with an fd table of its own.
//!
//! The supervisor runs in the process of the command and does nothing per connection; the workers
//! ([`worker`], then [`accept`] or [`dial`]) do the system calls and share memory with it: the outcome of
//! every attempt ([`outcome`]) and counters ([`stats`]).

pub mod aliases;
pub mod client;
pub mod outcome;
pub mod pace;
pub mod server;
pub mod stats;
pub mod supervisor;
pub mod tuples;
pub mod worker;

mod accept;
mod dial;
mod echo;
mod open;
mod shared;
mod window;
