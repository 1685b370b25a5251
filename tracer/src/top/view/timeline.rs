//! What one connection did: every transition with its moment, and how long it stayed.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Text},
    widgets::{Paragraph, Wrap},
};

use super::{View, panel, text};
use crate::{
    engine::{ClosedFirst, EndReason, TcpState, Transition},
    render::{age, duration::human, escape},
    top::{
        listed::Listed,
        model::{Dwell, Life, Step},
    },
};

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, listed: &Listed) {
    let life = listed.last.conn.and_then(|conn| view.model.life(conn));
    let mut last = life.map_or(listed.last, |life| life.last);
    if last.owner.source < listed.last.owner.source {
        // Found out since its latest transition.
        (last.owner, last.process) = (listed.last.owner, listed.last.process);
    }
    let conn = last
        .conn
        .map_or_else(|| "-".to_owned(), |c| c.0.to_string());
    let title = format!("Connection {conn}");
    let inside = panel::frame(frame, area, view, None, &title);
    let mut lines = heads(view, &last);
    lines.push(now(view, listed, life));
    lines.push(Line::default());
    let height = u16::try_from(lines.len()).unwrap_or(0);
    let [upper, lower] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(inside);
    let heads = Paragraph::new(Text::from_iter(lines));
    frame.render_widget(heads, upper);
    let Some(life) = life else {
        let told = Paragraph::new(unknown(view)).wrap(Wrap { trim: true });
        frame.render_widget(told, lower);
        return;
    };
    let columns = [
        panel::text("TIME", Constraint::Length(15)),
        panel::figure("AFTER", 8),
        panel::text("FROM", Constraint::Length(11)),
        panel::text("TO", Constraint::Length(11)),
        panel::figure("STAYED", 9),
        panel::text("WHY", Constraint::Min(8)),
    ];
    let rows = rows(view, life);
    let selected = view.ui.scroll.min(rows.len().saturating_sub(1));
    panel::table(frame, lower, view, &columns, &rows, Some(selected));
}

fn heads(view: &View<'_>, t: &Transition) -> Vec<Line<'static>> {
    let tuple = &t.tuple;
    let mut lines = vec![
        Line::from(format!(
            "{} -> {}   {}   netns {}",
            text::end(&tuple.local),
            text::end(&tuple.remote),
            t.role.name(),
            t.netns
        )),
        Line::from(format!(
            "{} (pid {}, known by {})   closed first: {}",
            text::name(t),
            text::pid(t),
            t.owner.source.name(),
            t.closed_first.map_or("-", ClosedFirst::name)
        )),
    ];
    let of = |wait: &&crate::top::model::Wait| wait.open.last.conn == t.conn && t.conn.is_some();
    if let Some(wait) = view.model.waits.oldest.iter().find(of)
        && !wait.evidence.is_empty()
    {
        let told = escape::text(wait.evidence.as_bytes()).into_owned();
        lines.push(Line::styled(told, view.theme.warning()));
    }
    lines
}

/// Where it is now.
fn now(view: &View<'_>, listed: &Listed, life: Option<&Life>) -> Line<'static> {
    let last = life.map_or(&listed.last, |life| &life.last);
    if last.to == TcpState::Close {
        return Line::from("It has ended.");
    }
    let is_same = last.at == listed.last.at;
    let (stayed, exact) = match life {
        // What was told of the socket knows better than the moment of a transition that was found.
        Some(_) if !is_same => (Some(view.model.now.since(last.at)), true),
        _ => (listed.age, listed.age_is_exact),
    };
    let stayed = stayed.unwrap_or(Duration::ZERO);
    Line::from(format!(
        "in {} for {}",
        last.to,
        age::at_least(stayed, exact)
    ))
}

fn unknown(view: &View<'_>) -> Line<'static> {
    Line::styled(
        "Its transitions are not remembered: it is older than the trace, or too many others came.",
        view.theme.dim(),
    )
}

fn rows(view: &View<'_>, life: &Life) -> Vec<Vec<String>> {
    let steps = life.steps();
    let Some(first) = steps.first() else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if at == 1 && life.skipped > 0 {
            let told = format!("... {} more", life.skipped);
            rows.push(vec![told]);
        }
        rows.push(row(view, step, first));
    }
    rows
}

fn row(view: &View<'_>, step: &Step, first: &Step) -> Vec<String> {
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    vec![
        text::time(view, step.at, true),
        format!("+{}", human(micros(step.at.since(first.at)))),
        step.from.name().to_owned(),
        step.to.name().to_owned(),
        match step.dwell {
            Dwell::Measured(dwell) => human(micros(dwell)),
            Dwell::AtLeast(dwell) => format!(">={}", human(micros(dwell))),
            Dwell::Unknown => "-".to_owned(),
        },
        step.reason.map_or("", EndReason::name).to_owned(),
    ]
}
