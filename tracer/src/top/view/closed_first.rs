//! Who closed first: by process, local port or remote.

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
};

use super::{View, panel, text};
use crate::top::{
    model::Tally,
    ui::{Panel, Sort, sorted},
};

/// Headings of who closed first, in the order of [`crate::engine::ClosedFirst`].
const WHO: [&str; 7] = [
    "LOCAL", "REMOTE", "SIMULT", "L_RST", "R_RST", "TIMEOUT", "UNKNOWN",
];

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let by = match view.ui.sort {
        Sort::Recent => "most a second",
        Sort::Total => "most in all",
        Sort::TimeWaits => "most TIME_WAITs",
    };
    let title = format!(
        "Closed first, by {} (g), {by} (s)",
        view.ui.by.name().to_lowercase()
    );
    let inside = panel::frame(frame, area, view, Some(Panel::ClosedFirst), &title);
    // What there is room for, the rarest left out first.
    let who: &[usize] = match inside.width {
        0..62 => &[0, 1, 3, 4],
        62..82 => &[0, 1, 3, 4, 5],
        _ => &[0, 1, 2, 3, 4, 5, 6],
    };
    let mut columns = vec![
        panel::text(view.ui.by.name(), Constraint::Min(10)),
        panel::figure("/S", 7),
        panel::figure("TOTAL", 7),
    ];
    columns.extend(who.iter().map(|at| panel::figure(WHO[*at], 7)));
    let groups = sorted(view.model, view.ui, Panel::ClosedFirst);
    let rows: Vec<_> = groups
        .iter()
        .map(|(key, total, recent)| {
            let mut cells = vec![
                text::key(key),
                rate(view, recent),
                text::count(total.all_closed()),
            ];
            cells.extend(
                who.iter()
                    .map(|at| text::count(u64::from(total.closed[*at]))),
            );
            cells
        })
        .collect();
    let selected = view.selected(Panel::ClosedFirst, rows.len());
    panel::table(frame, inside, view, &columns, &rows, selected);
}

fn rate(view: &View<'_>, recent: &Tally) -> String {
    text::rate(view.model.per_second(recent.all_closed()))
}
