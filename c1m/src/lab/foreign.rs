//! A server that is not c1m's: it accepts when the lab says so, and closes as the lab says.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpStream},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Signal, set_parent_process_death_signal},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Skip;
use crate::netns::Netns;

/// A listener in the lab's own process, and what it accepted.
#[derive(Debug)]
pub(super) struct Foreign {
    listener: Option<Socket>,
    /// The accepted connections.
    pub(super) held: Vec<Socket>,
}

impl Foreign {
    /// Listens on `address` in `ns` (`None`: the lab's own), and accepts nothing yet.
    pub(super) fn listen(
        ns: Option<&Netns>,
        address: SocketAddr,
        backlog: u32,
    ) -> anyhow::Result<Self> {
        Self::listener(ns, address, backlog, false)
    }

    /// Likewise, but others may listen there too (SO_REUSEPORT).
    pub(super) fn listen_shared(
        ns: Option<&Netns>,
        address: SocketAddr,
        backlog: u32,
    ) -> anyhow::Result<Self> {
        Self::listener(ns, address, backlog, true)
    }

    /// Likewise, for connections of MPTCP.
    pub(super) fn listen_mptcp(address: SocketAddr, backlog: u32) -> anyhow::Result<Self> {
        let listener = mptcp_socket(address)?;
        let listener = listen(listener, address, backlog, false)
            .with_context(|| format!("cannot listen on {address} for MPTCP"))?;
        Ok(Self {
            listener: Some(listener),
            held: Vec::new(),
        })
    }

    fn listener(
        ns: Option<&Netns>,
        address: SocketAddr,
        backlog: u32,
        shared: bool,
    ) -> anyhow::Result<Self> {
        let listen = || listen(socket(address)?, address, backlog, shared);
        let listener = match ns {
            Some(ns) => ns.run(listen)?,
            None => listen(),
        };
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        Ok(Self {
            listener: Some(listener),
            held: Vec::new(),
        })
    }

    /// Accepts what waits, but holds at most `count` in all; how many it holds.
    pub(super) fn accept(&mut self, count: usize) -> anyhow::Result<usize> {
        while let Some(listener) = &self.listener
            && self.held.len() < count
        {
            match listener.accept() {
                Ok((connection, _)) => self.held.push(connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("the lab's server cannot accept"),
            }
        }
        Ok(self.held.len())
    }

    /// Puts clients into the order in which it holds their connections.
    pub(super) fn sort(&self, clients: &mut [impl AsFd]) -> io::Result<()> {
        let mut held = HashMap::new();
        for (index, connection) in self.held.iter().enumerate() {
            held.insert(connection.peer_addr()?, index);
        }
        let mut unreadable = Ok(());
        clients.sort_by_cached_key(|client| match SockRef::from(client).local_addr() {
            Ok(own) => held.get(&own).copied(),
            Err(error) => {
                unreadable = Err(error);
                None
            }
        });
        unreadable
    }

    /// Sets an option of the listener.
    pub(super) fn set(&self, option: impl FnOnce(&Socket) -> io::Result<()>) -> anyhow::Result<()> {
        let listener = self.listener.as_ref().context("nobody listens any more")?;
        option(listener).context("the lab's server cannot set an option of its listener")
    }

    /// Stops listening: what waits in the accept queue is reset by the kernel.
    pub(super) fn stop_listening(&mut self) {
        self.listener = None;
    }

    /// Closes `count` of the accepted connections with an RST.
    pub(super) fn reset(&mut self, count: usize) -> anyhow::Result<()> {
        let keep = self.held.len().saturating_sub(count);
        for connection in self.held.drain(keep..) {
            connection.set_linger(Some(Duration::ZERO))?;
        }
        Ok(())
    }

    /// Closes `count` of the accepted connections with a FIN.
    pub(super) fn close(&mut self, count: usize) {
        self.held.truncate(self.held.len().saturating_sub(count));
    }
}

fn listen(listener: Socket, address: SocketAddr, backlog: u32, shared: bool) -> io::Result<Socket> {
    listener.set_reuse_address(true)?;
    listener.set_reuse_port(shared)?;
    listener.bind(&address.into())?;
    listener.listen(i32::try_from(backlog).map_err(io::Error::other)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A process of its own that inherited some of a server's connections, until it is killed.
#[derive(Debug)]
pub(super) struct Heir(Child);

impl Heir {
    /// Hands `count` of the accepted connections on to a new process.
    pub(super) fn of(server: &mut Foreign, count: usize) -> anyhow::Result<Self> {
        let keep = server.held.len().saturating_sub(count);
        let inherited: Vec<Socket> = server.held.drain(keep..).collect();
        let mut command = Command::new("sleep");
        command
            .arg("600")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let fds: Vec<OwnedFd> = inherited.into_iter().map(OwnedFd::from).collect();
        // SAFETY: between fork and exec the closure makes system calls only, and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                for fd in &fds {
                    fcntl_setfd(fd, FdFlags::empty())?;
                }
                Ok(())
            })
        };
        // The command, and this process's share of the connections, ends here: the heir alone has them.
        Ok(Self(command.spawn().context("cannot start sleep")?))
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills it: its connections end with it.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

/// Resets a connection: closes it with SO_LINGER 0.
pub(super) fn reset(connection: TcpStream) -> anyhow::Result<()> {
    SockRef::from(&connection).set_linger(Some(Duration::ZERO))?;
    Ok(())
}

/// Connects `count` times to `target`, from the lab's own namespace.
pub(super) fn connect(target: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let one = |_| TcpStream::connect_timeout(&target, Duration::from_secs(5));
    let connected: io::Result<Vec<_>> = (0..count).map(one).collect();
    connected.with_context(|| format!("the lab cannot connect to {target}"))
}

/// Connects from an address and port that others may have used before (SO_REUSEADDR).
pub(super) fn connect_from(source: SocketAddr, target: SocketAddr) -> anyhow::Result<Socket> {
    let connect = || -> io::Result<Socket> {
        let socket = socket(source)?;
        socket.set_reuse_address(true)?;
        socket.bind(&source.into())?;
        socket.connect_timeout(&target.into(), Duration::from_secs(5))?;
        Ok(socket)
    };
    connect().with_context(|| format!("the lab cannot connect from {source} to {target}"))
}

/// Binds an address and port that nobody else may have then.
pub(super) fn bind(source: SocketAddr) -> anyhow::Result<Socket> {
    let bind = || -> io::Result<Socket> {
        let socket = socket(source)?;
        socket.bind(&source.into())?;
        Ok(socket)
    };
    bind().with_context(|| format!("the lab cannot bind {source}"))
}

/// Sets an integer option of a TCP socket that no library has.
pub(super) fn set_tcp(
    socket: BorrowedFd,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, option, value)
}

/// The same at any level.
pub(super) fn set_option(
    socket: BorrowedFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: reads a live integer of the size that is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A TCP socket of the address's family.
pub(super) fn socket(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
}

/// The same of MPTCP. Errors: a [`Skip`] if this kernel has none.
pub(super) fn mptcp_socket(address: SocketAddr) -> anyhow::Result<Socket> {
    let domain = Domain::for_address(address);
    let none = |error| Skip(format!("this kernel has no MPTCP: {error}"));
    Ok(Socket::new(domain, Type::STREAM, Some(Protocol::MPTCP)).map_err(none)?)
}
