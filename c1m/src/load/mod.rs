//! The load: a server and a client, each a supervisor and worker processes with an fd table of its own.

pub mod outcome;
