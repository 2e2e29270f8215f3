//! The system calls of one connection: to open and to end it.

use std::{
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::EventfdFlags,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};

use super::outcome::Stage;
use crate::cli::Close;

/// Opens a connection without waiting: the socket, its port, and whether it stands already.
pub(super) fn open(
    source: SocketAddr,
    target: SocketAddr,
) -> Result<(OwnedFd, u16, bool), (Stage, Errno)> {
    let family = match target {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)
        .map_err(|errno| (Stage::Socket, told_apart(errno)))?;
    let explicit = source.port() != 0;
    let set = if explicit {
        // So that a port in TIME_WAIT can be used at once.
        sockopt::set_socket_reuseaddr(&socket, true)
    } else {
        // So that connect() chooses the port, and it has to be free for this target only.
        bind_address_no_port(&socket)
    };
    set.and_then(|()| rustix::net::bind(&socket, &source))
        .map_err(|errno| (Stage::Bind, errno))?;
    let up = match rustix::net::connect(&socket, &target) {
        Ok(()) => true,
        // On loopback the handshake is over when connect() returns, but only asking again tells.
        Err(Errno::INPROGRESS) => match rustix::net::connect(&socket, &target) {
            Ok(()) | Err(Errno::ISCONN) => true,
            Err(Errno::ALREADY | Errno::INPROGRESS) => false,
            Err(errno) => return Err((Stage::Failed, errno)),
        },
        Err(errno) => return Err((Stage::Connect, errno)),
    };
    let port = if explicit {
        source.port()
    } else {
        let local = rustix::net::getsockname(&socket).ok();
        local
            .and_then(|local| SocketAddr::try_from(local).ok())
            .map_or(0, |local| local.port())
    };
    Ok((socket, port, up))
}

/// socket() says ENFILE for want of memory, too (`sock_alloc`). Then another file fails with ENOMEM.
fn told_apart(errno: Errno) -> Errno {
    let is_memory = || rustix::event::eventfd(0, EventfdFlags::CLOEXEC).err() == Some(Errno::NOMEM);
    match errno {
        Errno::NFILE if is_memory() => Errno::NOMEM,
        errno => errno,
    }
}

/// IP_BIND_ADDRESS_NO_PORT, which IPv6 sockets take as well (`ipv6_setsockopt` hands SOL_IP on).
fn bind_address_no_port(socket: &OwnedFd) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    // SAFETY: the value is a c_int that outlives the call, and its size is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

/// Ends a connection as `--close` says.
pub(super) fn end(socket: OwnedFd, how: Close) {
    match how {
        // It closes with the process.
        Close::None => std::mem::forget(socket),
        Close::Fin => drop(socket),
        Close::Rst => {
            // It can't fail on a socket; and if it did, the socket would close by FIN.
            let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
        }
    }
}
