//! CSV with the fields of NDJSON; a lost event is a row whose `event` is `lost`.

use std::{cell::RefCell, io, rc::Rc};

use anyhow::{Context as _, Result};
use bytes::{BufMut as _, BytesMut};
use csv::{Writer, WriterBuilder};

use super::{
    Sink, Start,
    row::{Row, WallClock},
};
use crate::engine::Update;

/// See the module.
#[derive(Debug)]
pub struct CsvSink {
    clock: WallClock,
    is_continued: bool,
    names_host: bool,
    /// Of several: a column more.
    host: Option<String>,
    rows: Rows,
}

/// Renders rows. A `csv::Writer` per row would allocate its buffer for each, and one for all can't
/// borrow the output: it writes to a buffer that it shares with us.
#[derive(Debug)]
struct Rows {
    writer: Writer<Shared>,
    rendered: Shared,
}

#[derive(Clone, Debug, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Rows {
    fn new(headed: bool) -> Self {
        let rendered = Shared::default();
        let writer = WriterBuilder::new()
            .has_headers(headed)
            .from_writer(rendered.clone());
        Self { writer, rendered }
    }

    fn render(&mut self, row: &Row<'_>, out: &mut BytesMut) -> Result<()> {
        self.writer.serialize(row).context("rendering CSV")?;
        self.writer.flush().context("rendering CSV")?;
        let mut rendered = self.rendered.0.borrow_mut();
        out.put_slice(&rendered);
        rendered.clear();
        Ok(())
    }
}

impl Default for CsvSink {
    fn default() -> Self {
        Self {
            clock: WallClock::default(),
            is_continued: false,
            names_host: false,
            host: None,
            rows: Rows::new(false),
        }
    }
}

impl CsvSink {
    /// Goes on below what another has written: without the header.
    pub fn continued(mut self) -> Self {
        self.is_continued = true;
        self
    }

    /// Of several hosts: with a column `host`.
    pub fn naming_host(mut self, names: bool) -> Self {
        self.names_host = names;
        self
    }
}

impl Sink for CsvSink {
    fn start(&mut self, start: &Start, out: &mut BytesMut) -> Result<()> {
        self.host = self.names_host.then(|| start.host.clone());
        if self.is_continued {
            return Ok(());
        }
        let mut sample = BytesMut::new();
        Rows::new(true).render(&Row::default().on(self.host.as_deref()), &mut sample)?;
        let names = sample[..].split(|b| *b == b'\n').next().unwrap_or_default();
        out.put_slice(names);
        out.put_u8(b'\n');
        Ok(())
    }

    fn update(&mut self, update: &Update, out: &mut BytesMut) -> Result<()> {
        let host = self.host.as_deref();
        match update {
            Update::Transition(t) => {
                let row = Row::transition(t, &mut self.clock).on(host);
                self.rows.render(&row, out)
            }
            Update::Irregular(i) => {
                let row = Row::irregular(i, &mut self.clock).on(host);
                self.rows.render(&row, out)
            }
            Update::Lost { at, .. } => {
                let row = Row {
                    ts: self.clock.stamp(*at),
                    mono_ns: at.0,
                    event: "lost",
                    host,
                    ..Row::default()
                };
                self.rows.render(&row, out)
            }
            Update::Forgotten(_) | Update::Cgroup(_) => Ok(()),
            Update::Clock { at, wall_ns } => {
                self.clock.set(*at, *wall_ns);
                Ok(())
            }
        }
    }
}
