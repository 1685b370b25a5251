//! Sockets that were found without their address (`sock_diag` does not tell it), and the events that
//! show it later: they are joined by cookie, else by both ends in the same network namespace.
//!
//! What was found carries the time at which the look began. So an event that comes after it in time
//! may have happened before it in truth: then the event is right.

use super::{
    connection::{Entry, SockId},
    event::StateChange,
    inspected::Inspected,
    machine::Engine,
    state::TcpState,
    table::Slot,
    tuple::FourTuple,
};

impl Engine {
    /// The connection that changes.
    #[inline]
    pub(super) fn known(&mut self, change: &StateChange) -> Option<Slot> {
        let known = self.table.find(change.sock);
        if known.is_some() || !self.table.is_indexed() {
            return known;
        }
        let slot = self.adopt(
            change.sock,
            change.cookie,
            change.netns,
            Some(&change.tuple),
        )?;
        let opens = matches!(
            (change.from, change.to),
            (TcpState::Close, _) | (TcpState::Listen, TcpState::SynRecv)
        );
        if opens {
            // It is this one, and was found in the state that it opens into.
            self.table.remove(change.sock);
            self.ledger.preexisting = self.ledger.preexisting.saturating_sub(1);
            return None;
        }
        if self.table.get(slot)?.state != change.from {
            let connection = self.table.enter(slot, change.from)?;
            connection.in_minisock = false;
            connection.entry = Entry::Unseen;
            self.ledger.unknown_starts += 1;
        }
        Some(slot)
    }

    /// An opening is followed, and now its cookie or its ends are known: if it was found meanwhile, it is
    /// no older one.
    #[inline]
    pub(super) fn was_opening(&mut self, slot: Slot) {
        if let Some(found) = self.table.note(slot) {
            self.ledger.preexisting = self.ledger.preexisting.saturating_sub(1);
            if let Some(connection) = self.table.get_mut(slot) {
                connection.own(found.owner);
            }
        }
    }

    /// Whoever was found without an address, and is this one, has it from here on.
    pub(super) fn adopt(
        &mut self,
        sock: SockId,
        cookie: u64,
        netns: u32,
        tuple: Option<&FourTuple>,
    ) -> Option<Slot> {
        if !self.table.is_indexed() || self.table.find(sock).is_some() {
            return None;
        }
        let slot = self.table.locate(cookie, netns, tuple)?;
        let before = self.table.get(slot)?.sock;
        if before.is_address() {
            return None;
        }
        self.table.rename(before, sock);
        self.looks.rename(before, sock);
        Some(slot)
    }

    /// The address of what was found, if it is one that we follow.
    pub(super) fn address_of(
        &mut self,
        found: SockId,
        cookie: u64,
        netns: u32,
        tuple: &FourTuple,
    ) -> SockId {
        if found.is_address() {
            return found;
        }
        self.table.index();
        if self.table.find(found).is_some() {
            return found;
        }
        let known = self.table.locate(cookie, netns, Some(tuple));
        let known = known.and_then(|slot| self.table.get(slot));
        known.map_or(found, |connection| connection.sock)
    }

    /// What was seen of a socket, under the address that we know it by.
    pub(super) fn addressed(&mut self, facts: &Inspected) -> Inspected {
        let sock = self.address_of(facts.sock, facts.cookie, facts.netns, &facts.tuple);
        Inspected {
            sock,
            ..facts.clone()
        }
    }
}
