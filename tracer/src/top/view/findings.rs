//! Findings: what the figures mean, as `diagnose` would say of the latest window.

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    text::{Line, Text},
    widgets::{Paragraph, Wrap},
};

use super::{Theme, View, panel, text};
use crate::{diagnose::Finding, render::escape, top::ui::Panel};

/// Draws the list.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let findings = &view.model.findings;
    let title = match findings.span {
        Some(span) => format!(
            "Findings of the {} s until {}",
            span.length().as_secs(),
            text::time(view, span.end, false)
        ),
        None => "Findings".to_owned(),
    };
    let inside = panel::frame(frame, area, view, Some(Panel::Findings), &title);
    if findings.span.is_none() {
        frame.render_widget("The first come when 10 s have been watched.", inside);
        return;
    }
    let list = findings.list();
    if list.is_empty() {
        let (fine, unknown) = findings.others();
        let told = format!("None. {fine} rules found all fine, {unknown} have not enough data.");
        frame.render_widget(Paragraph::new(told).wrap(Wrap { trim: true }), inside);
        return;
    }
    let columns = [
        panel::text("SEVERITY", Constraint::Length(8)),
        panel::text("FINDING", Constraint::Min(20)),
    ];
    let rows: Vec<_> = list
        .iter()
        .map(|(_, finding)| {
            vec![
                finding.severity.name().to_owned(),
                escape::text(finding.summary.as_bytes()).into_owned(),
            ]
        })
        .collect();
    let selected = view.selected(Panel::Findings, rows.len());
    panel::table(frame, inside, view, &columns, &rows, selected);
}

/// Draws all of one.
pub fn draw_one(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, at: usize) {
    let list = view.model.findings.list();
    let Some((rule, finding)) = list.get(at) else {
        let inside = panel::frame(frame, area, view, None, "Finding");
        frame.render_widget("It is not found any more.", inside);
        return;
    };
    let title = format!("{}: {rule}", finding.severity.name());
    let inside = panel::frame(frame, area, view, None, &title);
    let text = Text::from_iter(told(finding));
    let scroll = u16::try_from(view.ui.scroll).unwrap_or(u16::MAX);
    let paragraph = Paragraph::new(text).wrap(Wrap { trim: false });
    frame.render_widget(paragraph.scroll((scroll, 0)), inside);
}

fn told(finding: &Finding) -> Vec<Line<'static>> {
    let safe = |text: &str| escape::text(text.as_bytes()).into_owned();
    let heading = |text: &'static str| Line::styled(text, Theme::title());
    let mut lines = vec![
        Line::styled(safe(&finding.subject), Theme::title()),
        Line::from(safe(&finding.summary)),
        Line::default(),
        heading("Evidence"),
    ];
    for (name, value) in &finding.evidence {
        lines.push(Line::from(safe(&format!("  {name} = {value}"))));
    }
    lines.extend([Line::default(), heading("What to do")]);
    for (at, advice) in finding.advice.iter().enumerate() {
        lines.push(Line::from(safe(&format!("  {}. {advice}", at + 1))));
    }
    lines.extend([
        Line::default(),
        heading("How to see that it helped"),
        Line::from(format!("  {}", safe(finding.verify))),
        Line::default(),
        heading("What not to do"),
        Line::from(format!("  {}", safe(finding.avoid))),
    ]);
    lines
}
