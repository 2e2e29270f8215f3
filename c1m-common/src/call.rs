//! System calls of a traced command that failed before there was a connection to speak of.

/// Values of [`Call::call`].
pub mod kind {
    /// socket() of a TCP socket.
    pub const SOCKET: u8 = 1;
    /// bind() to a port that is not traced: a client's.
    pub const BIND: u8 = 2;
    /// connect() to a traced port, before its SYN.
    pub const CONNECT: u8 = 3;
    /// accept() or accept4().
    pub const ACCEPT: u8 = 4;
}

/// A kind of failure: the key of the map, whose value is how often.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Call {
    /// The address that bind() or connect() was given, IPv4-mapped if need be; zeros for the others.
    pub address: [u8; 16],
    /// Its port, host byte order.
    pub port: u16,
    /// What the call failed with.
    pub errno: u16,
    /// Which call: a [`kind`] value.
    pub call: u8,
    /// Zero.
    pub pad: [u8; 3],
}

const _: () = assert!(size_of::<Call>() == 24);
