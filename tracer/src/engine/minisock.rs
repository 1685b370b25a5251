//! The part of a connection's life that a timewait minisock stands for.
//!
//! TIME_WAIT begins when the peer's FIN arrives: at the minisock's birth, or later if it first stood
//! for FIN_WAIT2. Some hooks do not show the latter; then it is told at the end, from the minisock's
//! own stamps.

use super::{
    closing::{ClosedFirst, closed_first},
    connection::{Connection, Entry, Role},
    event::{TimewaitEnd, TimewaitRearmed},
    machine::Engine,
    owner::Owner,
    state::TcpState,
    step::{Step, told},
    table::Slot,
    time::Mono,
    update::{Irregularity, Transition, Update},
};

/// `tw_entry_stamp` counts milliseconds.
const STAMP_UNIT_NS: u64 = 1_000_000;
/// The kernel's clocks agree much better than this.
const STAMP_SLACK_NS: u64 = 10 * STAMP_UNIT_NS;

impl Engine {
    /// The timer was set anew. In FIN_WAIT2 that is the peer's FIN; in TIME_WAIT it restarts the
    /// time, which is no transition.
    pub(super) fn timewait_rearmed(
        &mut self,
        at: Mono,
        rearmed: &TimewaitRearmed,
        updates: &mut Vec<Update>,
    ) {
        self.ledger.delivered += 1;
        self.adopt(rearmed.tw, rearmed.cookie, 0, None);
        let slot = self.minisock(rearmed.tw, rearmed.cookie);
        let state = slot.and_then(|slot| self.table.get(slot)).map(|c| c.state);
        match (slot, state, rearmed.state) {
            (Some(slot), Some(TcpState::FinWait2), TcpState::TimeWait) => {
                self.step(at, slot, FIN_CAME, updates);
            }
            _ => self.ledger.unchanged += 1,
        }
    }

    /// The minisock is gone.
    pub(super) fn timewait_end(&mut self, at: Mono, end: &TimewaitEnd, updates: &mut Vec<Update>) {
        if end.exact {
            self.ledger.delivered += 1;
        } else {
            // Concluded from a look, and no event of the kernel.
            self.ledger.implied += 1;
        }
        self.adopt(end.tw, end.cookie, end.netns, Some(&end.tuple));
        let slot = match (self.table.find(end.tw), self.minisock(end.tw, end.cookie)) {
            (_, Some(slot)) if self.belongs(slot, end) => Some(slot),
            (Some(slot), _) => {
                self.overtaken(at, slot, end, updates);
                None
            }
            (None, _) => None,
        };
        let slot = match slot {
            Some(slot) => slot,
            None => match self.discovered(end) {
                Ok(slot) => slot,
                Err(connection) => {
                    self.untracked(at, &connection, end, updates);
                    return;
                }
            },
        };
        let state = self.table.get(slot).map(|c| c.state);
        if (state, end.state) == (Some(TcpState::FinWait2), TcpState::TimeWait) {
            self.fin_came_unseen(at, slot, end, updates);
        }
        self.stamped(slot, end);
        let step = Step {
            from: end.state,
            to: TcpState::Close,
            closed_first: closed_first(end.state, TcpState::Close, None)
                .or(Some(ClosedFirst::Unknown)),
            end_reason: Some(end.reason),
            exact: end.exact,
        };
        self.step(at, slot, step, updates);
        self.table.remove(end.tw);
    }

    /// A minisock that was found in TIME_WAIT, by somebody who was not told since when.
    fn stamped(&mut self, slot: Slot, end: &TimewaitEnd) {
        if let Some(stamp) = end.stamp
            && let Some(connection) = self.table.get_mut(slot)
            && (connection.entry, connection.state) == (Entry::NotLater, TcpState::TimeWait)
            && end.state == TcpState::TimeWait
        {
            connection.since = stamp;
            connection.entry = Entry::Exact;
        }
    }

    /// The connection in a minisock, if it is still the same.
    fn minisock(&self, tw: super::SockId, cookie: u64) -> Option<Slot> {
        let slot = self.table.find(tw)?;
        let connection = self.table.get(slot)?;
        (connection.in_minisock && !connection.is_another(cookie)).then_some(slot)
    }

    fn belongs(&self, slot: Slot, end: &TimewaitEnd) -> bool {
        let connection = self.table.get(slot);
        connection.is_some_and(|c| {
            !c.tuple.contradicts(&end.tuple)
                && (c.state == end.state || c.state == TcpState::FinWait2)
                && !is_of_a_later_one(c, end)
        })
    }

    /// What we had there ended unseen, and another came and went.
    fn overtaken(&mut self, at: Mono, slot: Slot, end: &TimewaitEnd, updates: &mut Vec<Update>) {
        self.tell_opening(slot, None, updates);
        if let Some(connection) = self.table.get(slot) {
            self.ledger.irregular += 1;
            updates.push(Update::Irregular(Irregularity {
                at,
                conn: connection.id,
                believed: connection.state,
                from: end.state,
                replaced: true,
            }));
        }
        self.table.remove(end.tw);
    }

