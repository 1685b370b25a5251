//! What the keys do: made of the table of keys.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span, Text},
    widgets::{Paragraph, Wrap},
};

use super::{Theme, View, panel};
use crate::top::keys::KEYS;

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let inside = panel::frame(frame, area, view, None, "Keys");
    let keys = KEYS.iter().filter(|b| view.ui.is_playback || !b.playback);
    let mut lines: Vec<_> = keys
        .map(|binding| {
            Line::from(vec![
                Span::styled(format!("  {:<12}", binding.named), Theme::title()),
                binding.does.into(),
            ])
        })
        .collect();
    lines.push(Line::default());
    let notes = [
        "Rates are of the latest ten seconds; totals, dwells and TOTAL columns since counting began.",
        "'-' is not known, '>=' at least so long: it is older than the trace.",
    ];
    lines.extend(notes.map(|note| Line::styled(format!("  {note}"), view.theme.dim())));
    let scroll = u16::try_from(view.ui.scroll).unwrap_or(u16::MAX);
    let paragraph = Paragraph::new(Text::from_iter(lines)).wrap(Wrap { trim: false });
    frame.render_widget(paragraph.scroll((scroll, 0)), inside);
}
