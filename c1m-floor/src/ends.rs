//! Both ends of the connections, each a process of its own.

use std::{
    mem::forget,
    net::{Ipv4Addr, SocketAddrV4},
    ops::Range,
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};

use crate::{
    FIRST_PORT, Options,
    tally::{End, Tally},
};

/// Accepts `count` connections and holds them to the end. The listener blocks, though not for long: of those who wait in
/// accept() the kernel wakes one, of those who poll it wakes all.
pub(crate) fn accept(
    listener: &OwnedFd,
    turn: usize,
    at_a_time: usize,
    count: usize,
    tally: &Tally,
) {
    let slot = tally.slot();
    let mut held = 0;
    tally.wait();
    tally.wait_for(End::Accept, turn, at_a_time);
    while held < count && !tally.is_stopped() {
        match rustix::net::accept_with(listener, SocketFlags::empty()) {
            Ok(connection) => {
                // It closes with the process.
                forget(connection);
                held += 1;
                slot.accepted();
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(_) => break,
        }
    }
    tally.end_turn(End::Accept);
    tally.hold();
}

/// Opens these connections and holds them to the end.
pub(crate) fn dial(options: &Options, turn: usize, share: Range<usize>, tally: &Tally) {
    let slot = tally.slot();
    tally.wait();
    tally.wait_for(End::Dial, turn, options.at_a_time);
    for index in share {
        let address = u32::from(Ipv4Addr::new(127, 0, 1, 1)) + (index / options.per_ip) as u32;
        let port = (FIRST_PORT + index % options.per_ip) as u16;
        match open(SocketAddrV4::new(address.into(), port), options.listen) {
            Ok(connection) => {
                forget(connection);
                slot.connected();
            }
            Err(_) => slot.failed(),
        }
    }
    tally.end_turn(End::Dial);
    tally.hold();
}

fn open(from: SocketAddrV4, to: SocketAddrV4) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::empty(),
        None,
    )?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &from)?;
    rustix::net::connect(&socket, &to)?;
    Ok(socket)
}
