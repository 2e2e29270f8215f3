//! The listeners that the kernel side knows of.

use crate::{fact::QueueState, tuple::Tuple};

/// Where a listener listens.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Port {
    /// Inode number of its network namespace.
    pub namespace: u32,
    /// Host byte order.
    pub port: u16,
    /// Zero.
    pub pad: u16,
}

/// How many listeners of one port are told apart.
pub const GROUP_MAX: usize = 64;

/// The listening sockets of one port: several by SO_REUSEPORT or on several addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many there were that found no slot.
    pub overflow: u32,
    /// Zero.
    pub pad: u32,
    /// When one came or went last, monotonic.
    pub changed_ns: u64,
    /// Their `struct sock`, 0 for a free slot.
    pub socks: [u64; GROUP_MAX],
}

/// What one listener has waiting, as the kernel side lists it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Where it listens.
    pub at: Port,
    /// Its queues.
    pub queue: QueueState,
}

/// How many SYNs can be asked about at once.
pub const LOOKUPS_MAX: usize = 32;

/// A question to the kernel: to which listener would it give these SYNs?
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Of whom; a server port of 0 ends the list.
    pub tuples: [Tuple; LOOKUPS_MAX],
    /// The answer: `struct sock` of each, 0 for none.
    pub socks: [u64; LOOKUPS_MAX],
}

const _: () = assert!(size_of::<Port>() == 8 && size_of::<Group>() == 16 + 64 * 8);
const _: () = assert!(size_of::<Lookups>() == LOOKUPS_MAX * (40 + 8));
const _: () = assert!(size_of::<Waiting>() == 24);
