//! How many sockets are in each state, and how that went.

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
};

use super::{View, panel, text};
use crate::{
    engine::TcpState,
    render::duration::human_or_dash,
    top::{
        model::POINTS,
        ui::{Panel, STATES},
    },
};

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let inside = panel::frame(frame, area, view, Some(Panel::States), "States");
    let mut columns = vec![
        panel::text("STATE", Constraint::Length(11)),
        panel::figure("NOW", 7),
        panel::figure("IN/S", 6),
    ];
    let has_dwells = inside.width >= 54;
    if has_dwells {
        columns.extend([panel::figure("P50", 6), panel::figure("P99", 6)]);
    }
    let taken: u16 = columns.iter().map(|c| width(c.width) + 1).sum();
    let left = usize::from(inside.width.saturating_sub(taken)).min(POINTS);
    columns.push(panel::text("", Constraint::Min(0)));
    let rows: Vec<_> = STATES
        .iter()
        .map(|state| row(view, *state, has_dwells, left))
        .collect();
    let selected = view.ui.selected(Panel::States, STATES.len());
    panel::table(frame, inside, view, &columns, &rows, Some(selected));
}

const fn width(constraint: Constraint) -> u16 {
    match constraint {
        Constraint::Length(width) => width,
        _ => 0,
    }
}

fn row(view: &View<'_>, state: TcpState, has_dwells: bool, points: usize) -> Vec<String> {
    let model = view.model;
    let at = state.index();
    let is_measured = state != TcpState::TimeWait || model.setting.hooks.time_wait.is_some();
    let measured = |text: String| if is_measured { text } else { "-".to_owned() };
    // An accepted connection's owner is known later than that.
    let is_early = matches!(state, TcpState::SynRecv | TcpState::Established);
    let entered = if is_early && model.wants_owners() {
        None
    } else {
        model.rate(&model.entered[at])
    };
    let mut cells = vec![
        state.name().to_owned(),
        measured(text::size(model.open_now[at])),
        measured(text::rate(entered)),
    ];
    if has_dwells {
        let dwells = model.dwells[at].as_deref();
        for quantile in [0.5, 0.99] {
            cells.push(human_or_dash(dwells.and_then(|d| d.quantile_us(quantile))));
        }
    }
    cells.push(text::sparkline(
        model.open[at]
            .latest(points)
            .collect::<Vec<_>>()
            .into_iter(),
    ));
    cells
}
