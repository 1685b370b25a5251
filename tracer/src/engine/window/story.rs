//! What one connection has done since the window began.

use std::time::Duration;

use super::{
    super::{
        closing::{ClosedFirst, EndReason},
        connection::Role,
        state::{StateSet, TcpState},
        time::Mono,
        update::Transition,
    },
    figures::Subject,
};

/// Stays that a story has room for: one more than the longest life that the protocol knows.
const STAYS: usize = 7;

/// How a stay in a state began, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// By a transition that was told.
    Told,
    /// It lies outside the window.
    Outside,
    /// It happened, and was not seen.
    Unseen,
}

/// One stay in one state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stay {
    /// [`UNMEASURED`]: not seen at both ends.
    dwell_us: u64,
    /// Since the window began; 0 where it began before.
    pub(super) from_ms: u32,
    /// The same for its end, where that is not outside the window.
    pub(super) until_ms: u32,
    pub(super) state: TcpState,
    pub(super) began: Edge,
    pub(super) ended: Edge,
}

const UNMEASURED: u64 = u64::MAX;

impl Stay {
    /// How long it was, if that was measured at both ends.
    pub(super) fn dwell(&self) -> Option<Duration> {
        (self.dwell_us != UNMEASURED).then(|| Duration::from_micros(self.dwell_us))
    }
}

/// How a connection came into the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Began {
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
pub(super) enum Outcome {
    /// It ended.
    Ended,
    /// It is still there; `orphan`: nobody holds it any more, a minisock stands for it.
    Open { orphan: bool },
    /// It ended unseen.
    Lost,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Story {
    stays: [Stay; STAYS],
    /// Of the window.
    start: Mono,
    /// The latest change, in ms since then.
    now_ms: u32,
    count: u8,
    pub(super) began: Began,
    pub(super) role: Role,
    pub(super) is_listener: bool,
    pub(super) wanted: bool,
    /// It came from `CLOSE`.
    pub(super) from_close: bool,
    pub(super) closed_first: Option<ClosedFirst>,
    pub(super) end_reason: Option<EndReason>,
    /// The state from which it went to `CLOSE`.
    pub(super) last: TcpState,
    pub(super) visited: StateSet,
    pub(super) subject: Subject,
}

impl Story {
    /// The first that was told of it. `start`: of the window.
    pub(super) fn begin(t: &Transition, start: Mono, subject: Subject) -> Self {
        let opened = matches!(
            (t.from, t.to),
            (TcpState::Close, _) | (TcpState::Listen, TcpState::SynRecv)
        );
        // It was found, or stamped by the kernel, before the window began.
        let older = t.at_least.is_some() || t.dwell.is_some_and(|d| start.plus(d) >= t.at);
        let began = match (opened, t.from) {
            (true, _) => Began::Opened,
            (_, TcpState::TimeWait) => Began::Closed,
            _ if older => Began::Found,
            _ => Began::Unknown,
        };
        let mut story = Self::new(began, t, start, subject);
        story.from_close = t.from == TcpState::Close;
        if !opened {
            let edge = if older { Edge::Outside } else { Edge::Unseen };
            story.enter(t.from, edge);
        }
        story
    }

    /// One that was there before, and did nothing since.
    pub(super) fn found(
        open: &Transition,
        in_minisock: bool,
        start: Mono,
        subject: Subject,
    ) -> Self {
        let waits = in_minisock || open.to == TcpState::TimeWait;
        let began = if waits { Began::Closed } else { Began::Found };
        let mut story = Self::new(began, open, start, subject);
        story.enter(open.to, Edge::Outside);
        story.closed_first = open.closed_first;
        story
    }

    fn new(began: Began, t: &Transition, start: Mono, subject: Subject) -> Self {
        const NOWHERE: Stay = Stay {
            dwell_us: UNMEASURED,
            from_ms: 0,
            until_ms: 0,
            state: TcpState::Unknown,
            began: Edge::Unseen,
            ended: Edge::Unseen,
        };
        Self {
            stays: [NOWHERE; STAYS],
            start,
            now_ms: 0,
            count: 0,
            began,
            role: t.role,
            is_listener: t.is_listener() || t.to == TcpState::Listen,
            wanted: true,
            from_close: false,
            closed_first: None,
            end_reason: None,
            last: TcpState::Unknown,
            visited: StateSet::default(),
            subject,
        }
    }

