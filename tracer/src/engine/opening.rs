//! Opening transitions that wait for their tuple.
//!
//! The kernel reports `CLOSE -> SYN_SENT` before the local port is chosen (tcp_v4_connect) and
//! `LISTEN -> SYN_RECV` before the child has a peer (inet_csk_clone_lock). Told at once, the first
//! line of every connection would carry half an address, and a filter by port would lose it. So it
//! waits for the connection's next event, but not longer than [`super::OPENING_HOLD`].

use std::collections::VecDeque;

use super::{
    connection::ConnId,
    table::Slot,
    time::{Mono, OPENING_HOLD},
};

/// The held openings, oldest first. Bounded, however time goes.
#[derive(Debug)]
pub struct Openings {
    waiting: VecDeque<(Mono, ConnId, Slot)>,
    limit: usize,
}

impl Openings {
    /// Holds at most so many at once.
    pub const fn new(limit: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            limit,
        }
    }

    /// Holds one; its transition is told from the connection itself. Returns the oldest if there is no
    /// room for it any longer.
    #[inline]
    pub fn hold(&mut self, at: Mono, id: ConnId, slot: Slot) -> Option<(ConnId, Slot)> {
        self.waiting.push_back((at.plus(OPENING_HOLD), id, slot));
        if self.waiting.len() <= self.limit {
            return None;
        }
        let (_, id, slot) = self.waiting.pop_front()?;
        Some((id, slot))
    }

    /// The next whose time is up. It may have been told already.
    #[inline]
    pub fn due(&mut self, now: Mono) -> Option<(ConnId, Slot)> {
        let &(deadline, id, slot) = self.waiting.front()?;
        if deadline > now {
            return None;
        }
        self.waiting.pop_front();
        Some((id, slot))
    }

    /// When the next one is due.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.waiting.front().map(|(deadline, ..)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is held for connections that are gone by now counts, too.
    #[test]
    fn where_time_stands_still_the_oldest_is_told() {
        let slot = Slot(0);
        let mut openings = Openings::new(2);
        let at = Mono(1);
        assert_eq!(openings.hold(at, ConnId(1), slot), None);
        assert_eq!(openings.hold(at, ConnId(2), slot), None);
        assert_eq!(openings.hold(at, ConnId(3), slot), Some((ConnId(1), slot)));
        assert_eq!(openings.due(Mono(u64::MAX)), Some((ConnId(2), slot)));
    }
}
