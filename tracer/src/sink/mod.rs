//! Where updates go: a sink renders to bytes, [`Output`] writes them.

mod anonymous;
mod csv;
mod hist;
mod json;
mod lines;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod perfetto;
mod report;
mod row;
mod stuck;
mod whole;

use anyhow::Result;
use bytes::BytesMut;

#[cfg(feature = "parquet")]
pub use self::parquet::{Dataset, ParquetSink};
pub use self::{
    anonymous::AnonymousSink,
    csv::CsvSink,
    hist::{HistKey, HistOptions, HistSink},
    json::JsonSink,
    lines::{LineOptions, LinesSink},
    output::Output,
    perfetto::PerfettoSink,
    report::{Render, ReportSink},
    stuck::{StuckOptions, StuckSink, WantsProcess},
};
use crate::{
    engine::{Engine, Update},
    render::completeness::Completeness,
};

/// What a run stands on, told at its beginning.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Name of the host.
    pub host: String,
    /// `uname -r`.
    pub kernel: String,
    /// Where state changes come from.
    pub state: String,
    /// Where the lives of TIME_WAIT sockets come from.
    pub time_wait: String,
    /// How sockets older than the trace are found.
    pub snapshot: String,
    /// Whether owners can be told, and how.
    pub owner: String,
    /// Which boot of the host, if a recording says so.
    pub boot_id: Option<String>,
}

/// Renders updates.
pub trait Sink {
    /// The beginning.
    fn start(&mut self, start: &Start, out: &mut BytesMut) -> Result<()>;
    /// One update.
    fn update(&mut self, update: &Update, out: &mut BytesMut) -> Result<()>;
    /// About once a second, when all events so far have been told.
    fn tick(&mut self, _engine: &Engine, _out: &mut BytesMut) -> Result<()> {
        Ok(())
    }
    /// The end.
    fn end(
        &mut self,
        _engine: &Engine,
        _completeness: &Completeness,
        _out: &mut BytesMut,
    ) -> Result<()> {
        Ok(())
    }
}
