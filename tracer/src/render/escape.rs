//! Text from outside made safe for a terminal.

use std::borrow::Cow;

/// Bytes from outside as text: invalid UTF-8 becomes U+FFFD, and whatever could steer a terminal or
/// turn the reading direction is shown as an escape.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if text.chars().any(steers) {
        let mut out = String::with_capacity(text.len() * 2);
        for c in text.chars() {
            if steers(c) {
                out.extend(c.escape_unicode());
            } else {
                out.push(c);
            }
        }
        Cow::Owned(out)
    } else {
        text
    }
}

/// The same for text of several lines, which stay lines.
pub fn lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(|l| self::text(l.as_bytes())).collect();
    lines.join("\n")
}

/// Controls (C0, DEL, C1), and the invisible and bidirectional format characters.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        assert_eq!(text(b"nginx"), "nginx");
        assert_eq!(text("größe".as_bytes()), "größe");
        assert_eq!(text(b"\x1b[31mevil"), "\\u{1b}[31mevil");
        assert_eq!(text(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(text("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(text("\u{9b}2J".as_bytes()), "\\u{9b}2J");
        assert_eq!(lines("no\x1b[2J\n  mend"), "no\\u{1b}[2J\n  mend");
    }
}
