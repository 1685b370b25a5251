//! The connections that are alive, by the address of their socket or minisock. Bounded.

use hashbrown::HashMap;
use slab::Slab;

use super::connection::{Connection, SockId};

/// A place in the table, as long as the connection is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

/// The table.
#[derive(Debug)]
pub struct Table {
    by_sock: HashMap<SockId, Slot>,
    connections: Slab<Connection>,
    limit: usize,
}

impl Table {
    /// A table for at most `limit` connections.
    pub fn new(limit: usize) -> Self {
        Self {
            by_sock: HashMap::new(),
            connections: Slab::new(),
            limit: limit.min(u32::MAX as usize),
        }
    }

    /// How many are followed.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// The connection on this socket.
    #[inline]
    pub fn find(&self, sock: SockId) -> Option<Slot> {
        self.by_sock.get(&sock).copied()
    }

    /// The connection in a slot.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&Connection> {
        self.connections.get(slot.0 as usize)
    }

    /// The connection in a slot, to change it.
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Connection> {
        self.connections.get_mut(slot.0 as usize)
    }

    /// Follows one more; `None` when the table is full. What was on the socket is forgotten.
    #[inline]
    pub fn insert(&mut self, connection: Connection) -> Option<Slot> {
        self.remove(connection.sock);
        if self.connections.len() >= self.limit {
            return None;
        }
        let sock = connection.sock;
        let slot = Slot(u32::try_from(self.connections.insert(connection)).ok()?);
        self.by_sock.insert(sock, slot);
        Some(slot)
    }

    /// Forgets one.
    #[inline]
    pub fn remove(&mut self, sock: SockId) -> Option<Connection> {
        let slot = self.by_sock.remove(&sock)?;
        self.connections.try_remove(slot.0 as usize)
    }

    /// What was on `from` is on `to` from now on; what was there is forgotten.
    pub fn rename(&mut self, from: SockId, to: SockId) {
        let Some(slot) = self.by_sock.remove(&from) else {
            return;
        };
        self.remove(to);
        if let Some(connection) = self.get_mut(slot) {
            connection.sock = to;
            self.by_sock.insert(to, slot);
        }
    }

    /// All that are followed, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().map(|(_, connection)| connection)
    }
}
