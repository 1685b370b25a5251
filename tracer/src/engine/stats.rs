//! Counts per state: entered, left, and how long the stay was.

use std::time::Duration;

use super::{histogram::DurationHistogram, state::TcpState};

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

/// All states' accounts.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    states: [StateStats; TcpState::COUNT],
}

impl Stats {
    /// One state's.
    pub fn state(&self, state: TcpState) -> &StateStats {
        &self.states[state.index()]
    }

    #[inline]
    pub(super) fn transition(&mut self, from: TcpState, to: TcpState, dwell: Option<Duration>) {
        self.states[to.index()].entered += 1;
        let left = &mut self.states[from.index()];
        left.left += 1;
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
