//! CSV with the fields of NDJSON; a lost event is a row whose `event` is `lost`.

use anyhow::{Context as _, Result};
use bytes::{BufMut as _, BytesMut};
use csv::WriterBuilder;

use super::{
    Sink, Start,
    row::{Row, WallClock},
};
use crate::{engine::Update, render::completeness::Completeness};

/// See the module.
#[derive(Debug, Default)]
pub struct CsvSink {
    clock: WallClock,
}

/// Renders one row, with or without the names above it.
fn render(row: &Row<'_>, headed: bool, out: &mut BytesMut) -> Result<()> {
    let mut writer = WriterBuilder::new()
        .has_headers(headed)
        .buffer_capacity(512)
        .from_writer(out.writer());
    writer.serialize(row).context("rendering CSV")?;
    writer.flush().context("rendering CSV")
}

impl Sink for CsvSink {
    fn start(&mut self, _start: &Start, out: &mut BytesMut) -> Result<()> {
        let mut sample = BytesMut::new();
        render(&Row::default(), true, &mut sample)?;
        let names = sample[..].split(|b| *b == b'\n').next().unwrap_or_default();
        out.put_slice(names);
        out.put_u8(b'\n');
        Ok(())
    }

    fn update(&mut self, update: &Update, out: &mut BytesMut) -> Result<()> {
        match update {
            Update::Transition(t) => render(&Row::transition(t, &self.clock), false, out),
            Update::Irregular(i) => render(&Row::irregular(i, &self.clock), false, out),
            Update::Lost { at, .. } => {
                let row = Row {
                    ts: self.clock.at(*at),
                    mono_ns: at.0,
                    event: "lost",
                    ..Row::default()
                };
                render(&row, false, out)
            }
            Update::Forgotten(_) => Ok(()),
            Update::Clock { at, wall_ns } => {
                self.clock.set(*at, *wall_ns);
                Ok(())
            }
        }
    }

    fn end(&mut self, _completeness: &Completeness, _out: &mut BytesMut) -> Result<()> {
        Ok(())
    }
}
