//! `--echo`: sends back what is received. A connection has a buffer only while its peer is slow to read.

use std::{
    collections::HashMap,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use bytes::{Buf, Bytes};
use rustix::{
    event::epoll::EventFlags,
    io::Errno,
    net::{RecvFlags, SendFlags},
};

/// Bytes read at a time, and so the most that one connection has unsent.
const CHUNK: usize = 64 * 1024;

/// What to watch a connection for that has nothing unsent. Level-triggered: one read each time, so that
/// no peer keeps the others waiting.
pub(super) const IDLE: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);

/// What becomes of a connection.
pub(super) enum Next {
    /// It is over.
    Over,
    /// It goes on.
    Same,
    /// It goes on, and waits for something else now.
    Watch(EventFlags),
}

pub(super) struct Echo {
    /// One for all connections.
    scratch: Vec<u8>,
    unsent: HashMap<RawFd, Bytes>,
}

impl Default for Echo {
    fn default() -> Self {
        Self {
            scratch: vec![0; CHUNK],
            unsent: HashMap::new(),
        }
    }
}

impl Echo {
    /// Sends what is unsent, or receives once and sends that. What does not go out is kept, and nothing
    /// more is read until it has gone.
    pub(super) fn attend(&mut self, connection: &OwnedFd) -> Next {
        let fd = connection.as_raw_fd();
        if let Some(mut rest) = self.unsent.remove(&fd) {
            return match send(connection, &rest) {
                Ok(sent) if sent == rest.len() => Next::Watch(IDLE),
                Ok(sent) => {
                    rest.advance(sent);
                    self.unsent.insert(fd, rest);
                    Next::Same
                }
                Err(_) => Next::Over,
            };
        }
        let data = match rustix::net::recv(connection, &mut self.scratch[..], RecvFlags::empty()) {
            Ok((0, _)) => return Next::Over,
            Ok((len, _)) => &self.scratch[..len],
            Err(Errno::AGAIN | Errno::INTR) => return Next::Same,
            Err(_) => return Next::Over,
        };
        match send(connection, data) {
            Ok(sent) if sent == data.len() => Next::Same,
            Ok(sent) => {
                self.unsent
                    .insert(fd, Bytes::copy_from_slice(&data[sent..]));
                Next::Watch(EventFlags::OUT)
            }
            Err(_) => Next::Over,
        }
    }

    /// The connection is closed: its number will belong to another.
    pub(super) fn forget(&mut self, fd: RawFd) {
        self.unsent.remove(&fd);
    }
}

/// How much of it the socket took.
fn send(connection: &OwnedFd, data: &[u8]) -> Result<usize, Errno> {
    let mut sent = 0;
    while sent < data.len() {
        match rustix::net::send(connection, &data[sent..], SendFlags::NOSIGNAL) {
            Ok(len) => sent += len,
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(sent)
}
