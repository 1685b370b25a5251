//! Connections whose socket is closed, and which may live on in a minisock that nobody tells of: until
//! somebody has looked.
//!
//! Only where minisocks are sampled. What is held is told at the time of its change, once it is known
//! what it was.

use std::{collections::VecDeque, time::Duration};

use hashbrown::HashMap;

use super::{connection::Connection, state::TcpState, time::Mono, tuple::FourTuple};

/// Longer than from one look to the next, the look itself included.
const HOLD: Duration = Duration::from_millis(2500);

/// A connection that is held.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// As it was before the change.
    pub connection: Connection,
    /// State that the socket left.
    pub from: TcpState,
    /// When.
    pub at: Mono,
}

type Key = (FourTuple, u32);

/// Those that are held, by tuple and namespace: a minisock has the same.
#[derive(Debug)]
pub struct Limbo {
    held: HashMap<Key, Held>,
    limit: usize,
    order: VecDeque<(Mono, Key)>,
}

impl Limbo {
    /// Holds so many at once. Beyond it they are told as closed.
    pub fn new(limit: usize) -> Self {
        Self {
            held: HashMap::default(),
            limit,
            order: VecDeque::default(),
        }
    }

    /// Holds one; returns what can't be held: it, or another of the same ends.
    pub fn hold(&mut self, held: Held) -> Option<Held> {
        // Those that were found, or gave way to another, wait in the order still.
        if self.order.len() >= self.limit {
            return Some(held);
        }
        let key = (held.connection.tuple, held.connection.netns);
        self.order.push_back((held.at.plus(HOLD), key));
        self.held.insert(key, held)
    }

    /// Its minisock was found.
    pub fn found(&mut self, tuple: FourTuple, netns: u32, cookie: u64) -> Option<Held> {
        let key = (tuple, netns);
        if self.held.get(&key)?.connection.is_another(cookie) {
            return None;
        }
        self.held.remove(&key)
    }

    /// The next that nobody found.
    pub fn due(&mut self, now: Mono) -> Option<Held> {
        while let Some(&(deadline, key)) = self.order.front() {
            if deadline > now {
                return None;
            }
            self.order.pop_front();
            let over = |held: &Held| held.at.plus(HOLD) <= now;
            if self.held.get(&key).is_some_and(over) {
                return self.held.remove(&key);
            }
        }
        None
    }

    /// When the next one is due.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.order.front().map(|(deadline, _)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            connection::{ConnId, Entry, Role, SockId},
            owner::Owner,
        },
        *,
    };

    fn held(at: u64) -> Held {
        Held {
            connection: Connection {
                id: ConnId(at),
                sock: SockId(1),
                cookie: 0,
                since: Mono(at),
                tuple: FourTuple::default(),
                netns: 1,
                owner: Owner::UNKNOWN,
                previous: TcpState::FinWait1,
                state: TcpState::FinWait2,
                role: Role::Unknown,
                closed_first: None,
                in_minisock: false,
                entry: Entry::Exact,
                opening_held: false,
            },
            from: TcpState::FinWait2,
            at: Mono(at),
        }
    }

    #[test]
    fn the_same_ends_again_and_again_stay_within_the_bound() {
        let mut limbo = Limbo::new(2);
        assert!(limbo.hold(held(1)).is_none());
        let before = limbo.hold(held(2)).map(|held| held.at);
        assert_eq!(before, Some(Mono(1)), "another of the same ends");
        let refused = limbo.hold(held(3)).map(|held| held.at);
        assert_eq!(refused, Some(Mono(3)), "no room");
        let due = limbo.due(Mono(2).plus(HOLD)).map(|held| held.at);
        assert_eq!(due, Some(Mono(2)));
        assert!(limbo.hold(held(4)).is_none(), "room again");
    }
}
