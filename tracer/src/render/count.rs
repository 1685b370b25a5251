//! How many of something: `1 file`, `2 files`.

use std::fmt::Display;

/// For words that take an `s`.
pub fn of<N: Copy + Display + PartialEq + From<u8>>(n: N, what: &str) -> String {
    let plural = if n == N::from(1) { "" } else { "s" };
    format!("{n} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn one_of_it_is_no_plural() {
        assert_eq!(of(0_u64, "file"), "0 files");
        assert_eq!(of(1_usize, "file"), "1 file");
        assert_eq!(of(2_u32, "file"), "2 files");
    }
}
