//! The sockets that are there now, as the engine knows them.

use std::time::Duration;

use hashbrown::HashSet;

use super::{
    connection::Entry, machine::Engine, state::TcpState, step::told, time::Mono, update::Transition,
};

/// A socket or minisock that has not ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenSocket {
    /// The change into the state that it is in (`to`); from `Unknown` where it was found in it.
    pub last: Transition,
    /// How long it has been in it, at least; `None`: not known at all.
    pub age: Option<Duration>,
    /// Whether the age is exact, not a lower bound.
    pub age_is_exact: bool,
    /// A minisock stands for it: no process holds it any more.
    pub in_minisock: bool,
}

impl Engine {
    /// How many sockets are in this state now. Costs nothing, however many there are.
    pub fn open_in(&self, state: TcpState) -> usize {
        self.table.in_state(state)
    }

    /// All of them, listeners included, in no order that means anything.
    pub fn open_sockets(&self, now: Mono) -> impl Iterator<Item = OpenSocket> {
        self.table.iter().map(move |connection| {
            let (since, previous) = (connection.since, connection.previous);
            let seen = connection.entry != Entry::Unseen;
            OpenSocket {
                last: told(&self.processes, connection, since, previous),
                age: seen.then(|| now.since(connection.since)),
                age_is_exact: connection.entry == Entry::Exact,
                in_minisock: connection.in_minisock,
            }
        })
    }

    /// The ports that somebody listens on, in any network namespace.
    pub(super) fn listening_ports(&self) -> HashSet<u16> {
        let listeners = self.table.iter().filter(|c| c.state == TcpState::Listen);
        listeners.map(|c| c.tuple.local.port).collect()
    }
}
