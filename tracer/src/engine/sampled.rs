//! Minisocks that are only seen now and then: begun and ended between two looks.

use std::time::Duration;

use super::{
    closing::{ClosedFirst, EndReason, closed_first},
    connection::{Connection, Entry},
    event::{Found, StateChange},
    limbo::Held,
    machine::{Engine, counts_as_closed},
    minisock::FIN_CAME,
    state::TcpState,
    step::Step,
    table::Slot,
    time::Mono,
    update::Update,
};

/// Looks that stand in for hooks come once a second; an emulated CPU may be late.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

impl Engine {
    /// The socket is closed; what became of the connection will be seen.
    pub(super) fn hold_close(
        &mut self,
        at: Mono,
        slot: Option<Slot>,
        change: &StateChange,
        updates: &mut Vec<Update>,
    ) {
        let known = slot.and_then(|slot| {
            self.tell_opening(slot, None, updates);
            self.table.get(slot).copied()
        });
        self.table.remove(change.sock);
        let connection = if let Some(known) = known {
            Connection {
                cookie: if known.cookie == 0 {
                    change.cookie
                } else {
                    known.cookie
                },
                tuple: change.tuple,
                entry: if known.state == change.from {
                    known.entry
                } else {
                    Entry::Unseen
                },
                closed_first: known
                    .closed_first
                    .or_else(|| closed_first(change.from, TcpState::TimeWait, None)),
                ..known
            }
        } else {
            self.ledger.unknown_starts += 1;
            let (connection, _) = self.follow(at, change, TcpState::Close, Entry::Unseen);
            Connection {
                state: change.from,
                ..connection
            }
        };
        if counts_as_closed(change.from) {
            let first = connection.closed_first.unwrap_or(ClosedFirst::Unknown);
            self.stats.closed(first);
        }
        let held = Held {
            connection,
            from: change.from,
            at,
        };
        if let Some(held) = self.limbo.hold(held) {
            self.tell_closed(&held, updates);
        }
    }

    /// Nobody found a minisock: it closed, or one was there for less than the time between two looks.
    /// So it stayed at least so long.
    pub(super) fn tell_closed(&mut self, held: &Held, updates: &mut Vec<Update>) {
        let mut connection = held.connection;
        connection.entry = connection.entry.min(Entry::NotLater);
        let step = Step {
            from: held.from,
            to: TcpState::Close,
            closed_first: Some(ClosedFirst::Unknown),
            end_reason: Some(EndReason::Unknown),
            exact: false,
        };
        let transition = self.step_of(held.at, &connection, step);
        self.count(step, transition.dwell);
        updates.push(Update::Transition(transition));
    }

    /// A minisock was seen. Whether it is one that we know, or the rest of a connection that we do.
    pub(super) fn found_minisock(
        &mut self,
        at: Mono,
        found: &Found,
        updates: &mut Vec<Update>,
    ) -> bool {
        if let Some(slot) = self.table.find(found.sock) {
            let state = self.table.get(slot).map(|c| (c.state, c.in_minisock));
            if state == Some((TcpState::FinWait2, true)) && found.state == TcpState::TimeWait {
                self.fin_had_come(at, slot, found.entered, updates);
            }
            return true;
        }
        let Some(held) = self.limbo.found(found.tuple, found.netns, found.cookie) else {
            return false;
        };
        let mut connection = held.connection;
        connection.sock = found.sock;
        connection.in_minisock = true;
        let Some(slot) = self.table.insert(connection) else {
            self.ledger.untracked += 1;
            self.tell_closed(&held, updates);
            return true;
        };
        if found.state == TcpState::TimeWait {
            // The stamp of the FIN, if it came after the minisock was made.
            let stamp = found.entered.filter(|stamp| *stamp > held.at);
            let exact = stamp.is_some();
            let step = Step {
                from: held.from,
                // Without it: between the change and the look, mostly at the change.
                exact,
                ..FIN_CAME
            };
            self.step(stamp.unwrap_or(held.at), slot, step, updates);
            self.limit_entry(slot, entry_of(exact));
        } else {
            self.ledger.unchanged += 1;
        }
        true
    }

    /// The FIN came between the minisock's birth and a look. When, its stamp may know.
    fn fin_had_come(
        &mut self,
        at: Mono,
        slot: Slot,
        stamp: Option<Mono>,
        updates: &mut Vec<Update>,
    ) {
        let stamp = stamp.filter(|stamp| self.is_of_the_fin(slot, *stamp));
        let exact = stamp.is_some();
        let born = self.table.get(slot).map_or(at, |c| c.since);
        // A look after the minisock may be long after the FIN: how long it had waited, nobody knows.
        let entries = match exact {
            false if at.since(born) > BETWEEN_LOOKS => [Entry::Unseen, Entry::NotLater],
            exact => [entry_of(exact); 2],
        };
        self.fin_came(stamp.unwrap_or(at), slot, entries, updates);
    }
}

const fn entry_of(exact: bool) -> Entry {
    if exact {
        Entry::Exact
    } else {
        Entry::Approximate
    }
}
