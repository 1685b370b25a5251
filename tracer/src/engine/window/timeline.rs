//! How many connections were in each state as the window went on: a few hundred points, however long it
//! was.

use super::super::state::TcpState;

/// Points at most. When there would be more, each two become one.
const POINTS: usize = 240;

/// ms between the first points.
const FIRST_STEP: u32 = 250;

/// See the module.
#[derive(Clone, Debug)]
pub struct Timeline {
    step_ms: u32,
    /// By state: what came less what went between a point and the one before.
    changes: Vec<[i32; TcpState::COUNT]>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            step_ms: FIRST_STEP,
            changes: Vec::with_capacity(POINTS),
        }
    }
}

impl Timeline {
    /// ms from one point to the next; the first is at the start of the window.
    pub const fn step_ms(&self) -> u32 {
        self.step_ms
    }

    /// How many connections were in the state at each point until `end_ms`.
    pub fn open(&self, state: TcpState, end_ms: u32) -> Vec<u64> {
        let points = usize::try_from(end_ms / self.step_ms).unwrap_or(0) + 1;
        let changes = self
            .changes
            .iter()
            .map(|point| i64::from(point[state.index()]));
        let changes = changes.chain(std::iter::repeat(0));
        let open = changes.scan(0_i64, |sum, change| {
            *sum += change;
            Some(u64::try_from(*sum).unwrap_or(0))
        });
        open.take(points.min(POINTS)).collect()
    }

    /// One connection was in the state from here until there (ms since the start); `None`: to the end.
    pub(super) fn stay(&mut self, state: TcpState, from_ms: u32, until_ms: Option<u32>) {
        self.change(state, from_ms, 1);
        if let Some(until_ms) = until_ms {
            self.change(state, until_ms.max(from_ms), -1);
        }
    }

    /// Adds another that begins `shift_ms` later, and ends so long after its own beginning: what is open
    /// then is not known any further.
    pub(super) fn merge(&mut self, other: &Self, shift_ms: u32, end_ms: u32) {
        let mut open = [0_i32; TcpState::COUNT];
        let at = |ms: u32| shift_ms.saturating_add(ms);
        for (point, changes) in (0_u32..).zip(&other.changes) {
            let ms = point.saturating_mul(other.step_ms);
            for (state, (sum, by)) in TcpState::ALL.into_iter().zip(open.iter_mut().zip(changes)) {
                if *by != 0 {
                    *sum += by;
                    self.change(state, at(ms), *by);
                }
            }
        }
        for (state, open) in TcpState::ALL.into_iter().zip(open) {
            if open != 0 {
                // The point at the end still shows them.
                self.change(state, at(end_ms).saturating_add(1), -open);
            }
        }
    }

    fn change(&mut self, state: TcpState, at_ms: u32, by: i32) {
        // The first point that is not before it.
        let mut at = place(at_ms, self.step_ms);
        while at >= POINTS {
            self.halve();
            at = place(at_ms, self.step_ms);
        }
        if at >= self.changes.len() {
            self.changes.resize(at + 1, [0; TcpState::COUNT]);
        }
        self.changes[at][state.index()] += by;
    }

    fn halve(&mut self) {
        let mut merged = [[0; TcpState::COUNT]; POINTS];
        for (i, point) in self.changes.iter().enumerate() {
            for (sum, change) in merged[i.div_ceil(2)].iter_mut().zip(point) {
                *sum += change;
            }
        }
        let points = self.changes.len().saturating_sub(1).div_ceil(2) + 1;
        self.changes.clear();
        self.changes.extend_from_slice(&merged[..points]);
        self.step_ms = self.step_ms.saturating_mul(2);
    }
}

fn place(at_ms: u32, step_ms: u32) -> usize {
    usize::try_from(at_ms.div_ceil(step_ms)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_at_each_point() {
        let mut timeline = Timeline::default();
        timeline.stay(TcpState::Established, 0, Some(600));
        timeline.stay(TcpState::Established, 300, None);
        timeline.stay(TcpState::Established, 260, Some(490));
        let open = timeline.open(TcpState::Established, 1000);
        assert_eq!(open, [1, 1, 2, 1, 1]);
    }

    #[test]
    fn a_long_window_keeps_its_sums() {
        let mut timeline = Timeline::default();
        for second in 0..3600 {
            timeline.stay(
                TcpState::TimeWait,
                second * 1000,
                Some(second * 1000 + 60_000),
            );
        }
        let open = timeline.open(TcpState::TimeWait, 3_600_000);
        assert!(open.len() <= POINTS && open.len() > POINTS / 2);
        assert_eq!(timeline.step_ms(), 16_000);
        assert!(open[5..225].iter().all(|n| *n == 60), "{open:?}");
    }
}
