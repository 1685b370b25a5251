//! What is counted: totals of a window, and the row of a group.

use std::collections::BTreeMap;

use super::{
    super::{
        closing::{ClosedFirst, EndReason},
        connection::Role,
        course::{Began, Course, Outcome},
        histogram::DurationHistogram,
        state::TcpState,
    },
    group::Place,
    story::{Edge, Stay},
    timeline::Timeline,
};

/// The states whose dwells are kept for each row of a group.
pub const GROUP_STATES: [TcpState; 5] = [
    TcpState::SynSent,
    TcpState::Established,
    TcpState::FinWait2,
    TcpState::CloseWait,
    TcpState::TimeWait,
];

/// Where a connection is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub(super) process: Place,
    pub(super) local_port: Place,
    pub(super) remote: Place,
    pub(super) remote_port: Place,
    pub(super) pid: u32,
}

/// Stays in one state: `found + entered + entered_unseen == left + left_unseen + open`.
#[derive(Clone, Debug, Default)]
pub struct StateFigures {
    /// Stays that had begun before the window did.
    pub found: u64,
    /// Transitions into it.
    pub entered: u64,
    /// Times it was entered unseen.
    pub entered_unseen: u64,
    /// Transitions out of it.
    pub left: u64,
    /// Times it was left unseen.
    pub left_unseen: u64,
    /// Stays that went on when the window ended.
    pub open: u64,
    /// How long the stays were that were seen at both ends.
    pub dwell: Option<Box<DurationHistogram>>,
}

impl StateFigures {
    fn count(&mut self, stay: &Stay, histogram: impl FnOnce() -> Option<DurationHistogram>) {
        match stay.began {
            Edge::Told => self.entered += 1,
            Edge::Outside => self.found += 1,
            Edge::Unseen => self.entered_unseen += 1,
        }
        match stay.ended {
            Edge::Told => self.left += 1,
            Edge::Outside => self.open += 1,
            Edge::Unseen => self.left_unseen += 1,
        }
        if let Some(dwell) = stay.dwell() {
            if self.dwell.is_none() {
                self.dwell = histogram().map(Box::new);
            }
            if let Some(dwells) = &mut self.dwell {
                dwells.record(dwell);
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.found += other.found;
        self.entered += other.entered;
        self.entered_unseen += other.entered_unseen;
        self.left += other.left;
        self.left_unseen += other.left_unseen;
        self.open += other.open;
        match (&mut self.dwell, &other.dwell) {
            (Some(dwell), Some(more)) => dwell.merge(more),
            (none @ None, Some(_)) => none.clone_from(&other.dwell),
            (_, None) => {}
        }
    }
}

/// Connects and handshakes that did not become a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// A RST answered.
    pub refused: u64,
    /// Nothing answered.
    pub timeout: u64,
    /// No route, no free port, given up, or not known.
    pub other: u64,
}

impl Failed {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.refused + self.timeout + self.other
    }

    fn count(&mut self, reason: Option<EndReason>) {
        match reason {
            Some(EndReason::Refused | EndReason::Reset) => self.refused += 1,
            Some(EndReason::Timeout) => self.timeout += 1,
            _ => self.other += 1,
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.refused += other.refused;
        self.timeout += other.timeout;
        self.other += other.other;
    }
}

/// The balance of connections. Opened, preexisting and unknown starts together are closed, failed,
/// open and unseen ends together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// `connect` was called, as `TcpActiveOpens` counts.
    pub active: u64,
    /// Came out of a listener, as `TcpPassiveOpens` counts.
    pub passive: u64,
    /// Were open when the window began.
    pub preexisting: u64,
    /// First seen in the middle of their life: older, or their opening was lost.
    pub unknown_starts: u64,
    /// Closed on both sides, or for good by this one: TIME_WAIT is no longer open.
    pub closed: u64,
    /// Still open when the window ended.
    pub open: u64,
    /// Gone, and nobody saw it.
    pub unseen_ends: u64,
    /// Never were connections. They are among `active` and `passive`.
    pub failed: Failed,
}

/// What was counted in all.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// By state; [`TcpState::index`].
    pub states: [StateFigures; TcpState::COUNT],
    /// The balance.
    pub connections: Connections,
    /// The closed ones, by [`ClosedFirst`].
    pub closed_first: [u64; ClosedFirst::ALL.len()],
    /// TIME_WAITs that ended, by why.
    pub time_wait_ended: BTreeMap<EndReason, u64>,
    /// TIME_WAITs that should have been, and were not made.
    pub never_created: u64,
    /// How many were in each state as time went on.
    pub timeline: Timeline,
    /// Changes to `CLOSE` other than from TIME_WAIT, by why.
    pub ended: BTreeMap<EndReason, u64>,
}

