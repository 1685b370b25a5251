//! The connections that are alive, by the address of their socket or minisock. Bounded.

use std::mem::replace;

use hashbrown::{
    HashMap,
    hash_map::Entry::{Occupied, Vacant},
};
use slab::Slab;

use super::{
    connection::{Connection, SockId},
    ends::Ends,
    state::TcpState,
    tuple::FourTuple,
};

/// A place in the table, as long as the connection is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub(super) u32);

/// The table.
#[derive(Debug)]
pub struct Table {
    by_sock: HashMap<SockId, Slot>,
    connections: Slab<Connection>,
    /// How many are in each state, so that nobody has to go through them for it.
    states: [usize; TcpState::COUNT],
    limit: usize,
    /// Kept from the first socket on whose address is not told.
    ends: Option<Box<Ends>>,
}

impl Table {
    /// A table for at most `limit` connections.
    pub fn new(limit: usize) -> Self {
        Self {
            by_sock: HashMap::new(),
            connections: Slab::new(),
            states: [0; TcpState::COUNT],
            limit: limit.min(u32::MAX as usize),
            ends: None,
        }
    }

    /// How many are followed.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// How many are in this state.
    pub const fn in_state(&self, state: TcpState) -> usize {
        self.states[state.index()]
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

    /// The connection in a slot, to change it: all but its state, see [`Self::enter`].
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Connection> {
        self.connections.get_mut(slot.0 as usize)
    }

    /// The connection in a slot, which enters a state.
    #[inline]
    pub fn enter(&mut self, slot: Slot, state: TcpState) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(slot.0 as usize)?;
        self.states[connection.state.index()] -= 1;
        self.states[state.index()] += 1;
        connection.state = state;
        Some(connection)
    }

    /// Follows one more; `None` when the table is full. What was on the socket is forgotten.
    #[inline]
    pub fn insert(&mut self, connection: Connection) -> Option<Slot> {
        let (sock, state) = (connection.sock, connection.state);
        let is_full = self.connections.len() >= self.limit;
        let slot = match self.by_sock.entry(sock) {
            Vacant(_) if is_full => return None,
            Vacant(place) => {
                let slot = Slot(u32::try_from(self.connections.insert(connection)).ok()?);
                *place.insert(slot)
            }
            Occupied(place) => {
                let slot = *place.get();
                let there = self.connections.get_mut(slot.0 as usize)?;
                let before = replace(there, connection);
                self.let_go(slot, &before);
                slot
            }
        };
        self.states[state.index()] += 1;
        self.note(slot);
        Some(slot)
    }

    /// Forgets one.
    #[inline]
    pub fn remove(&mut self, sock: SockId) -> Option<Connection> {
        let slot = self.by_sock.remove(&sock)?;
        let removed = self.connections.try_remove(slot.0 as usize)?;
        self.let_go(slot, &removed);
        Some(removed)
    }

    /// What was in this slot is there no longer.
    #[inline]
    fn let_go(&mut self, slot: Slot, connection: &Connection) {
        self.states[connection.state.index()] -= 1;
        if let Some(ends) = &mut self.ends {
            ends.forget(slot, connection);
        }
    }

    /// What was on `from` is on `to` from now on; what was there is forgotten.
    pub fn rename(&mut self, from: SockId, to: SockId) -> Option<Slot> {
        let slot = self.by_sock.remove(&from)?;
        self.remove(to);
        self.get_mut(slot)?.sock = to;
        self.by_sock.insert(to, slot);
        Some(slot)
    }

    /// Has learned its cookie or its ends. Who stood there only by these, under no address, was itself:
    /// it is returned.
    #[inline]
    pub fn note(&mut self, slot: Slot) -> Option<Connection> {
        let ends = self.ends.as_mut()?;
        let connection = self.connections.get(slot.0 as usize)?;
        let before = ends.note(slot, connection);
        let twin = before.filter(|before| *before != slot)?;
        let sock = self.connections.get(twin.0 as usize)?.sock;
        if sock.is_address() {
            return None;
        }
        self.remove(sock)
    }

    /// Who is known by this cookie, else by these ends: where no address is told.
    pub fn locate(&self, cookie: u64, netns: u32, tuple: Option<&FourTuple>) -> Option<Slot> {
        let ends = self.ends.as_ref()?;
        let is_it = |slot: &Slot| {
            self.get(*slot).is_some_and(|c| {
                let same_space = netns == 0 || c.netns == 0 || netns == c.netns;
                same_space && !c.is_another(cookie) && tuple.is_none_or(|t| !c.tuple.contradicts(t))
            })
        };
        let by_cookie = ends.by_cookie(cookie).filter(is_it);
        by_cookie.or_else(|| ends.by_ends(tuple?, netns).filter(is_it))
    }

    /// From here on [`Self::locate`] knows everybody.
    pub fn index(&mut self) {
        if self.ends.is_none() {
            self.ends = Some(Box::default());
            for (slot, connection) in &self.connections {
                let slot = u32::try_from(slot).map(Slot);
                if let (Ok(slot), Some(ends)) = (slot, &mut self.ends) {
                    ends.note(slot, connection);
                }
            }
        }
    }

    /// Whether there may be somebody without an address.
    #[inline]
    pub const fn is_indexed(&self) -> bool {
        self.ends.is_some()
    }

    /// All that are followed, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().map(|(_, connection)| connection)
    }
}
