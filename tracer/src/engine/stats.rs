//! Counts per state: entered, left, and how long the stay was.

use std::{collections::BTreeMap, time::Duration};

use super::{
    closing::{ClosedFirst, EndReason},
    histogram::DurationHistogram,
    state::TcpState,
};

/// One state's account.
#[derive(Clone, Debug, Default)]
pub struct StateStats {
    /// Times it was entered.
    pub entered: u64,
    /// Times it was left.
    pub left: u64,
    /// How long the stays were whose entry was seen; made with the first of them.
    pub dwell: Option<DurationHistogram>,
}

/// What became of connections that this host should wait for: TIME_WAIT's account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeWaitStats {
    /// Times it was entered.
    pub entered: u64,
    /// Times it should have been, and no minisock was made.
    pub never_created: u64,
    /// How often it ended for which reason.
    pub ended: BTreeMap<EndReason, u64>,
}

/// All states' accounts.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    states: [StateStats; TcpState::COUNT],
    closed_first: [u64; ClosedFirst::ALL.len()],
    time_wait: TimeWaitStats,
}

impl Stats {
    /// One state's.
    pub fn state(&self, state: TcpState) -> &StateStats {
        &self.states[state.index()]
    }

    /// How many connections were closed first by whom. Failed `connect`s and listeners are not
    /// among them.
    pub fn closed_first(&self) -> impl Iterator<Item = (ClosedFirst, u64)> {
        ClosedFirst::ALL.into_iter().zip(self.closed_first)
    }

    /// TIME_WAIT's account.
    pub fn time_wait(&self) -> &TimeWaitStats {
        &self.time_wait
    }

    #[inline]
    pub(super) fn closed(&mut self, first: ClosedFirst) {
        self.closed_first[first as usize] += 1;
    }

    #[inline]
    pub(super) fn never_created(&mut self) {
        self.time_wait.never_created += 1;
    }

    #[inline]
    pub(super) fn time_wait_ended(&mut self, reason: EndReason) {
        *self.time_wait.ended.entry(reason).or_default() += 1;
    }

    /// An opening was nobody's that is wanted.
    pub(super) fn not_opened(&mut self, from: TcpState, to: TcpState) {
        let entered = &mut self.states[to.index()].entered;
        *entered = entered.saturating_sub(1);
        let left = &mut self.states[from.index()].left;
        *left = left.saturating_sub(u64::from(from != TcpState::Listen));
    }

    #[inline]
    pub(super) fn transition(&mut self, from: TcpState, to: TcpState, dwell: Option<Duration>) {
        self.states[to.index()].entered += 1;
        self.time_wait.entered += u64::from(to == TcpState::TimeWait);
        let left = &mut self.states[from.index()];
        // A child begins with its listener's state; the listener stays.
        left.left += u64::from((from, to) != (TcpState::Listen, TcpState::SynRecv));
        if let Some(dwell) = dwell {
            if left.dwell.is_none() {
                left.dwell = DurationHistogram::new();
            }
            if let Some(histogram) = &mut left.dwell {
                histogram.record(dwell);
            }
        }
    }
}
