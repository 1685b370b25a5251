//! What panels have in common: a frame with a title, and a table of which one row may be selected.

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    text::Line,
    widgets::{Block, BorderType, Cell, Row, Table, TableState},
};

use super::{Theme, View};
use crate::top::ui::Panel;

/// A frame with a title; the inside of it.
pub fn frame(
    frame: &mut Frame<'_>,
    area: Rect,
    view: &View<'_>,
    panel: Option<Panel>,
    title: &str,
) -> Rect {
    let is_focused = panel.is_none_or(|panel| view.ui.focus == panel && view.ui.pages.is_empty());
    let (style, kind) = if is_focused {
        (view.theme.focused(), BorderType::Double)
    } else {
        (view.theme.dim(), BorderType::Plain)
    };
    let block = Block::bordered()
        .border_type(kind)
        .border_style(style)
        .title_style(Theme::title())
        .title(format!(" {title} "));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    inside
}

/// A column: its heading, how wide, and whether figures stand in it.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Above it.
    pub heading: &'static str,
    /// How wide.
    pub width: Constraint,
    /// Figures end at the right.
    pub is_figure: bool,
}

/// A column of text.
pub const fn text(heading: &'static str, width: Constraint) -> Column {
    Column {
        heading,
        width,
        is_figure: false,
    }
}

/// A column of figures.
pub const fn figure(heading: &'static str, width: u16) -> Column {
    Column {
        heading,
        width: Constraint::Length(width),
        is_figure: true,
    }
}

/// Draws a table. What does not fit scrolls with the selected row.
pub fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    view: &View<'_>,
    columns: &[Column],
    rows: &[Vec<String>],
    selected: Option<usize>,
) {
    let aligned = |text: String, column: &Column| {
        let line = Line::from(text);
        Cell::from(if column.is_figure {
            line.right_aligned()
        } else {
            line
        })
    };
    let heading = columns.iter().map(|c| aligned(c.heading.to_owned(), c));
    let height = usize::from(area.height.saturating_sub(1));
    // Only what is seen is laid out.
    let first = selected.map_or(0, |at| (at + 1).saturating_sub(height));
    let seen = rows.iter().skip(first).take(height);
    let seen = seen.map(|cells| {
        let cells = cells.iter().zip(columns);
        Row::new(cells.map(|(text, column)| aligned(text.clone(), column)))
    });
    let table = Table::new(seen, columns.iter().map(|c| c.width))
        .header(Row::new(heading).style(view.theme.heading()))
        .row_highlight_style(Theme::selected());
    let mut state = TableState::new().with_selected(selected.map(|at| at - first));
    frame.render_stateful_widget(table, area, &mut state);
}
