//! One step of a connection's life, and what there is to tell of it.
//!
//! Every event of an established connection comes by here: a transition is written once, where it is
//! to be read.

use std::time::Duration;

use super::{
    closing::{ClosedFirst, EndReason},
    connection::{Connection, Entry},
    machine::Engine,
    owner::Processes,
    state::TcpState,
    table::Slot,
    time::Mono,
    update::{Transition, Update},
};

/// One step of a connection's life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) from: TcpState,
    pub(super) to: TcpState,
    pub(super) closed_first: Option<ClosedFirst>,
    pub(super) end_reason: Option<EndReason>,
    /// Whether it is told when it happens.
    pub(super) exact: bool,
}

impl Engine {
    /// A connection enters another state: its dwell ends, and is told.
    pub(super) fn step(&mut self, at: Mono, slot: Slot, step: Step, updates: &mut Vec<Update>) {
        let Some(connection) = self.table.get(slot) else {
            return;
        };
        let transition = self.step_of(at, connection, step);
        let (dwell, closed_first) = (transition.dwell, transition.closed_first);
        updates.push(Update::Transition(transition));
        if step.from == TcpState::CloseWait {
            let connection = *connection;
            self.left_close_wait(at, &connection);
        }
        if let Some(connection) = self.table.enter(slot, step.to) {
            connection.previous = step.from;
            connection.since = at;
            connection.entry = Entry::Exact;
            connection.closed_first = closed_first;
        }
        self.count(step, dwell);
    }

    /// What there is to tell of that, whether or not the connection is in the table.
    #[inline]
    pub(super) fn step_of(&self, at: Mono, connection: &Connection, step: Step) -> Transition {
        let entry = connection.entry;
        let stayed = at.since(connection.since);
        Transition {
            to: step.to,
            dwell: (entry > Entry::NotLater).then_some(stayed),
            at_least: (entry == Entry::NotLater).then_some(stayed),
            exact: entry == Entry::Exact && step.exact,
            closed_first: connection.closed_first.or(step.closed_first),
            end_reason: step.end_reason,
            ..told(&self.processes, connection, at, step.from)
        }
    }

    /// A step that ended a stay of so long, if that is known.
    pub(super) fn count(&mut self, step: Step, dwell: Option<Duration>) {
        self.stats.transition(step.from, step.to, dwell);
        if let (TcpState::TimeWait, Some(reason)) = (step.from, step.end_reason) {
            self.stats.time_wait_ended(reason);
        }
    }
}

/// What the connection itself says of a change from this state.
#[inline]
pub(super) fn told(
    processes: &Processes,
    connection: &Connection,
    at: Mono,
    from: TcpState,
) -> Transition {
    Transition {
        at,
        conn: Some(connection.id),
        cookie: connection.cookie,
        from,
        to: connection.state,
        dwell: None,
        at_least: None,
        tuple: connection.tuple,
        netns: connection.netns,
        role: connection.role,
        owner: connection.owner,
        process: processes.facts(connection.owner).copied(),
        closed_first: connection.closed_first,
        end_reason: None,
        exact: false,
    }
}
