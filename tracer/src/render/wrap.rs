//! Text broken between words, for a terminal of 80 columns.

use std::fmt::{self, Write as _};

/// Columns of a terminal.
pub const WIDTH: usize = 80;

/// `head`, and the words after it; lines after the first begin with so many spaces.
pub fn wrapped(head: &str, text: &str, indent: usize, out: &mut String) -> fmt::Result {
    out.push_str(head);
    let mut column = head.chars().count();
    let mut begins = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !begins && column + 1 + length > WIDTH {
            write!(out, "\n{:indent$}", "")?;
            column = indent;
            begins = true;
        }
        if !begins {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
        begins = false;
    }
    out.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_nothing_is_missing() {
        let mut out = String::new();
        wrapped(
            "  do  1. ",
            &"keep connections alive ".repeat(9),
            8,
            &mut out,
        )
        .unwrap();
        assert!(
            out.lines().all(|line| line.chars().count() <= WIDTH),
            "{out}"
        );
        assert!(
            out.lines()
                .skip(1)
                .all(|line| line.starts_with("        keep")
                    || line.starts_with("        connections")
                    || line.starts_with("        alive"))
        );
        assert_eq!(out.split_whitespace().count(), 2 + 27);
    }
}
