//! Which sockets lingered at some moment of a recording. The latest look at them may be long ago then:
//! what has changed since is told by the state changes, and of what came since nobody knows why it stays.

use std::{sync::Arc, time::Duration};

use hashbrown::HashSet;

use super::{
    super::{
        connection::{Connection, Entry},
        inspected::Looked,
        machine::Engine,
        state::TcpState,
        time::Mono,
    },
    Age, Chosen, OlderThan, StuckSocket,
    cause::unseen,
};

impl Engine {
    /// The sockets that are in one of these states, oldest first, whether or not a look has shown them.
    /// Those that are not known to be so old are counted.
    ///
    /// Requests (SYN_RECV) are no connections: they are as the latest look showed them.
    pub fn stuck_as_of(
        &self,
        now: Mono,
        wanted: impl Fn(TcpState) -> bool,
        older_than: impl Into<OlderThan>,
    ) -> (Vec<StuckSocket>, usize) {
        let mut chosen = Chosen::of(older_than.into());
        let mut shown = HashSet::new();
        for seen in self.looks.sockets().filter(|s| wanted(s.facts.state)) {
            let Some((age, entered, connection)) = self.age(now, seen) else {
                continue;
            };
            // What was followed, and is not any more, has ended since.
            if connection.is_none() && seen.facts.state != TcpState::SynRecv {
                continue;
            }
            shown.extend(connection.map(|connection| connection.id));
            chosen.take(age, || self.describe(now, seen, age, entered, connection));
        }
        let others = self.table.iter().filter(|c| wanted(c.state));
        for connection in others.filter(|c| !shown.contains(&c.id) && !self.is_gone(c)) {
            let age = age_unseen(now, connection);
            chosen.take(age, || self.describe_unseen(connection, age));
        }
        chosen.oldest_first()
    }

    /// Whether the latest look should have shown it, and did not: its end was not seen.
    fn is_gone(&self, connection: &Connection) -> bool {
        let complete = |looked: &Looked| looked.unseen.is_nothing() && self.looks.dropped() == 0;
        let looked = self.looks.latest().filter(complete);
        !connection.in_minisock && looked.is_some_and(|looked| connection.since < looked.began)
    }

    /// What its state changes tell of a socket that no look has shown in its state.
    fn describe_unseen(&self, connection: &Connection, age: Age) -> StuckSocket {
        let entered = (connection.entry > Entry::NotLater).then_some(connection.since);
        let (cause, evidence) = unseen(connection.state, self.looks.latest().is_some());
        StuckSocket {
            conn: Some(connection.id),
            cookie: connection.cookie,
            state: connection.state,
            age,
            entered,
            looked: None,
            tuple: connection.tuple,
            netns: connection.netns,
            served: self.looks.serves(
                connection.role,
                connection.netns,
                connection.tuple.local.port,
            ),
            owner: connection.owner,
            first_pid: connection.owner.pid,
            process: self.processes.facts(connection.owner).copied(),
            holders: Arc::default(),
            descriptors: 0,
            listener: Arc::default(),
            uid: None,
            unread: None,
            unsent: None,
            silent: None,
            cause,
            evidence,
        }
    }
}

/// How long it has been in its state, as far as its state changes tell.
fn age_unseen(now: Mono, connection: &Connection) -> Age {
    Age {
        at_least: if connection.entry > Entry::Unseen {
            now.since(connection.since)
        } else {
            Duration::ZERO
        },
        exact: connection.entry == Entry::Exact,
    }
}
