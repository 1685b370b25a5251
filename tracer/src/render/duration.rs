//! Durations as people read them: three figures and a unit.

/// From 1 µs to days: `421us`, `12.3ms`, `62.0s`, `12m30s`, `3h12m`, `5d03h`.
pub fn human(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        1_000..10_000 => decimals(us, 1_000, 2, "ms"),
        10_000..100_000 => decimals(us, 1_000, 1, "ms"),
        100_000..1_000_000 => decimals(us, 1_000, 0, "ms"),
        1_000_000..10_000_000 => decimals(us, 1_000_000, 2, "s"),
        10_000_000..120_000_000 => decimals(us, 1_000_000, 1, "s"),
        _ => {
            let seconds = us / 1_000_000;
            match seconds {
                0..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
                3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
                _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
            }
        }
    }
}

/// Cut off, not rounded: a printed duration has passed.
fn decimals(us: u64, unit: u64, places: usize, name: &str) -> String {
    let whole = us / unit;
    let thousandths = us % unit * 1000 / unit;
    match places {
        0 => format!("{whole}{name}"),
        1 => format!("{whole}.{}{name}", thousandths / 100),
        _ => format!("{whole}.{:02}{name}", thousandths / 10),
    }
}

/// A `-` for what is not known.
pub fn human_or_dash(us: Option<u64>) -> String {
    us.map_or_else(|| "-".to_owned(), human)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_figures_and_a_unit() {
        for (us, text) in [
            (0, "0us"),
            (999, "999us"),
            (1_234, "1.23ms"),
            (12_345, "12.3ms"),
            (999_999, "999ms"),
            (1_999_999, "1.99s"),
            (62_011_151, "62.0s"),
            (750_000_000, "12m30s"),
            (11_520_000_000, "3h12m"),
            (443_000_000_000, "5d03h"),
        ] {
            assert_eq!(human(us), text, "{us}");
        }
        assert_eq!(human_or_dash(None), "-");
    }
}
