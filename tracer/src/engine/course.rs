//! How a connection began, what became of it, and what follows for the counts: the rules that reports,
//! and tables of connections, share.

use super::{
    closing::{ClosedFirst, EndReason},
    connection::Role,
    state::{StateSet, TcpState},
    time::Mono,
    update::Transition,
};

/// How a connection came into the window of time that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    /// It was opened in it.
    Opened,
    /// It was there before.
    Found,
    /// First seen in the middle of its life.
    Unknown,
    /// It was closed before, and only waited (TIME_WAIT, or FIN_WAIT2 without a socket).
    Closed,
}

/// How a connection leaves the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ended.
    Ended,
    /// It is still there; `orphan`: nobody holds it any more, a minisock stands for it.
    Open {
        /// Whether a minisock stands for it.
        orphan: bool,
    },
    /// It ended unseen.
    Lost,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// How it came into the window.
    pub began: Began,
    /// Which side opened.
    pub role: Role,
    /// It is no connection.
    pub is_listener: bool,
    /// It came from `CLOSE`.
    pub from_close: bool,
    /// The latest that was told of it.
    pub closed_first: Option<ClosedFirst>,
    /// Why it went to `CLOSE`.
    pub end_reason: Option<EndReason>,
    /// The state that was left last.
    pub last: TcpState,
    /// All that it was in.
    pub visited: StateSet,
}

impl Course {
    /// The first that was told of it. `start`: of the window.
    pub(super) fn begin(t: &Transition, start: Mono) -> Self {
        let began = match (is_birth(t), t.from) {
            (true, _) => Began::Opened,
            (_, TcpState::TimeWait) => Began::Closed,
            _ if is_older(t, start) => Began::Found,
            _ => Began::Unknown,
        };
        let mut course = Self::new(began, t);
        course.from_close = t.from == TcpState::Close;
        course
    }

    /// One that was there before, and did nothing since.
    pub(super) fn found(open: &Transition, in_minisock: bool) -> Self {
        let waits = in_minisock || open.to == TcpState::TimeWait;
        let began = if waits { Began::Closed } else { Began::Found };
        let mut course = Self::new(began, open);
        course.closed_first = open.closed_first;
        course
    }

    fn new(began: Began, t: &Transition) -> Self {
        Self {
            began,
            role: t.role,
            is_listener: t.is_listener() || t.to == TcpState::Listen,
            from_close: false,
            closed_first: None,
            end_reason: None,
            last: TcpState::Unknown,
            visited: StateSet::default(),
        }
    }

    /// The next transition; how it ends, if it does.
    pub(super) fn step(&mut self, t: &Transition) -> Option<Outcome> {
        self.is_listener |= t.is_listener();
        self.closed_first = t.closed_first.or(self.closed_first);
        self.last = t.from;
        if t.to != TcpState::Close {
            return None;
        }
        self.end_reason = t.end_reason;
        Some(Outcome::Ended)
    }

    /// Whether it is counted as a connection.
    pub fn is_counted(&self) -> bool {
        !self.is_listener && self.began != Began::Closed
    }

    /// Whether its owner has closed it, or it ended.
    pub fn is_closed(&self, outcome: Outcome) -> bool {
        let waits = self.visited.contains(TcpState::TimeWait);
        waits || matches!(outcome, Outcome::Ended | Outcome::Open { orphan: true })
    }

    /// Whether it ended before it was a connection.
    pub fn failed(&self, outcome: Outcome) -> bool {
        outcome == Outcome::Ended && matches!(self.last, TcpState::SynSent | TcpState::SynRecv)
    }
}

/// Whether it makes a connection or a listener.
pub(super) const fn is_birth(t: &Transition) -> bool {
    matches!(
        (t.from, t.to),
        (TcpState::Close, _) | (TcpState::Listen, TcpState::SynRecv)
    )
}

/// Whether the state that was left had been entered before `start`: it was found then, or stamped by
/// the kernel.
pub(super) fn is_older(t: &Transition, start: Mono) -> bool {
    t.at_least.is_some() || t.dwell.is_some_and(|d| start.plus(d) >= t.at)
}
