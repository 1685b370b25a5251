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

/// The held openings, oldest first.
#[derive(Debug, Default)]
pub struct Openings {
    waiting: VecDeque<(Mono, ConnId, Slot)>,
}

impl Openings {
    /// Holds one; its transition is told from the connection itself.
    #[inline]
    pub fn hold(&mut self, at: Mono, id: ConnId, slot: Slot) {
        self.waiting.push_back((at.plus(OPENING_HOLD), id, slot));
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
