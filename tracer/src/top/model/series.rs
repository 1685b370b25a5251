//! The latest values of one figure, one for each tick: a fixed number of them.

/// How many are kept: as many as the widest sparkline has columns.
pub const POINTS: usize = 120;

/// See the module.
#[derive(Clone, Debug)]
pub struct Series {
    points: [u64; POINTS],
    /// Where the next goes.
    next: usize,
    filled: usize,
    /// Of the tick that has not ended.
    running: u64,
    total: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            points: [0; POINTS],
            next: 0,
            filled: 0,
            running: 0,
            total: 0,
        }
    }
}

impl Series {
    /// Counts so many.
    #[inline]
    pub const fn add(&mut self, count: u64) {
        self.running = self.running.saturating_add(count);
        self.total = self.total.saturating_add(count);
    }

    /// The tick ends; what was counted in it is its value.
    pub const fn tick(&mut self) {
        let value = self.running;
        self.push(value);
        self.running = 0;
    }

    /// The value of a tick that ends.
    pub const fn push(&mut self, value: u64) {
        self.points[self.next] = value;
        self.next = (self.next + 1) % POINTS;
        if self.filled < POINTS {
            self.filled += 1;
        }
    }

    /// The latest ticks' values, the oldest first.
    pub fn latest(&self, count: usize) -> impl Iterator<Item = u64> {
        let count = count.min(self.filled);
        let first = self.next + POINTS - count;
        (first..first + count).map(|at| self.points[at % POINTS])
    }

    /// The sum of the latest ticks' values.
    pub fn sum(&self, count: usize) -> u64 {
        self.latest(count).sum()
    }

    /// All that was ever counted.
    pub const fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept() {
        let mut series = Series::default();
        assert_eq!(series.sum(10), 0);
        for n in 0..POINTS as u64 + 5 {
            series.add(n);
            series.tick();
        }
        series.add(1000);
        assert_eq!(series.latest(3).collect::<Vec<_>>(), [122, 123, 124]);
        assert_eq!(series.latest(usize::MAX).next(), Some(5));
        assert_eq!(series.sum(2), 247);
        assert_eq!(series.total(), (0..125).sum::<u64>() + 1000);
    }
}
