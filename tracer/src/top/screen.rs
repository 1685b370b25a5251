//! The terminal: taken over, and given back whatever happens. While it is ours, what there is to say on
//! standard error waits.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result};
use crossterm::event::{Event, EventStream};
use futures_core::Stream as _;
use ratatui::{DefaultTerminal, Frame};
use tokio::{
    sync::mpsc::{self, Receiver},
    task::JoinHandle,
};

use crate::logging;

/// What may be typed before somebody looks.
const TYPED: usize = 64;

/// The terminal while it is ours. Dropping it gives it back; so does a panic.
pub struct Screen {
    terminal: DefaultTerminal,
    typed: Receiver<io::Result<Event>>,
    reader: JoinHandle<()>,
}

impl Screen {
    /// Takes the terminal of standard output over. Within a runtime.
    pub fn enter() -> Result<Self> {
        let terminal = ratatui::try_init().context("taking the terminal over")?;
        logging::hold();
        let (tell, typed) = mpsc::channel(TYPED);
        // By a task of its own: whoever polls the stream takes a lock that its thread holds while nothing
        // is typed, and the loop comes by with each batch of events.
        let reader = tokio::spawn(async move {
            let mut events = EventStream::new();
            while let Some(event) = poll_fn(|cx| Pin::new(&mut events).poll_next(cx)).await {
                if tell.send(event).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            terminal,
            typed,
            reader,
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
        self.typed.poll_recv(cx)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.reader.abort();
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
