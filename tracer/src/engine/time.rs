//! Kernel time: `CLOCK_MONOTONIC` in nanoseconds, as the probes stamp it.

use std::time::Duration;

/// How long an opening transition may wait for its tuple to be complete before it is told as it is.
///
/// A passive open completes within the same softirq round; an active one when the peer answers.
pub const OPENING_HOLD: Duration = Duration::from_millis(100);

/// A point in kernel time, in ns since some point before boot was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// Time passed since `earlier`; zero if that is later (stamps of two CPUs may cross by a few
    /// ns, a dwell is never negative).
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This much earlier.
    #[inline]
    pub fn minus(self, duration: Duration) -> Self {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(ns))
    }

    /// This much later.
    #[inline]
    pub fn plus(self, duration: Duration) -> Self {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ns))
    }
}
