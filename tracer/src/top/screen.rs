//! The terminal: taken over, and given back whatever happens. While it is ours, what there is to say on
//! standard error waits.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result};
use crossterm::event::{Event, EventStream};
use futures_util::{
    Stream as _,
    stream::{SelectAll, select_all},
};
use ratatui::{DefaultTerminal, Frame};

use crate::logging;

/// The terminal while it is ours. Dropping it gives it back; so does a panic.
pub struct Screen {
    terminal: DefaultTerminal,
    /// Asked only when it has woken us: to be asked it waits for the lock that its own thread holds.
    events: SelectAll<EventStream>,
}

impl Screen {
    /// Takes the terminal of standard output over.
    pub fn enter() -> Result<Self> {
        let terminal = ratatui::try_init().context("taking the terminal over")?;
        logging::hold();
        Ok(Self {
            terminal,
            events: select_all([EventStream::new()]),
        })
    }

    /// Draws what has changed.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        self.terminal
            .draw(draw)
            .context("drawing on the terminal")?;
        Ok(())
    }

    /// What was typed, or that the size has changed; `None`: the terminal is gone.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Event>>> {
        Pin::new(&mut self.events).poll_next(cx)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // One that is gone can't be given back.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
        logging::release();
    }
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}