    /// Whether [`Self::flush_past`] is due before the next step, which may add two stays.
    pub(super) fn is_full(&self) -> bool {
        usize::from(self.count) + 2 > STAYS
    }

    /// The next transition; how it ends, if it does.
    pub(super) fn step(&mut self, t: &Transition) -> Option<Outcome> {
        self.is_listener |= t.is_listener();
        self.closed_first = t.closed_first.or(self.closed_first);
        let is_birth = matches!(
            (t.from, t.to),
            (TcpState::Close, _) | (TcpState::Listen, TcpState::SynRecv)
        );
        let ms = t.at.since(self.start).as_millis();
        self.now_ms = u32::try_from(ms).unwrap_or(u32::MAX).max(self.now_ms);
        if !is_birth {
            self.be_in(t.from);
            let now_ms = self.now_ms;
            if let Some(stay) = self.current() {
                stay.until_ms = now_ms;
                stay.ended = Edge::Told;
                let us = t.dwell.and_then(|d| u64::try_from(d.as_micros()).ok());
                stay.dwell_us = us.unwrap_or(UNMEASURED);
            }
        }
        self.last = t.from;
        if t.to == TcpState::Close {
            self.end_reason = t.end_reason;
            return Some(Outcome::Ended);
        }
        self.enter(t.to, Edge::Told);
        None
    }

    /// It is in this state now; how it got there was told, or else not seen.
    pub(super) fn be_in(&mut self, state: TcpState) {
        let now_ms = self.now_ms;
        if self.current().is_none_or(|stay| stay.state != state) {
            if let Some(stay) = self.current() {
                stay.until_ms = now_ms;
            }
            self.enter(state, Edge::Unseen);
        }
    }

    /// The last stay goes on, or its end was not seen.
    pub(super) fn end(&mut self, outcome: Outcome) {
        let now_ms = self.now_ms;
        if let Some(stay) = self.current() {
            match outcome {
                Outcome::Ended => {}
                Outcome::Open { .. } => stay.ended = Edge::Outside,
                Outcome::Lost => {
                    stay.ended = Edge::Unseen;
                    stay.until_ms = now_ms;
                }
            }
        }
    }

    /// Hands out the stays that are over.
    pub(super) fn flush_past(&mut self, mut count: impl FnMut(&Stay, Subject)) {
        let Some(current) = self.current().copied() else {
            return;
        };
        self.count -= 1;
        self.flush(&mut count);
        self.stays[0] = current;
        self.count = 1;
    }

    /// Hands out all stays.
    pub(super) fn flush(&mut self, mut count: impl FnMut(&Stay, Subject)) {
        for stay in self.stays.iter().take(usize::from(self.count)) {
            count(stay, self.subject);
        }
        self.count = 0;
    }

    /// Whether its owner has closed it, or it ended.
    pub(super) fn is_closed(&self, outcome: Outcome) -> bool {
        let waits = self.visited.contains(TcpState::TimeWait);
        waits || matches!(outcome, Outcome::Ended | Outcome::Open { orphan: true })
    }

    /// Whether it ended before it was a connection.
    pub(super) fn failed(&self, outcome: Outcome) -> bool {
        outcome == Outcome::Ended && matches!(self.last, TcpState::SynSent | TcpState::SynRecv)
    }

    fn current(&mut self) -> Option<&mut Stay> {
        let last = usize::from(self.count).checked_sub(1)?;
        self.stays.get_mut(last)
    }

    fn enter(&mut self, state: TcpState, began: Edge) {
        self.visited.insert(state);
        if let Some(place) = self.stays.get_mut(usize::from(self.count)) {
            *place = Stay {
                dwell_us: UNMEASURED,
                from_ms: self.now_ms,
                until_ms: self.now_ms,
                state,
                began,
                ended: Edge::Unseen,
            };
            self.count += 1;
        }
    }
}

// A million of these are to stay below 200 MiB.
const _: () = assert!(size_of::<Story>() <= 256);