    /// A minisock that is first seen at its end: made before the trace, or its birth was lost.
    /// `Err`: the table is full.
    fn discovered(&mut self, end: &TimewaitEnd) -> Result<Slot, Connection> {
        self.ledger.unknown_starts += 1;
        // What it stood for before can't be told apart; while it stands for FIN_WAIT2 the stamp is
        // its birth, and FIN_WAIT2 began before that.
        let entered = end.stamp.filter(|_| end.state == TcpState::TimeWait);
        let connection = Connection {
            id: self.next_id(),
            sock: end.tw,
            cookie: end.cookie,
            since: entered.unwrap_or_default(),
            tuple: end.tuple,
            netns: end.netns,
            owner: Owner::UNKNOWN,
            previous: TcpState::Unknown,
            state: end.state,
            role: Role::Unknown,
            closed_first: None,
            in_minisock: true,
            entry: if entered.is_some() {
                Entry::Exact
            } else {
                Entry::Unseen
            },
            opening_held: false,
        };
        self.table.insert(connection).ok_or(connection)
    }

    /// Tells the end of one that can't be followed.
    fn untracked(
        &mut self,
        at: Mono,
        connection: &Connection,
        end: &TimewaitEnd,
        updates: &mut Vec<Update>,
    ) {
        self.ledger.untracked += 1;
        let step = Step {
            from: end.state,
            to: TcpState::Close,
            closed_first: None,
            end_reason: Some(end.reason),
            exact: false,
        };
        self.count(step, None);
        updates.push(Update::Transition(Transition {
            conn: None,
            to: step.to,
            end_reason: step.end_reason,
            ..told(&self.processes, connection, at, step.from)
        }));
    }

    /// Whether a minisock's stamp is of the FIN that it waited for. That of its birth is no news: then the
    /// FIN carried no timestamp.
    pub(super) fn is_of_the_fin(&self, slot: Slot, stamp: Mono) -> bool {
        self.table.get(slot).is_some_and(|c| {
            c.entry <= Entry::NotLater || stamp.0 > c.since.0.saturating_add(STAMP_UNIT_NS)
        })
    }

    /// The FIN came while nobody looked: when, the minisock may know.
    fn fin_came_unseen(
        &mut self,
        at: Mono,
        slot: Slot,
        end: &TimewaitEnd,
        updates: &mut Vec<Update>,
    ) {
        let Some(since) = self.table.get(slot).map(|c| c.since) else {
            return;
        };
        let stamp = end.stamp.filter(|stamp| self.is_of_the_fin(slot, *stamp));
        let entered = stamp.or(end.timer_set).map(|e| e.max(since).min(at));
        let entry = match (stamp, entered) {
            (Some(_), _) => Entry::Exact,
            (None, Some(_)) => Entry::Approximate,
            (None, None) => Entry::Unseen,
        };
        self.fin_came(entered.unwrap_or(at), slot, [entry, entry], updates);
    }

    /// The FIN came, though no hook told. The dwell that ends there and the one that begins are worth no more
    /// than these.
    pub(super) fn fin_came(
        &mut self,
        at: Mono,
        slot: Slot,
        [left, entered]: [Entry; 2],
        updates: &mut Vec<Update>,
    ) {
        self.ledger.implied += 1;
        self.limit_entry(slot, left);
        self.step(at, slot, FIN_CAME, updates);
        self.limit_entry(slot, entered);
    }

    pub(super) fn limit_entry(&mut self, slot: Slot, entry: Entry) {
        if let Some(connection) = self.table.get_mut(slot) {
            connection.entry = connection.entry.min(entry);
        }
    }
}

/// FIN_WAIT2 becomes TIME_WAIT.
pub(super) const FIN_CAME: Step = Step {
    from: TcpState::FinWait2,
    to: TcpState::TimeWait,
    closed_first: Some(ClosedFirst::Local),
    end_reason: None,
    exact: true,
};

/// Whether a minisock is not this connection's but that of a later one with the same ends, of which nothing
/// was told: all its records were lost.
fn is_of_a_later_one(connection: &Connection, end: &TimewaitEnd) -> bool {
    // The kernel stamps first, and then the hooks see it.
    let known = (connection.state, connection.entry) == (TcpState::TimeWait, Entry::Exact);
    let latest = connection.since.0.saturating_add(STAMP_SLACK_NS);
    let stamped_later = known && end.stamp.is_some_and(|stamp| stamp.0 > latest);
    // A socket that we were told of from its beginning had a cookie when its minisock inherited it; one
    // whose records were lost was given none.
    let was_named = connection.role != Role::Unknown && connection.cookie != 0;
    let is_nameless = was_named && end.exact && end.cookie == 0;
    stamped_later || is_nameless
}
