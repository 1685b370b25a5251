//! Times of day as text, RFC 3339 to the nanosecond. From row to row only the fraction changes: the second
//! before it is rendered once.

use std::{fmt, io::Write as _};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// `-009999-01-02T01:59:59.123456789Z` is the longest.
const ROOM: usize = 40;
/// `2026-01-31T23:59:59`, as all years of four digits are.
const SECOND: usize = 19;

/// A moment as text.
#[derive(Clone, Copy)]
pub struct Stamp {
    text: [u8; ROOM],
    length: usize,
}

impl Stamp {
    /// The text.
    #[inline]
    pub fn text(&self) -> &str {
        // It is ASCII: it was rendered as text.
        str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }

    fn of(at: Timestamp) -> Option<Self> {
        let mut text = [0; ROOM];
        let mut rest = &mut text[..];
        write!(rest, "{at}").ok()?;
        let length = ROOM - rest.len();
        Some(Self { text, length })
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Serialize for Stamp {
    #[inline]
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.text())
    }
}

/// Renders them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamps {
    /// The latest second, as text without its `Z`.
    latest: Option<(i64, Stamp)>,
}

impl Stamps {
    /// A moment, in ns since 1970; `None`: beyond what there is text for.
    #[inline]
    pub fn render(&mut self, wall_ns: i128) -> Option<Stamp> {
        let second = i64::try_from(wall_ns.div_euclid(1_000_000_000)).ok()?;
        let ns = u32::try_from(wall_ns.rem_euclid(1_000_000_000)).ok()?;
        match self.latest {
            Some((latest, stamp)) if latest == second => Some(with_fraction(stamp, ns)),
            _ => self.anew(wall_ns, second, ns),
        }
    }

    fn anew(&mut self, wall_ns: i128, second: i64, ns: u32) -> Option<Stamp> {
        let mut stamp = Stamp::of(Timestamp::from_second(second).ok()?)?;
        if stamp.length != SECOND + 1 || second < 0 {
            return Stamp::of(Timestamp::from_nanosecond(wall_ns).ok()?);
        }
        stamp.length = SECOND;
        self.latest = Some((second, stamp));
        Some(with_fraction(stamp, ns))
    }
}

/// Nine digits, less the zeros at their end.
#[inline]
fn with_fraction(second: Stamp, ns: u32) -> Stamp {
    let mut stamp = second;
    if ns > 0 {
        let (mut rest, mut digits) = (ns, [0; 9]);
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let zeros = digits.iter().rev().take_while(|d| **d == b'0').count();
        let kept = digits.len() - zeros;
        stamp.text[SECOND] = b'.';
        stamp.text[SECOND + 1..SECOND + 1 + kept].copy_from_slice(&digits[..kept]);
        stamp.length += 1 + kept;
    }
    stamp.text[stamp.length] = b'Z';
    stamp.length += 1;
    stamp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_jiff() {
        let mut stamps = Stamps::default();
        let seconds: [i64; 6] = [
            0,
            1_795_282_958,
            1_795_282_959,
            4_102_444_800,
            -1,
            -62_135_596_800,
        ];
        let nanoseconds = [0, 1, 10, 999, 1000, 120_000_000, 500_000_000, 999_999_999];
        for second in seconds {
            for ns in nanoseconds {
                let wall_ns = i128::from(second) * 1_000_000_000 + i128::from(ns);
                let expected = Timestamp::from_nanosecond(wall_ns).unwrap().to_string();
                assert_eq!(stamps.render(wall_ns).unwrap().text(), expected);
            }
        }
        assert!(stamps.render(i128::MAX).is_none());
        assert!(
            stamps
                .render(i128::from(i64::MAX) * 1_000_000_000)
                .is_none()
        );
    }
}
