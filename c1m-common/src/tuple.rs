//! The identity of an attempt on the wire.

/// A connection's addresses and ports, always written from the client to the server whoever saw it.
///
/// IPv4 addresses stand as IPv4-mapped IPv6 addresses (`::ffff:a.b.c.d`), so both families share one
/// key. The network namespace is not part of it: the tracer's filter names the namespaces of a run, and
/// the two ends of one connection may lie in two of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// The client's address, network byte order.
    pub client: [u8; 16],
    /// The server's address, network byte order.
    pub server: [u8; 16],
    /// The client's port, host byte order.
    pub client_port: u16,
    /// The server's port, host byte order.
    pub server_port: u16,
    /// Zero, as map keys are compared byte by byte; but in `CHANGED` it tells the [`CLIENT`](crate::config::changed::CLIENT)'s end
    /// from the server's.
    pub pad: u32,
}

const _: () = assert!(size_of::<Tuple>() == 40 && align_of::<Tuple>() == 4);

/// `::ffff:a.b.c.d` for an IPv4 address in network byte order.
#[inline(always)]
pub const fn mapped_v4(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
