//! Sinks of several recordings at once. Each recording is a lane: it has its own engine, its own clock
//! and its own connections; what a sink does of it, it does lane by lane.

use anyhow::Result;
use bytes::BytesMut;

use super::{Sink, Start};
use crate::{
    engine::{Engine, Irregularity, Transition, Update},
    render::completeness::Completeness,
};

/// Renders what several recordings tell. Connections have the names that their own engine gave them.
pub trait MergedSink {
    /// A recording begins.
    fn start(&mut self, lane: usize, start: &Start, out: &mut BytesMut) -> Result<()>;
    /// One update of it.
    fn update(&mut self, lane: usize, update: &Update, out: &mut BytesMut) -> Result<()>;
    /// About once a second of a recording: all until then has been told, of all recordings. `running` are
    /// those that have begun and have not ended.
    fn tick(
        &mut self,
        _lane: usize,
        _running: &[(usize, &Engine)],
        _out: &mut BytesMut,
    ) -> Result<()> {
        Ok(())
    }
    /// A recording has ended.
    fn end(
        &mut self,
        lane: usize,
        engine: &Engine,
        completeness: &Completeness,
        out: &mut BytesMut,
    ) -> Result<()>;
    /// All have ended.
    fn finish(&mut self, _out: &mut BytesMut) -> Result<()> {
        Ok(())
    }
}

/// A sink for each recording, which write by turns to one place. Each connection gets a name that no other
/// has.
pub struct Beside(Vec<Box<dyn Sink>>);

impl Beside {
    /// By lane.
    pub fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        Self(sinks)
    }

    fn of(&mut self, lane: usize) -> Result<&mut Box<dyn Sink>> {
        let sink = self.0.get_mut(lane);
        sink.ok_or_else(|| anyhow::anyhow!("no sink for recording {lane}: a bug"))
    }
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Beside").field(&self.0.len()).finish()
    }
}

impl MergedSink for Beside {
    fn start(&mut self, lane: usize, start: &Start, out: &mut BytesMut) -> Result<()> {
        self.of(lane)?.start(start, out)
    }

    fn update(&mut self, lane: usize, update: &Update, out: &mut BytesMut) -> Result<()> {
        let update = among(update, lane, self.0.len());
        self.of(lane)?.update(&update, out)
    }

    fn end(
        &mut self,
        lane: usize,
        engine: &Engine,
        completeness: &Completeness,
        out: &mut BytesMut,
    ) -> Result<()> {
        self.of(lane)?.end(engine, completeness, out)
    }
}

/// The same, with the connection's name among all lanes.
fn among(update: &Update, lane: usize, lanes: usize) -> Update {
    match update {
        Update::Transition(t) => Update::Transition(Transition {
            conn: t.conn.map(|conn| conn.among(lane, lanes)),
            ..*t
        }),
        Update::Irregular(i) => Update::Irregular(Irregularity {
            conn: i.conn.among(lane, lanes),
            ..*i
        }),
        Update::Forgotten(conn) => Update::Forgotten(conn.among(lane, lanes)),
        other => other.clone(),
    }
}
