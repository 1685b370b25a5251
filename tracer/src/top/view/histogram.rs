//! How long stays in the selected state were.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Text},
};

use super::{View, panel, text};
use crate::{
    engine::DurationHistogram,
    render::{
        duration::{human, human_or_dash},
        histogram::{Unit, rows, stars},
    },
    top::ui::Panel,
};

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let state = view.ui.state();
    let dwells = view.model.dwells[state.index()].as_deref();
    let ended = dwells.map_or(0, DurationHistogram::count);
    let title = format!("Stays in {state}: {} ended", text::count(ended));
    let inside = panel::frame(frame, area, view, Some(Panel::Histogram), &title);
    let Some(dwells) = dwells else {
        frame.render_widget("None was seen from its beginning to its end.", inside);
        return;
    };
    let figure = |q| human_or_dash(dwells.quantile_us(q));
    let mut lines = vec![Line::from(format!(
        "p50 {}  p90 {}  p99 {}  max {}",
        figure(0.5),
        figure(0.9),
        figure(0.99),
        human_or_dash(dwells.max_us()),
    ))];
    let all = rows(dwells, Unit::Microseconds);
    let most = all.iter().map(|row| row.2).max().unwrap_or(0);
    let room = usize::from(inside.height).saturating_sub(1);
    // Where there is no room for all, the ends where least is are left out.
    let (first, last) = fullest(&all, room);
    let width = usize::from(inside.width).saturating_sub(26);
    for (low, high, count) in &all[first..last] {
        let stars = stars(*count, most, width);
        lines.push(Line::from(format!(
            "{:>6} -> {:<6} {:>7} |{}",
            human(*low),
            human(*high + 1),
            text::count(*count),
            "*".repeat(stars)
        )));
    }
    frame.render_widget(Text::from_iter(lines), inside);
}

/// So many rows in sequence that hold the most.
fn fullest(rows: &[(u64, u64, u64)], room: usize) -> (usize, usize) {
    let (mut first, mut last) = (0, rows.len());
    while last - first > room {
        let (low, high) = (rows[first].2, rows[last - 1].2);
        if low <= high {
            first += 1;
        } else {
            last -= 1;
        }
    }
    (first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_rows_are_kept() {
        let rows: Vec<_> = [1, 0, 9, 8, 2].map(|n| (0, 0, n)).into();
        assert_eq!(fullest(&rows, 9), (0, 5));
        assert_eq!(fullest(&rows, 2), (2, 4));
        let (first, last) = fullest(&rows, 0);
        assert_eq!(first, last);
    }
}
