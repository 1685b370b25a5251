//! The one table of keys: what is done with a key, and what the help says of it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// End.
    Quit,
    /// Say what the keys do.
    Help,
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// Ten rows up.
    PageUp,
    /// Ten rows down.
    PageDown,
    /// The next panel.
    Next,
    /// The panel before.
    Previous,
    /// Look into what is selected.
    Enter,
    /// Back to where that was.
    Back,
    /// Sort by the next column.
    Sort,
    /// Group by the next key.
    Group,
    /// Type a filter.
    Filter,
    /// Count anew.
    Reset,
    /// Stand still, or go on.
    Pause,
    /// Earlier.
    Earlier,
    /// Later.
    Later,
    /// Faster.
    Faster,
    /// Slower.
    Slower,
}

/// One action and its keys.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Any of these.
    pub codes: &'static [KeyCode],
    /// How they are named.
    pub named: &'static str,
    /// What they do.
    pub action: Action,
    /// The same, in words.
    pub does: &'static str,
    /// In one word, for the last line; empty: not there.
    pub brief: &'static str,
    /// Only while a recording is played.
    pub playback: bool,
}

const fn live(
    codes: &'static [KeyCode],
    named: &'static str,
    action: Action,
    does: &'static str,
    brief: &'static str,
) -> Binding {
    Binding {
        codes,
        named,
        action,
        does,
        brief,
        playback: false,
    }
}

const fn playback(
    codes: &'static [KeyCode],
    named: &'static str,
    action: Action,
    does: &'static str,
) -> Binding {
    Binding {
        codes,
        named,
        action,
        does,
        brief: "",
        playback: true,
    }
}

use KeyCode::{BackTab, Char, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Tab, Up};

/// All of them.
pub const KEYS: [Binding; 19] = [
    live(
        &[Char('?'), Char('h')],
        "?",
        Action::Help,
        "this help",
        "help",
    ),
    live(&[Tab], "Tab", Action::Next, "the next panel", "panel"),
    live(
        &[BackTab],
        "Shift-Tab",
        Action::Previous,
        "the panel before",
        "",
    ),
    live(
        &[Down, Char('j')],
        "Down, j",
        Action::Down,
        "the next row",
        "",
    ),
    live(&[Up, Char('k')], "Up, k", Action::Up, "the row before", ""),
    live(
        &[PageDown, End],
        "PgDn",
        Action::PageDown,
        "ten rows on",
        "",
    ),
    live(&[PageUp, Home], "PgUp", Action::PageUp, "ten rows back", ""),
    live(
        &[Enter],
        "Enter",
        Action::Enter,
        "look into what is selected: its connections, a connection's timeline, a finding's advice",
        "open",
    ),
    live(
        &[Esc, KeyCode::Backspace],
        "Esc",
        Action::Back,
        "back; a filter goes",
        "back",
    ),
    live(
        &[Char('s')],
        "s",
        Action::Sort,
        "sort by the next column",
        "sort",
    ),
    live(
        &[Char('g')],
        "g",
        Action::Group,
        "group by process, local port or remote",
        "group",
    ),
    live(
        &[Char('/')],
        "/",
        Action::Filter,
        "show only: part of a name or an address, or options such as -L 443 --comm nginx",
        "filter",
    ),
    live(
        &[Char('r')],
        "r",
        Action::Reset,
        "count anew from here on",
        "",
    ),
    live(
        &[Char(' '), Char('p')],
        "Space, p",
        Action::Pause,
        "stand still, go on",
        "pause",
    ),
    playback(
        &[Left],
        "Left",
        Action::Earlier,
        "a twentieth of the recording back",
    ),
    playback(
        &[Right],
        "Right",
        Action::Later,
        "a twentieth of the recording on",
    ),
    playback(
        &[Char('+'), Char('=')],
        "+",
        Action::Faster,
        "twice as fast",
    ),
    playback(&[Char('-')], "-", Action::Slower, "half as fast"),
    live(&[Char('q')], "q, Ctrl-C", Action::Quit, "end", "quit"),
];

/// What a key asks for, if anything.
pub fn action(key: &KeyEvent, is_playback: bool) -> Option<Action> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return (key.code == Char('c')).then_some(Action::Quit);
    }
    let binding = KEYS.iter().find(|b| b.codes.contains(&key.code))?;
    (is_playback || !binding.playback).then_some(binding.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_means_one_thing() {
        let codes: Vec<_> = KEYS.iter().flat_map(|b| b.codes).collect();
        for (at, code) in codes.iter().enumerate() {
            assert!(!codes[..at].contains(code), "{code:?} comes twice");
        }
        assert!(
            KEYS.iter()
                .all(|b| b.does.len() <= 100 && !b.named.is_empty())
        );
    }

    #[test]
    fn seeking_is_for_recordings() {
        let left = KeyEvent::new(Left, KeyModifiers::NONE);
        assert_eq!(action(&left, false), None);
        assert_eq!(action(&left, true), Some(Action::Earlier));
        let interrupt = KeyEvent::new(Char('c'), KeyModifiers::CONTROL);
        assert_eq!(action(&interrupt, false), Some(Action::Quit));
    }
}
