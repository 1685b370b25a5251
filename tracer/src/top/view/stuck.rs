//! Stuck: the oldest CLOSE_WAITs, with their owner and why they wait; and who leaks them.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Text},
};

use super::{View, panel, text};
use crate::{
    engine::{
        TcpState,
        stuck::{Cause, Leak},
    },
    render::age,
    top::{
        model::Wait,
        ui::{Panel, waits},
    },
};

/// Leaks that are told of; `stuck --watch` tells all.
const MAX_LEAKS: usize = 3;

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let model = view.model;
    let open = model.open_now[TcpState::CloseWait.index()];
    let causes = match model.waits.looked {
        Some(at) => format!("causes of {}", text::time(view, at, false)),
        None => "no look at causes yet".to_owned(),
    };
    let title = format!("Stuck: {} in CLOSE_WAIT, {causes}", text::size(open));
    let inside = panel::frame(frame, area, view, Some(Panel::Stuck), &title);
    let leaks: Vec<_> = model.waits.leaks.iter().take(MAX_LEAKS).map(leak).collect();
    let height = u16::try_from(leaks.len())
        .unwrap_or(0)
        .min(inside.height / 3);
    let [upper, lower] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(inside);
    let lines = leaks
        .into_iter()
        .map(|told| Line::styled(told, view.theme.warning()));
    frame.render_widget(lines.collect::<Text<'_>>(), upper);
    let mut columns = vec![
        panel::figure("AGE", 9),
        panel::figure("PID", 7),
        panel::text("COMM", Constraint::Length(12)),
        panel::text("CAUSE", Constraint::Length(14)),
        panel::text("REMOTE", Constraint::Min(15)),
    ];
    let has_local = inside.width >= 74;
    if has_local {
        columns.insert(4, panel::figure("LPORT", 5));
    }
    let waits = waits(model, view.ui);
    let rows: Vec<_> = waits
        .iter()
        .map(|wait| row(view, wait, has_local))
        .collect();
    let selected = view.selected(Panel::Stuck, rows.len());
    panel::table(frame, lower, view, &columns, &rows, selected);
}

fn row(view: &View<'_>, wait: &Wait, has_local: bool) -> Vec<String> {
    let t = &wait.open.last;
    let age = wait.age(view.model.now).map_or_else(
        || "-".to_owned(),
        |a| age::at_least(a, wait.open.age_is_exact),
    );
    let mut cells = vec![
        age,
        text::pid(t),
        text::name(t),
        if wait.is_gone {
            "(gone)".to_owned()
        } else {
            wait.cause.map_or("-", Cause::name).to_owned()
        },
        text::end(&t.tuple.remote),
    ];
    if has_local {
        cells.insert(4, t.tuple.local.port.to_string());
    }
    cells
}

fn leak(leak: &Leak) -> String {
    let port = leak.key.port;
    let mut told = format!(
        "{}: pid {} {port}: {} open",
        leak.verdict.name(),
        leak.key.pid,
        leak.open
    );
    if let (Some(opened), Some(closed)) = (leak.opened_per_s, leak.closed_per_s) {
        told += &format!(", {opened:.1} came {closed:.1} went /s");
    }
    told
}
