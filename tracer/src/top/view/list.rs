//! The connections of a row: those in a state, or recent ones of a process, port or remote.

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
};

use super::{View, panel, text};
use crate::{
    engine::ClosedFirst,
    render::{age, count},
    top::listed::{Listed, Subject},
};

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, subject: Subject) {
    let count = view.ui.listed.len();
    let title = match subject {
        Subject::State(state) => {
            format!(
                "{} in {state}, the oldest first",
                count::of(count, "socket")
            )
        }
        Subject::Row(by, key) => format!(
            "{}, {} {}",
            count::of(count, "recent connection"),
            by.name().to_lowercase(),
            text::key(&key)
        ),
    };
    let inside = panel::frame(frame, area, view, None, &title);
    let is_wide = inside.width >= 100;
    let columns = [
        panel::figure("PID", 7),
        panel::text("COMM", Constraint::Length(12)),
        if is_wide {
            panel::text("LOCAL", Constraint::Fill(1))
        } else {
            panel::figure("LPORT", 5)
        },
        panel::text("REMOTE", Constraint::Fill(1)),
        panel::text("STATE", Constraint::Length(11)),
        panel::figure("FOR", 9),
        panel::text("CLOSED", Constraint::Length(6)),
    ];
    let rows: Vec<_> = view.ui.listed.iter().map(|l| row(l, is_wide)).collect();
    let selected = (!rows.is_empty()).then(|| view.ui.selected_listed());
    panel::table(frame, inside, view, &columns, &rows, selected);
}

fn row(listed: &Listed, is_wide: bool) -> Vec<String> {
    let t = &listed.last;
    let age = listed
        .age
        .map_or_else(|| "-".to_owned(), |a| age::at_least(a, listed.age_is_exact));
    let first = match t.closed_first {
        None => "-",
        Some(ClosedFirst::Local) => "local",
        Some(ClosedFirst::Remote) => "remote",
        Some(ClosedFirst::Simultaneous) => "both",
        Some(ClosedFirst::LocalReset) => "l_rst",
        Some(ClosedFirst::RemoteReset) => "r_rst",
        Some(ClosedFirst::Timeout) => "timout",
        Some(ClosedFirst::Unknown) => "?",
    };
    vec![
        text::pid(t),
        text::name(t),
        if is_wide {
            text::end(&t.tuple.local)
        } else {
            t.tuple.local.port.to_string()
        },
        text::end(&t.tuple.remote),
        t.to.name().to_owned(),
        age,
        first.to_owned(),
    ]
}
