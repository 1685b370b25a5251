//! What is found out about sockets beside their changes: those that were there before, and who holds
//! one.

use super::{
    closing::was_closed_first,
    connection::{Connection, Entry, Role},
    event::{Found, Held},
    machine::Engine,
    owner::{Owner, OwnerSource},
    state::TcpState,
    time::Mono,
    update::Update,
};

impl Engine {
    /// A process was found to hold a socket. On a socket that called `connect` it adds nothing.
    pub(super) fn held(&mut self, held: &Held) {
        let owner = self.processes.owner(held.pid, held.source);
        let found = self.adopt(held.sock, held.cookie, 0, None);
        let slot = found.or_else(|| self.table.find(held.sock));
        if let Some(connection) = slot.and_then(|slot| self.table.get_mut(slot))
            && !connection.is_another(held.cookie)
        {
            connection.own(owner);
        }
    }

    /// A socket of the snapshot. One that we follow already was not there before, or changed since:
    /// only who holds it may be news.
    pub(super) fn found(&mut self, at: Mono, found: &Found, updates: &mut Vec<Update>) {
        let sock = self.address_of(found.sock, found.cookie, found.netns, &found.tuple);
        let found = &Found { sock, ..*found };
        let source = if found.pid == 0 {
            OwnerSource::Unknown
        } else {
            OwnerSource::FdScan
        };
        let owner = self.processes.owner(found.pid, source);
        if found.in_minisock && self.found_minisock(at, found, updates) {
            return;
        }
        let known = self.table.find(found.sock);
        if let Some(connection) = known.and_then(|slot| self.table.get_mut(slot)) {
            if connection.owner == Owner::UNKNOWN {
                connection.own(owner);
            }
            return;
        }
        let (since, entry) = match found.entered {
            Some(entered) => (entered, Entry::Exact),
            None => (at, Entry::NotLater),
        };
        let connection = Connection {
            id: self.next_id(),
            sock: found.sock,
            cookie: found.cookie,
            since,
            tuple: found.tuple,
            netns: found.netns,
            owner,
            previous: TcpState::Unknown,
            state: found.state,
            role: Role::Unknown,
            closed_first: was_closed_first(found.state),
            in_minisock: found.in_minisock,
            entry,
            opening_held: false,
        };
        self.ledger.preexisting += 1;
        self.ledger.untracked += u64::from(self.table.insert(connection).is_none());
    }
}
