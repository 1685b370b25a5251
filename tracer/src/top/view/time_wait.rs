//! TIME_WAIT: how many come and go, why they go, how long they lasted, and by whom they are made.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span, Text},
};

use super::{Theme, View, panel, text};
use crate::{
    engine::TcpState,
    render::duration::human_or_dash,
    top::{
        model::REASONS,
        ui::{Panel, sorted},
    },
};

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let model = view.model;
    let now = model.open_now[TcpState::TimeWait.index()];
    if model.setting.hooks.time_wait.is_none() {
        let inside = panel::frame(frame, area, view, Some(Panel::TimeWait), "TIME_WAIT");
        let told = [
            "It is not measured on this kernel:",
            "'tcpdwell check' says why.",
        ];
        frame.render_widget(Text::from_iter(told.map(Line::from)), inside);
        return;
    }
    let title = format!("TIME_WAIT  {} now", text::size(now));
    let inside = panel::frame(frame, area, view, Some(Panel::TimeWait), &title);
    let lines = figures(view, usize::from(inside.width));
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let [upper, lower] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(inside);
    frame.render_widget(Text::from_iter(lines), upper);
    makers(frame, lower, view);
}

fn figures(view: &View<'_>, width: usize) -> Vec<Line<'static>> {
    let model = view.model;
    let time_wait = &model.time_wait;
    let mut lines = Vec::new();
    for (name, series) in [
        ("entered", &time_wait.entered),
        ("ended  ", &time_wait.left),
    ] {
        let rate = text::rate(model.rate(series));
        let points = width.saturating_sub(20);
        let values: Vec<_> = series.latest(points).collect();
        lines.push(Line::from(vec![
            format!("{name} ").into(),
            Span::styled(format!("{rate:>7}"), Theme::title()),
            "/s  ".into(),
            text::sparkline(values.into_iter()).into(),
        ]));
    }
    let ended = REASONS.iter().zip(&time_wait.by_reason);
    let ended = ended.filter(|(_, series)| series.total() > 0);
    let ended: Vec<_> = ended
        .map(|(reason, series)| format!("{} {}/s", reason.name(), text::rate(model.rate(series))))
        .collect();
    let ended = if ended.is_empty() {
        "none has ended yet".to_owned()
    } else {
        ended.join("  ")
    };
    lines.extend(folded(&ended, width));
    let never = time_wait.never_made.total();
    if never > 0 {
        let told = format!(
            "never made {} ({}/s): tcp_max_tw_buckets",
            text::count(never),
            text::rate(model.rate(&time_wait.never_made))
        );
        lines.push(Line::styled(told, view.theme.warning()));
    }
    let dwells = model.dwells[TcpState::TimeWait.index()].as_deref();
    let quantile = |q| human_or_dash(dwells.and_then(|d| d.quantile_us(q)));
    lines.push(Line::from(format!(
        "dwell p50 {}  p99 {}  max {}",
        quantile(0.5),
        quantile(0.99),
        human_or_dash(dwells.and_then(crate::engine::DurationHistogram::max_us)),
    )));
    lines
}

fn folded(text: &str, width: usize) -> Vec<Line<'static>> {
    let text = crate::render::age::folded(text, "  ", "  ", width);
    text.lines()
        .map(|line| Line::from(line.to_owned()))
        .collect()
}

/// By whom they are made.
fn makers(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let columns = [
        panel::text(view.ui.by.name(), Constraint::Min(12)),
        panel::figure("MADE/S", 7),
        panel::figure("TOTAL", 7),
    ];
    let rows: Vec<_> = sorted(view.model, view.ui, Panel::TimeWait)
        .into_iter()
        .map(|(key, total, recent)| {
            let rate = view.model.per_second(u64::from(recent.time_waits));
            vec![
                text::key(&key),
                text::rate(rate),
                text::count(u64::from(total.time_waits)),
            ]
        })
        .collect();
    let selected = view.selected(Panel::TimeWait, rows.len());
    panel::table(frame, area, view, &columns, &rows, selected);
}
