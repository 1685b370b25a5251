//! The first lines: where and when, how much happens, what is missing, and what it costs.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span, Text},
};

use super::{Theme, View, text};
use crate::{
    cost::OwnCost,
    render::{completeness::Completeness, duration, escape},
};

/// Draws it: three lines.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let lines = [first(view), rates(view), state(view, area.width)];
    frame.render_widget(Text::from_iter(lines), area);
}

fn first(view: &View<'_>) -> Line<'static> {
    let model = view.model;
    let setting = &model.setting;
    let mut spans = vec![
        Span::styled("tcpdwell top", Theme::title()),
        format!(
            "  {}  {}  {}  counting {}",
            escape::text(setting.host.as_bytes()),
            escape::text(setting.kernel.as_bytes()),
            text::time(view, model.now, false),
            seconds(model.counted_for().as_secs()),
        )
        .into(),
    ];
    if let Some(typed) = model.narrow.typed() {
        let only = format!("  only: {}", escape::text(typed.as_bytes()));
        spans.push(Span::styled(only, view.theme.warning()));
    }
    if view.is_paused {
        spans.push("  ".into());
        spans.push(Span::styled(" PAUSED ", view.theme.loud()));
    }
    Line::from(spans)
}

/// `12s`, `5m12s`, as whole seconds.
fn seconds(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        _ => duration::human(seconds.saturating_mul(1_000_000)),
    }
}

fn rates(view: &View<'_>) -> Line<'static> {
    let model = view.model;
    // An accepted connection's owner is known later than its opening.
    let early = |series| model.rate(series).filter(|_| !model.wants_owners());
    let figures = [
        ("opened", text::rate(early(&model.opened)), "/s"),
        ("closed", text::rate(model.rate(&model.closed)), "/s"),
        ("failed", text::rate(model.rate(&model.failed)), "/s"),
        ("transitions", text::rate(early(&model.transitions)), "/s"),
        ("open", text::size(model.open_connections()), ""),
    ];
    let spans = figures.into_iter().flat_map(|(name, figure, unit)| {
        [
            Span::from(format!("{name} ")),
            Span::styled(figure, Theme::title()),
            Span::from(format!("{unit}   ")),
        ]
    });
    spans.collect()
}

fn state(view: &View<'_>, width: u16) -> Line<'static> {
    let model = view.model;
    let mut spans = lost(view, &model.completeness);
    let hooks = &model.setting.hooks;
    let or_none = |hook: &Option<String>| hook.clone().unwrap_or_else(|| "none".to_owned());
    let is_wide = width >= 110;
    let hooks = if is_wide {
        format!(
            "   hooks: state {}, TIME_WAIT {}, owner {}, snapshot {}",
            or_none(&hooks.state),
            or_none(&hooks.time_wait),
            or_none(&hooks.owner),
            or_none(&hooks.snapshot)
        )
    } else {
        format!(
            "  {}/{}/{}",
            or_none(&hooks.state),
            or_none(&hooks.time_wait),
            or_none(&hooks.owner)
        )
    };
    spans.push(escape::text(hooks.as_bytes()).into_owned().into());
    if let Some(cost) = model.cost {
        spans.push(own(&cost, is_wide).into());
    }
    Line::from(spans)
}

/// What is missing, not to be overlooked.
fn lost(view: &View<'_>, complete: &Completeness) -> Vec<Span<'static>> {
    let lost = complete.lost;
    let causes = [
        ("ring_full", lost.ring_full),
        ("recursion", lost.recursion),
        ("map_full", lost.map_full),
        ("decode", lost.decode),
        ("recording", lost.recording),
    ];
    let total = lost.total();
    let seen = complete.delivered;
    let mut spans = Vec::new();
    if total == 0 {
        spans.push(format!("lost 0 of {}", text::count(seen)).into());
    } else {
        let causes = causes.iter().filter(|(_, n)| *n > 0);
        let causes: Vec<_> = causes
            .map(|(name, n)| format!("{name} {}", text::count(*n)))
            .collect();
        let told = format!(" LOST {} ({}) ", text::count(total), causes.join(", "));
        spans.push(Span::styled(told, view.theme.loud()));
    }
    if complete.untracked > 0 {
        let told = format!(" {} not followed ", text::count(complete.untracked));
        spans.push(Span::styled(told, view.theme.loud()));
    }
    if complete.irregular > 0 {
        let told = format!(", irregular {}", text::count(complete.irregular));
        spans.push(Span::styled(told, view.theme.warning()));
    }
    spans
}

/// What the tool itself costs: its process, and a run of its kernel programs where the kernel counts.
fn own(cost: &OwnCost, is_wide: bool) -> String {
    let mut told = format!("  own {:.1}%", cost.cpu_percent);
    if let Some(bytes) = cost.resident_bytes {
        told += &format!(" {}MB", bytes >> 20);
    }
    if let Some(programs) = cost.programs {
        told += &format!(" BPF {:.0}ns", programs.ns_per_run);
        if is_wide {
            told += &format!("/run {:.2}%", programs.cpu_percent);
        }
    }
    told
}
