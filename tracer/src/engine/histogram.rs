//! Durations, counted: two significant digits from 1 µs to 30 days, merged without error.

use std::time::Duration;

use hdrhistogram::Histogram;

const MAX_US: u64 = 30 * 24 * 3600 * 1_000_000;

/// A histogram of durations, in microseconds.
#[derive(Clone, Debug)]
pub struct DurationHistogram {
    counts: Histogram<u64>,
    sum_us: u128,
    min_us: u64,
    max_us: u64,
}

impl DurationHistogram {
    /// An empty one. Memory grows with the largest value, to 32 KiB.
    ///
    /// `None` never: the bounds are constants that `hdrhistogram` accepts (a test holds it to it).
    pub fn new() -> Option<Self> {
        Self::of_digits(2)
    }

    /// One of one significant digit (values within 6 %), for where there are thousands: 5 KiB at most.
    pub fn coarse() -> Option<Self> {
        Self::of_digits(1)
    }

    fn of_digits(digits: u8) -> Option<Self> {
        let mut counts = Histogram::new_with_bounds(1, MAX_US, digits).ok()?;
        counts.auto(false);
        Some(Self {
            counts,
            sum_us: 0,
            min_us: u64::MAX,
            max_us: 0,
        })
    }

    /// Counts one duration. Above 30 days it counts as 30 days; the exact maximum is kept apart.
    #[inline]
    pub fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.counts.saturating_record(us);
        self.sum_us += u128::from(us);
        self.min_us = self.min_us.min(us);
        self.max_us = self.max_us.max(us);
    }

    /// Counts what somebody else counted: how many of which µs, and exact sum and bounds of them all.
    pub fn record_counted(
        &mut self,
        counted: impl IntoIterator<Item = (u64, u64)>,
        sum_us: u64,
        (min_us, max_us): (u64, u64),
    ) {
        for (us, count) in counted {
            self.counts.saturating_record_n(us, count);
        }
        self.sum_us += u128::from(sum_us);
        self.min_us = self.min_us.min(min_us);
        self.max_us = self.max_us.max(max_us);
    }

    /// Counts all that another of the same precision counted.
    pub fn merge(&mut self, other: &Self) {
        // It can't fail: both have the same bounds.
        let _ = self.counts.add(&other.counts);
        self.sum_us += other.sum_us;
        self.min_us = self.min_us.min(other.min_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many were in this range of µs, both ends included; exact where the range begins and ends
    /// at a power of two, to two significant digits elsewhere.
    pub fn count_between(&self, low_us: u64, high_us: u64) -> u64 {
        let counted = self.counts.iter_recorded();
        let within = counted.filter(|c| (low_us..=high_us).contains(&c.value_iterated_to()));
        within.map(|c| c.count_since_last_iteration()).sum()
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.counts.len()
    }

    /// The shortest, exact; `None` when empty.
    pub fn min_us(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.min_us)
    }

    /// The longest, exact; `None` when empty.
    pub fn max_us(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max_us)
    }

    /// The mean, exact to the microsecond; `None` when empty.
    pub fn mean_us(&self) -> Option<u64> {
        let count = u128::from(self.count());
        u64::try_from(self.sum_us.checked_div(count)?).ok()
    }

    /// The quantile `q` in 0..=1, to two significant digits; `None` when empty.
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        (self.count() > 0).then(|| {
            self.counts
                .value_at_quantile(q)
                .clamp(self.min_us, self.max_us)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_known_set() {
        let mut h = DurationHistogram::new().unwrap();
        assert_eq!(h.quantile_us(0.5), None);
        assert_eq!(h.mean_us(), None);
        for ms in 1..=1000 {
            h.record(Duration::from_millis(ms));
        }
        assert_eq!(h.count(), 1000);
        assert_eq!(h.min_us(), Some(1000));
        assert_eq!(h.max_us(), Some(1_000_000));
        assert_eq!(h.mean_us(), Some(500_500));
        let p50 = h.quantile_us(0.5).unwrap();
        assert!(p50.abs_diff(500_000) <= 5_000, "{p50}");
    }

    #[test]
    fn buckets_of_the_kernel_are_its_own() {
        use tracer_common::buckets::{BUCKETS, bucket, least_of};
        let mut told = DurationHistogram::new().unwrap();
        let mut counts = vec![0; BUCKETS];
        let (mut sum, mut us) = (0, 1);
        while us < MAX_US {
            told.record(Duration::from_micros(us));
            counts[bucket(us)] += 1;
            sum += us;
            us += us / 50 + 1;
        }
        let counted = counts.iter().enumerate().map(|(at, n)| (least_of(at), *n));
        let mut added_up = DurationHistogram::new().unwrap();
        let bounds = (told.min_us, told.max_us);
        added_up.record_counted(counted.filter(|(_, n)| *n > 0), sum, bounds);
        assert_eq!(added_up.count(), told.count());
        assert_eq!(added_up.mean_us(), told.mean_us());
        for percent in 0..=100 {
            let q = f64::from(percent) / 100.0;
            assert_eq!(added_up.quantile_us(q), told.quantile_us(q), "{percent} %");
        }
    }

    #[test]
    fn beyond_the_range_is_kept() {
        let mut h = DurationHistogram::new().unwrap();
        h.record(Duration::from_hours(24 * 365));
        h.record(Duration::ZERO);
        assert_eq!(h.max_us(), Some(86_400 * 365 * 1_000_000));
        assert_eq!(h.min_us(), Some(0));
    }
}
