//! What the kernel programs added up by themselves, as figures of a window: the same as a window makes of a
//! stream, without what needs each connection (groups, sockets, how many were open when).

use tracer_common::{
    buckets::{BUCKETS, least_of},
    sums::{STATES, Sums},
};

use super::{
    closing::{ClosedFirst, EndReason},
    histogram::DurationHistogram,
    state::TcpState,
    window::{Connections, Failed, OpenCloseWait, Snapshot, Span, StateFigures, Totals},
};

/// See the module.
#[derive(Clone, Debug)]
pub struct AddedUp {
    /// The counts.
    pub sums: Sums,
    /// How many dwells in each bucket, by state; empty: none.
    dwells: [Vec<u64>; STATES],
}

impl Default for AddedUp {
    fn default() -> Self {
        Self {
            sums: Sums::default(),
            dwells: [const { Vec::new() }; STATES],
        }
    }
}

impl AddedUp {
    /// So many more dwells in this state and bucket.
    pub fn count(&mut self, state: TcpState, bucket: usize, more: u64) {
        let dwells = &mut self.dwells[state.index()];
        if dwells.is_empty() {
            dwells.resize(BUCKETS, 0);
        }
        if let Some(count) = dwells.get_mut(bucket) {
            *count += more;
        }
    }

    /// The dwells in this state.
    pub fn histogram(&self, state: TcpState) -> Option<DurationHistogram> {
        self.histogram_since(&Self::default(), state)
    }

    /// Those that came since it was `before`. The shortest and the longest of them are exact if they
    /// are so of all, else to two significant digits, as the quantiles are.
    pub fn histogram_since(&self, before: &Self, state: TcpState) -> Option<DurationHistogram> {
        let at = state.index();
        let earlier = before.dwells[at].iter().copied();
        let earlier = earlier.chain(std::iter::repeat(0));
        let counted = self.dwells[at].iter().zip(earlier).enumerate();
        let counted = counted.map(|(bucket, (now, then))| (bucket, now.saturating_sub(then)));
        let counted: Vec<(usize, u64)> = counted.filter(|(_, count)| *count > 0).collect();
        let ((first, _), (last, _)) = (*counted.first()?, *counted.last()?);
        let (all, old) = (&self.sums.states[at], &before.sums.states[at]);
        let min_us = if all.not_min_us == old.not_min_us {
            least_of(first).max(!all.not_min_us)
        } else {
            !all.not_min_us
        };
        let max_us = if all.max_us == old.max_us {
            (least_of(last + 1) - 1).min(all.max_us)
        } else {
            all.max_us
        };
        let mut histogram = DurationHistogram::new()?;
        let counted = counted.into_iter().map(|(at, count)| (least_of(at), count));
        let sum_us = all.sum_us.saturating_sub(old.sum_us);
        histogram.record_counted(counted, sum_us, (min_us, max_us));
        Some(histogram)
    }

    /// All of it as figures.
    pub fn snapshot(&self, span: Span) -> Snapshot {
        let close_wait = OpenCloseWait {
            open: self.sums.open(TcpState::CloseWait as u8),
            ..OpenCloseWait::default()
        };
        Snapshot {
            span,
            totals: self.totals(),
            close_wait,
            ..Snapshot::default()
        }
    }

    fn totals(&self) -> Totals {
        let sums = &self.sums;
        let ended = |counts: &[u64]| {
            let counted = EndReason::ALL.into_iter().zip(counts.iter().copied());
            counted.filter(|(_, count)| *count > 0).collect()
        };
        let of = |reason| sums.ended[reason as usize];
        Totals {
            states: std::array::from_fn(|at| self.state(TcpState::ALL[at])),
            connections: self.connections(),
            closed_first: ClosedFirst::ALL.map(|first| sums.closed_first[first as usize]),
            time_wait_ended: ended(&sums.time_wait_ended),
            never_created: of(EndReason::Overflow) + of(EndReason::NoMemory),
            ended: ended(&sums.ended),
            ..Totals::default()
        }
    }

    fn state(&self, state: TcpState) -> StateFigures {
        let stays = &self.sums.states[state.index()];
        StateFigures {
            found: stays.found,
            entered: stays.entered,
            entered_unseen: stays.entered_unseen,
            left: stays.left,
            left_unseen: stays.left_unseen,
            // Nobody stays in CLOSE.
            open: match state {
                TcpState::Close => 0,
                _ => self.sums.open(state as u8),
            },
            dwell: self.histogram(state).map(Box::new),
        }
    }

    fn connections(&self) -> Connections {
        let sums = &self.sums;
        let closed = sums.closed_first.iter().sum();
        let failed = Failed {
            refused: sums.refused,
            timeout: sums.timed_out,
            other: sums.failed_otherwise,
        };
        let came = sums.active + sums.passive + sums.preexisting + sums.unknown_starts;
        Connections {
            active: sums.active,
            passive: sums.passive,
            preexisting: sums.preexisting,
            unknown_starts: sums.unknown_starts,
            closed,
            open: came.saturating_sub(closed + failed.total() + sums.unseen_ends),
            unseen_ends: sums.unseen_ends,
            failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::buckets::bucket;

    use super::*;

    fn counted(us: &[u64]) -> AddedUp {
        let mut added = AddedUp::default();
        add(&mut added, us);
        added
    }

    fn add(added: &mut AddedUp, us: &[u64]) {
        for us in us {
            let stays = &mut added.sums.states[TcpState::TimeWait.index()];
            stays.sum_us += us;
            stays.max_us = stays.max_us.max(*us);
            stays.not_min_us = stays.not_min_us.max(!us);
            added.count(TcpState::TimeWait, bucket(*us), 1);
        }
    }

    #[test]
    fn an_interval_is_the_difference() {
        let before = counted(&[100, 60_000_123]);
        let mut now = before.clone();
        add(&mut now, &[2_001, 61_000_997]);
        let histogram = now.histogram_since(&before, TcpState::TimeWait).unwrap();
        assert_eq!(histogram.count(), 2);
        assert_eq!(histogram.mean_us(), Some(30_501_499));
        assert_eq!(histogram.max_us(), Some(61_000_997), "the longest of all");
        let min = histogram.min_us().unwrap();
        assert!(min <= 2_001 && 2_001 - min <= 2_001 / 128, "{min}");
        assert!(now.histogram_since(&now, TcpState::TimeWait).is_none());
    }

    #[test]
    fn nothing_is_none() {
        let none = AddedUp::default();
        assert!(none.histogram(TcpState::Established).is_none());
        let totals = none.snapshot(Span::default()).totals;
        assert_eq!(totals.connections, Connections::default());
    }
}
