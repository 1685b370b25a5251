//! Durations and counts as people read them.

use std::time::Duration;

/// `12.345s`, `5m12s`, `3h02m`, `2d03h`.
pub fn short(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{}.{:03}s", seconds, age.subsec_millis()),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// The same of a lower bound, or of nothing.
pub fn at_least(age: Duration, exact: bool) -> String {
    match (age.is_zero(), exact) {
        (_, true) => short(age),
        (true, false) => "-".to_owned(),
        (false, false) => format!(">={}", short(age)),
    }
}

/// Lines of at most `width` columns, broken between words: the first begins with `first`, the others
/// with `then`.
pub fn folded(text: &str, first: &str, then: &str, width: usize) -> String {
    let mut out = first.to_owned();
    let (mut column, mut begins) = (first.chars().count(), true);
    for word in text.split(' ') {
        let length = word.chars().count();
        if !begins && column + 1 + length > width {
            out.push('\n');
            out.push_str(then);
            column = then.chars().count();
        } else if !begins {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
        begins = false;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_say_it() {
        let said = [
            0,
            59_999,
            60_000,
            3_599_999,
            3_600_000,
            11_000_000,
            200_000_000,
        ]
        .map(|ms| short(Duration::from_millis(ms)));
        let expected = [
            "0.000s", "59.999s", "1m00s", "59m59s", "1h00m", "3h03m", "2d07h",
        ];
        assert_eq!(said, expected);
        assert_eq!(at_least(Duration::ZERO, false), "-");
        assert_eq!(at_least(Duration::from_secs(5), false), ">=5.000s");
        assert_eq!(at_least(Duration::ZERO, true), "0.000s");
    }

    #[test]
    fn lines_end_between_words() {
        assert_eq!(folded("one two three", "", "  ", 8), "one two\n  three");
        assert_eq!(folded("a", "- ", "  ", 80), "- a");
        assert_eq!(folded("longer than that", "", "", 3), "longer\nthan\nthat");
    }
}
