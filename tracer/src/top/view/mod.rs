//! The screen, drawn of the figures and of where the person looks: a pure function of the two.

mod closed_first;
mod findings;
mod header;
mod help;
mod histogram;
mod list;
mod panel;
mod slider;
mod states;
mod stuck;
mod text;
mod time_wait;
mod timeline;

use jiff::tz::TimeZone;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
};

pub use self::slider::Position;
use super::{
    model::Model,
    ui::{Page, Panel, Ui},
};

/// Smaller than this there is nothing to see.
const SMALLEST: (u16, u16) = (80, 24);
/// From here on all panels are there at once, in two columns.
const MIDDLE: (u16, u16) = (110, 36);
/// From here on in three.
const WIDE: (u16, u16) = (180, 44);

/// How things look.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// With colours; else only bold, dim and reversed.
    pub has_colours: bool,
}

impl Theme {
    fn coloured(self, colour: Color, plain: Style) -> Style {
        if self.has_colours {
            Style::new().fg(colour)
        } else {
            plain
        }
    }

    const fn title() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn heading(self) -> Style {
        self.coloured(Color::Cyan, Style::new().add_modifier(Modifier::UNDERLINED))
    }

    fn dim(self) -> Style {
        self.coloured(Color::DarkGray, Style::new().add_modifier(Modifier::DIM))
    }

    fn focused(self) -> Style {
        self.coloured(Color::Cyan, Style::new().add_modifier(Modifier::BOLD))
    }

    /// What must not be overlooked.
    fn loud(self) -> Style {
        let reversed = Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD);
        if self.has_colours {
            Style::new()
                .fg(Color::White)
                .bg(Color::Red)
                .add_modifier(Modifier::BOLD)
        } else {
            reversed
        }
    }

    fn warning(self) -> Style {
        self.coloured(Color::Yellow, Style::new().add_modifier(Modifier::BOLD))
    }

    const fn selected() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The figures.
    pub model: &'a Model,
    /// Where the person looks.
    pub ui: &'a Ui,
    /// How things look.
    pub theme: Theme,
    /// Times of day are those of this place.
    pub zone: &'a TimeZone,
    /// Where a recording is played; `None`: it is live.
    pub position: Option<Position>,
    /// The figures stand still.
    pub is_paused: bool,
}

impl View<'_> {
    /// The row of a panel that is marked: only where the keys go, and where there are rows.
    fn selected(&self, panel: Panel, rows: usize) -> Option<usize> {
        let is_focused = self.ui.focus == panel && rows > 0;
        is_focused.then(|| self.ui.selected(panel, rows))
    }
}

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, view: &View<'_>) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let (width, height) = SMALLEST;
        let lines = [
            format!("{} x {} is too small:", area.width, area.height),
            format!("{width} x {height} are needed"),
        ];
        frame.render_widget(ratatui::text::Text::from_iter(lines.map(Line::from)), area);
        return;
    }
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    header::draw(frame, head, view);
    match view.ui.pages.last() {
        None => panels(frame, body, view),
        Some(Page::Help) => help::draw(frame, body, view),
        Some(Page::List(subject)) => list::draw(frame, body, view, *subject),
        Some(Page::Timeline(listed)) => timeline::draw(frame, body, view, listed),
        Some(Page::Finding(at)) => findings::draw_one(frame, body, view, *at),
    }
    slider::draw(frame, foot, view);
}

/// All panels, or as many as there is room for.
fn panels(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let full = frame.area();
    let holds = |least: (u16, u16)| full.width >= least.0 && full.height >= least.1;
    if holds(WIDE) {
        let rows =
            Layout::vertical([Constraint::Percentage(50), Constraint::Min(0)]).areas::<2>(area);
        let grid = [
            [Panel::States, Panel::TimeWait, Panel::Histogram],
            [Panel::ClosedFirst, Panel::Stuck, Panel::Findings],
        ];
        for (row, panels) in rows.into_iter().zip(grid) {
            let third = Constraint::Ratio(1, 3);
            let columns = Layout::horizontal([third; 3]).areas::<3>(row);
            for (column, panel) in columns.into_iter().zip(panels) {
                one(frame, column, view, panel);
            }
        }
    } else if holds(MIDDLE) {
        let rows = Layout::vertical([
            Constraint::Length(13),
            Constraint::Fill(1),
            Constraint::Fill(1),
        ])
        .areas::<3>(area);
        let grid = [
            [Panel::States, Panel::TimeWait],
            [Panel::ClosedFirst, Panel::Histogram],
            [Panel::Stuck, Panel::Findings],
        ];
        for (row, panels) in rows.into_iter().zip(grid) {
            let half = Constraint::Ratio(1, 2);
            let columns = Layout::horizontal([half; 2]).areas::<2>(row);
            for (column, panel) in columns.into_iter().zip(panels) {
                one(frame, column, view, panel);
            }
        }
    } else {
        let [upper, lower] =
            Layout::vertical([Constraint::Length(13), Constraint::Min(0)]).areas(area);
        let [left, right] =
            Layout::horizontal([Constraint::Ratio(1, 2), Constraint::Ratio(1, 2)]).areas(upper);
        one(frame, left, view, Panel::States);
        one(frame, right, view, Panel::TimeWait);
        one(frame, lower, view, view.ui.lower());
    }
}

fn one(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, panel: Panel) {
    match panel {
        Panel::States => states::draw(frame, area, view),
        Panel::TimeWait => time_wait::draw(frame, area, view),
        Panel::ClosedFirst => closed_first::draw(frame, area, view),
        Panel::Stuck => stuck::draw(frame, area, view),
        Panel::Histogram => histogram::draw(frame, area, view),
        Panel::Findings => findings::draw(frame, area, view),
    }
}
