//! A server that is not c1m's: it accepts when the lab says so, and closes as the lab says.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};

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
        let listen = || -> io::Result<Socket> {
            let listener = Socket::new(
                Domain::for_address(address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            listener.set_reuse_address(true)?;
            listener.bind(&address.into())?;
            listener.listen(i32::try_from(backlog).map_err(io::Error::other)?)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
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

/// Connects `count` times to `target`, from the lab's own namespace.
pub(super) fn connect(target: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let one = |_| TcpStream::connect_timeout(&target, Duration::from_secs(5));
    let connected: io::Result<Vec<_>> = (0..count).map(one).collect();
    connected.with_context(|| format!("the lab cannot connect to {target}"))
}
