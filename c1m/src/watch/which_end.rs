//! Which end of its connection a socket is, where both have a traced port.

use std::{collections::HashMap, net::Ipv6Addr};

use c1m_common::tuple::Tuple;

use crate::{
    ledger::census::{self, Listener, Side, Socket},
    netns::Netns,
};

/// The ends of one census.
pub(super) struct WhichEnd<'a> {
    ports: &'a [u16],
    /// Who listens in a namespace, where it was asked.
    listeners: HashMap<u32, Vec<Listener>>,
}

impl<'a> WhichEnd<'a> {
    /// Of connections to these ports.
    pub(super) fn new(ports: &'a [u16]) -> Self {
        Self {
            ports,
            listeners: HashMap::new(),
        }
    }

    /// Whether `socket`, which a census found for its ports, is at this end. If both of them are traced, the server's end is the
    /// one where somebody listens.
    pub(super) fn is(&mut self, namespace: &Netns, side: Side, socket: &Socket) -> bool {
        let tuple = &socket.tuple;
        if !self.ports.contains(&tuple.client_port) || !self.ports.contains(&tuple.server_port) {
            return true;
        }
        let ports = self.ports;
        let listeners = self.listeners.entry(namespace.inum).or_insert_with(|| {
            // Without a list of them nobody listens.
            let of = |&port: &u16| census::listeners(namespace, port).unwrap_or_default();
            ports.iter().flat_map(of).collect()
        });
        let own = own(side, tuple);
        let is_server = listeners
            .iter()
            .any(|listener| listener.port == own.1 && listener.takes(own.0.into()));
        is_server == (side == Side::Server)
    }
}

/// Address and port of the end itself.
fn own(side: Side, tuple: &Tuple) -> (Ipv6Addr, u16) {
    let (address, port) = match side {
        Side::Client => (tuple.client, tuple.client_port),
        Side::Server => (tuple.server, tuple.server_port),
    };
    (address.into(), port)
}
