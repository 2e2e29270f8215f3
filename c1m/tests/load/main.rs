//! Server and client, as processes, in a network namespace of their own when root, else on loopback.

mod aliases;
mod bad_input;
mod client;
mod doctor;
mod ends;
mod live;
mod metrics;
mod rig;
mod server;
mod settings;
mod traced;
