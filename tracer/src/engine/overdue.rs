//! Minisocks whose end was lost: no later event speaks of them, and their address may not be used again
//! for long. Without this they would be shown as waiting for ever.
//!
//! Only after a loss, and only once none of those that stood at the time can still be there.

use std::time::Duration;

use super::{
    connection::{Connection, Entry},
    machine::Engine,
    state::TcpState,
    time::Mono,
    update::{Irregularity, Update},
};

/// Longer than a minisock stands: TIME_WAIT ends after 60 s (`TCP_TIMEWAIT_LEN`) and the slack of the
/// timer wheel, FIN_WAIT2 after 120 s at most (`TCP_FIN_TIMEOUT_MAX`). A TIME_WAIT that the peer has
/// started again meanwhile may be let go of too early; its end is then told as one of unknown beginning.
const LONGEST: Duration = Duration::from_secs(150);

/// From one pass over the table to the next, where losses go on.
const AGAIN: Duration = Duration::from_secs(30);

/// When to look for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overdue {
    /// The next pass.
    due: Option<Mono>,
    /// The latest loss.
    lost: Mono,
}

impl Overdue {
    /// Ends may be among what was lost.
    pub fn lost(&mut self, at: Mono) {
        self.lost = at;
        self.due.get_or_insert(at.plus(LONGEST));
    }

    /// When there is something to do.
    pub const fn next_deadline(&self) -> Option<Mono> {
        self.due
    }

    /// Nothing more will be known.
    pub const fn cancel(&mut self) {
        self.due = None;
    }

    /// Whether it is time for a pass.
    fn begin(&mut self, now: Mono) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.due = (self.lost.plus(LONGEST) > now).then(|| now.plus(AGAIN));
        true
    }
}

impl Engine {
    /// Lets go of those that can't be there any more.
    pub(super) fn let_overdue_go(&mut self, now: Mono, updates: &mut Vec<Update>) {
        if !self.overdue.begin(now) {
            return;
        }
        let is_overdue = |c: &&Connection| {
            c.in_minisock && c.entry != Entry::Unseen && c.since.plus(LONGEST) <= now
        };
        let gone: Vec<Connection> = self.table.iter().filter(is_overdue).copied().collect();
        for connection in gone {
            self.ledger.irregular += 1;
            updates.push(Update::Irregular(Irregularity {
                at: now,
                conn: connection.id,
                believed: connection.state,
                from: TcpState::Unknown,
                replaced: true,
            }));
            self.table.remove(connection.sock);
        }
    }
}