impl Totals {
    pub(super) fn count_stay(&mut self, stay: &Stay) {
        self.states[stay.state.index()].count(stay, DurationHistogram::new);
        let until = (stay.ended != Edge::Outside).then_some(stay.until_ms);
        self.timeline.stay(stay.state, stay.from_ms, until);
    }

    /// Where it came from and where it went: `CLOSE`, which nobody stays in; and why.
    pub(super) fn count_ends(&mut self, course: &Course, outcome: Outcome) {
        let close = &mut self.states[TcpState::Close.index()];
        close.left += u64::from(course.from_close);
        if outcome != Outcome::Ended {
            return;
        }
        close.entered += 1;
        let Some(reason) = course.end_reason else {
            return;
        };
        let never = matches!(reason, EndReason::Overflow | EndReason::NoMemory);
        self.never_created += u64::from(never);
        let ended = match course.last {
            TcpState::TimeWait => &mut self.time_wait_ended,
            _ => &mut self.ended,
        };
        *ended.entry(reason).or_default() += 1;
    }

    pub(super) fn count_connection(&mut self, course: &Course, outcome: Outcome) {
        let c = &mut self.connections;
        match (course.began, course.role) {
            (Began::Opened, Role::ActiveOpen) => c.active += 1,
            (Began::Opened, Role::PassiveOpen) => c.passive += 1,
            (Began::Found, _) => c.preexisting += 1,
            _ => c.unknown_starts += 1,
        }
        if course.failed(outcome) {
            c.failed.count(course.end_reason);
        } else if course.is_closed(outcome) {
            c.closed += 1;
            self.closed_first[first(course)] += 1;
        } else if outcome == Outcome::Lost {
            c.unseen_ends += 1;
        } else {
            c.open += 1;
        }
    }

    /// One state's.
    pub fn state(&self, state: TcpState) -> &StateFigures {
        &self.states[state.index()]
    }
}

fn first(course: &Course) -> usize {
    course.closed_first.unwrap_or(ClosedFirst::Unknown) as usize
}

/// The same for the connections of one key.
#[derive(Clone, Debug, Default)]
pub struct GroupRow {
    /// How many: opened, preexisting, or of unknown start.
    pub connections: u64,
    /// The closed ones, by [`ClosedFirst`].
    pub closed_first: [u64; ClosedFirst::ALL.len()],
    /// What never was a connection.
    pub failed: Failed,
    /// In the order of [`GROUP_STATES`]; to one significant digit.
    pub states: [StateFigures; GROUP_STATES.len()],
    /// The process that owns them: 0 nobody known, [`GroupRow::SEVERAL`] more than one.
    pub pid: u32,
}

impl GroupRow {
    /// See [`GroupRow::pid`].
    pub const SEVERAL: u32 = u32::MAX;

    /// One of [`GROUP_STATES`]; another's figures are not kept.
    pub fn state(&self, state: TcpState) -> Option<&StateFigures> {
        let at = GROUP_STATES.iter().position(|s| *s == state)?;
        self.states.get(at)
    }

    /// How many are in TIME_WAIT.
    pub fn time_waits(&self) -> u64 {
        self.state(TcpState::TimeWait).map_or(0, |s| s.open)
    }

    /// How many were closed.
    pub fn closed(&self) -> u64 {
        self.closed_first.iter().sum()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        let none = |s: &StateFigures| s.found + s.entered + s.entered_unseen == 0;
        self.connections == 0 && self.states.iter().all(none)
    }

    pub(super) fn count_stay(&mut self, stay: &Stay) {
        if let Some(at) = GROUP_STATES.iter().position(|s| *s == stay.state) {
            self.states[at].count(stay, DurationHistogram::coarse);
        }
    }

    pub(super) fn count_connection(&mut self, course: &Course, outcome: Outcome, pid: u32) {
        self.connections += 1;
        self.own(pid);
        if course.failed(outcome) {
            self.failed.count(course.end_reason);
        } else if course.is_closed(outcome) {
            self.closed_first[first(course)] += 1;
        }
    }

    fn own(&mut self, pid: u32) {
        self.pid = match (self.pid, pid) {
            (own, 0) => own,
            (0, pid) => pid,
            (own, pid) if own == pid => own,
            _ => Self::SEVERAL,
        };
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        for (sum, more) in self.closed_first.iter_mut().zip(other.closed_first) {
            *sum += more;
        }
        self.failed.merge(&other.failed);
        for (sum, more) in self.states.iter_mut().zip(&other.states) {
            sum.merge(more);
        }
        self.own(other.pid);
    }
}
