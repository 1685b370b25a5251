//! Where updates go: a sink renders to bytes, [`Output`] writes them.

mod anonymous;
mod csv;
mod hist;
mod json;
mod lines;
mod merged;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod perfetto;
mod report;
mod reports;
mod row;
mod row_json;
mod span;
mod stamp;
mod stuck;
mod watch;
mod whole;

use std::task::{Context, Poll};

use anyhow::Result;
use bytes::BytesMut;

#[cfg(feature = "parquet")]
pub use self::parquet::{Dataset, ParquetSink};
pub(crate) use self::row::{WallClock, known_address};
pub use self::{
    anonymous::AnonymousSink,
    csv::CsvSink,
    hist::{HistKey, HistOptions, HistSink},
    json::JsonSink,
    lines::{LineOptions, LinesSink},
    merged::{Beside, MergedSink},
    output::Output,
    perfetto::PerfettoSink,
    report::{Render, ReportSink, hooks},
    reports::{RenderFindings, ReportsSink},
    stuck::{StuckOptions, StuckSink, WantsProcess},
    watch::{Alarm, WatchSink},
};
use crate::{
    engine::{Account, Engine, Update},
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
    /// About once a second: what the source has counted so far.
    fn account(&mut self, _account: &Account) {}
    /// Waits for whoever sits at the keyboard. Never ready where nobody is asked.
    fn poll_input(&mut self, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Pending
    }
    /// Does what was asked for; `false`: enough, the run ends.
    fn input(&mut self, _engine: &Engine) -> Result<bool> {
        Ok(true)
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

/// One that outlives the run.
impl<T: Sink + ?Sized> Sink for &mut T {
    fn start(&mut self, start: &Start, out: &mut BytesMut) -> Result<()> {
        (**self).start(start, out)
    }

    fn update(&mut self, update: &Update, out: &mut BytesMut) -> Result<()> {
        (**self).update(update, out)
    }

    fn tick(&mut self, engine: &Engine, out: &mut BytesMut) -> Result<()> {
        (**self).tick(engine, out)
    }

    fn account(&mut self, account: &Account) {
        (**self).account(account);
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        (**self).poll_input(cx)
    }

    fn input(&mut self, engine: &Engine) -> Result<bool> {
        (**self).input(engine)
    }

    fn end(
        &mut self,
        engine: &Engine,
        completeness: &Completeness,
        out: &mut BytesMut,
    ) -> Result<()> {
        (**self).end(engine, completeness, out)
    }
}
