//! Server and client, as processes, in a network namespace of their own when root, else on loopback.

mod bad_input;
mod client;
mod rig;
mod server;
