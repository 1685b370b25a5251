//! The last line: where a recording is played, a filter that is typed, or the keys.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{Theme, View, text};
use crate::{engine::Mono, render::escape, top::keys::KEYS};

/// Where a recording is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// When it begins.
    pub begin: Mono,
    /// When it ends.
    pub end: Mono,
    /// Where it is.
    pub at: Mono,
    /// Twice as fast so often.
    pub speed: i8,
    /// It is being read up to another place.
    pub is_seeking: bool,
}

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let line = match (&view.ui.typing, view.position) {
        (Some(typing), _) => {
            let mut spans = vec![
                Span::styled("show only: ", Theme::title()),
                escape::text(typing.text.as_bytes()).into_owned().into(),
                Span::styled(" ", Theme::selected()),
            ];
            if let Some(error) = &typing.error {
                let error = escape::text(error.as_bytes()).into_owned();
                spans.push(Span::styled(format!(" {error}"), view.theme.loud()));
            }
            Line::from(spans)
        }
        (None, Some(position)) => slider(view, position, usize::from(area.width)),
        (None, None) => keys(),
    };
    frame.render_widget(line, area);
}

fn keys() -> Line<'static> {
    let brief = KEYS.iter().filter(|b| !b.brief.is_empty());
    let spans = brief.flat_map(|binding| {
        let key = binding.named.split(',').next().unwrap_or_default();
        [
            Span::styled(format!(" {key}"), Theme::title()),
            format!(" {} ", binding.brief).into(),
        ]
    });
    spans.collect()
}

fn slider(view: &View<'_>, position: Position, width: usize) -> Line<'static> {
    let length = position.end.since(position.begin);
    let passed = position.at.since(position.begin).min(length);
    let speed = match position.speed {
        speed @ 0.. => format!("x{}", 1_u32 << speed.min(30)),
        speed => format!("x1/{}", 1_u32 << speed.unsigned_abs().min(30)),
    };
    let state = match (view.is_paused, position.is_seeking) {
        (_, true) => "seeking",
        (true, _) => "paused",
        _ if position.at >= position.end => "the end",
        _ => "playing",
    };
    let left = format!(" {} ", text::time(view, position.at, false));
    let right = format!(
        " {:.1} of {:.1} s  {speed}  {state}  ? keys",
        passed.as_secs_f64(),
        length.as_secs_f64()
    );
    let bar = width.saturating_sub(left.chars().count() + right.chars().count() + 2);
    let done = usize::try_from(
        (passed.as_nanos() * bar as u128)
            .checked_div(length.as_nanos())
            .unwrap_or(0),
    )
    .unwrap_or(0)
    .min(bar);
    Line::from(vec![
        left.into(),
        Span::styled(
            format!("[{}{}]", "=".repeat(done), "-".repeat(bar - done)),
            view.theme.focused(),
        ),
        right.into(),
    ])
}
