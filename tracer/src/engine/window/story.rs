//! What one connection has done since the window began.

use std::time::Duration;

use super::{
    super::{
        course::{Course, Outcome, is_birth, is_older},
        state::TcpState,
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

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Story {
    stays: [Stay; STAYS],
    /// Of the window.
    start: Mono,
    /// The latest change, in ms since then.
    now_ms: u32,
    count: u8,
    pub(super) course: Course,
    pub(super) wanted: bool,
    pub(super) subject: Subject,
}

impl Story {
    /// The first that was told of it. `start`: of the window.
    pub(super) fn begin(t: &Transition, start: Mono, subject: Subject) -> Self {
        let mut story = Self::new(Course::begin(t, start), start, subject);
        if !is_birth(t) {
            let older = is_older(t, start);
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
        let mut story = Self::new(Course::found(open, in_minisock), start, subject);
        story.enter(open.to, Edge::Outside);
        story
    }

    fn new(course: Course, start: Mono, subject: Subject) -> Self {
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
            course,
            wanted: true,
            subject,
        }
    }

    /// Whether [`Self::flush_past`] is due before the next step, which may add two stays.
    pub(super) fn is_full(&self) -> bool {
        usize::from(self.count) + 2 > STAYS
    }

    /// The next transition; how it ends, if it does.
    pub(super) fn step(&mut self, t: &Transition) -> Option<Outcome> {
        let ms = t.at.since(self.start).as_millis();
        self.now_ms = u32::try_from(ms).unwrap_or(u32::MAX).max(self.now_ms);
        if !is_birth(t) {
            self.be_in(t.from);
            let now_ms = self.now_ms;
            if let Some(stay) = self.current() {
                stay.until_ms = now_ms;
                stay.ended = Edge::Told;
                let us = t.dwell.and_then(|d| u64::try_from(d.as_micros()).ok());
                stay.dwell_us = us.unwrap_or(UNMEASURED);
            }
        }
        let outcome = self.course.step(t);
        if outcome.is_none() {
            self.enter(t.to, Edge::Told);
        }
        outcome
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

    fn current(&mut self) -> Option<&mut Stay> {
        let last = usize::from(self.count).checked_sub(1)?;
        self.stays.get_mut(last)
    }

    fn enter(&mut self, state: TcpState, began: Edge) {
        self.course.visited.insert(state);
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
