//! A histogram as bcc draws it: powers of two, and forty stars for the fullest row.

use std::fmt::{self, Write};

use crate::engine::DurationHistogram;

/// What the rows count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 10⁻⁶ s.
    Microseconds,
    /// 10⁻³ s.
    Milliseconds,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Microseconds => "usecs",
            Self::Milliseconds => "msecs",
        }
    }

    const fn micros(self) -> u64 {
        match self {
            Self::Microseconds => 1,
            Self::Milliseconds => 1000,
        }
    }
}

const STARS: usize = 40;

/// Rows from the first to the last that has any, and a line of figures.
pub fn draw(counts: &DurationHistogram, unit: Unit, out: &mut impl Write) -> fmt::Result {
    let rows = rows(counts, unit);
    let most = rows.iter().map(|row| row.2).max().unwrap_or(0);
    writeln!(out, "     {:<19} : count     distribution", unit.name())?;
    for (low, high, count) in rows {
        let stars = stars(count, most, STARS);
        writeln!(
            out,
            "{low:>10} -> {high:<10} : {count:<8} |{:<STARS$}|",
            "*".repeat(stars)
        )?;
    }
    writeln!(out, "  {}", summary(counts, unit))
}

/// How many stars stand for a count where the largest fills the width: at least one where there is
/// anything.
pub fn stars(count: u64, most: u64, width: usize) -> usize {
    let scaled = (u128::from(count) * width as u128)
        .checked_div(u128::from(most))
        .unwrap_or(0);
    let scaled = usize::try_from(scaled).unwrap_or(width);
    if count > 0 { scaled.max(1) } else { 0 }
}

/// Powers of two of the unit, both ends included, and how many.
pub fn rows(counts: &DurationHistogram, unit: Unit) -> Vec<(u64, u64, u64)> {
    let mut rows = Vec::new();
    let (mut low, mut high) = (0_u64, 1_u64);
    let mut left = counts.count();
    loop {
        // The last microsecond of the row.
        let until = (high + 1).saturating_mul(unit.micros()) - 1;
        let count = counts.count_between(low.saturating_mul(unit.micros()), until);
        rows.push((low, high, count));
        left = left.saturating_sub(count);
        if left == 0 || high > u64::MAX / 4 {
            break;
        }
        low = high + 1;
        high = 2 * low - 1;
    }
    let first = rows.iter().position(|row| row.2 > 0).unwrap_or(0);
    // One empty row before the first shows where it begins.
    rows.split_off(first.saturating_sub(1))
}

/// `count=3 min=... max=...`.
pub fn summary(counts: &DurationHistogram, unit: Unit) -> String {
    let figure = |us: Option<u64>| match (us, unit) {
        (None, _) => "-".to_owned(),
        (Some(us), Unit::Microseconds) => us.to_string(),
        (Some(us), Unit::Milliseconds) => format!("{}.{:03}", us / 1000, us % 1000),
    };
    format!(
        "count={} min={} mean={} p50={} p90={} p99={} p99.9={} max={}",
        counts.count(),
        figure(counts.min_us()),
        figure(counts.mean_us()),
        figure(counts.quantile_us(0.5)),
        figure(counts.quantile_us(0.9)),
        figure(counts.quantile_us(0.99)),
        figure(counts.quantile_us(0.999)),
        figure(counts.max_us()),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn as_bcc_draws_it() {
        let mut counts = DurationHistogram::new().unwrap();
        for (us, times) in [(5, 10), (6, 10), (9, 5), (40, 1)] {
            for _ in 0..times {
                counts.record(Duration::from_micros(us));
            }
        }
        let mut drawn = String::new();
        draw(&counts, Unit::Microseconds, &mut drawn).unwrap();
        let expected = "     usecs               : count     distribution
         2 -> 3          : 0        |                                        |
         4 -> 7          : 20       |****************************************|
         8 -> 15         : 5        |**********                              |
        16 -> 31         : 0        |                                        |
        32 -> 63         : 1        |**                                      |
  count=26 min=5 mean=7 p50=6 p90=9 p99=40 p99.9=40 max=40
";
        assert_eq!(drawn, expected);
        assert!(expected.lines().all(|line| line.len() < 80));
    }

    #[test]
    fn every_duration_is_in_one_row() {
        let mut counts = DurationHistogram::new().unwrap();
        for us in [0, 1, 2, 1023, 1024, 1_000_000, 86_400_000_000] {
            counts.record(Duration::from_micros(us));
        }
        for unit in [Unit::Microseconds, Unit::Milliseconds] {
            let rows = rows(&counts, unit);
            assert_eq!(rows.iter().map(|r| r.2).sum::<u64>(), 7, "{rows:?}");
        }
        assert_eq!(
            rows(&DurationHistogram::new().unwrap(), Unit::Milliseconds).len(),
            1
        );
    }
}
