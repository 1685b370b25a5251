//! NDJSON: one object a line, the first says what the run stands on, the last what is missing.

use anyhow::Result;
use bytes::{BufMut as _, BytesMut};
use serde::Serialize;

use super::{
    Sink, Start,
    row::{Row, WallClock},
    row_json,
    stamp::Stamp,
};
use crate::{
    engine::{Engine, Update},
    render::completeness::{Completeness, Lost},
};

/// See the module.
#[derive(Debug, Default)]
pub struct JsonSink {
    clock: WallClock,
    /// One line in the making: serde writes in pieces of a few bytes, which a `Vec` takes faster.
    text: Vec<u8>,
    names_host: bool,
    /// Of several: a key more in each row.
    host: Option<String>,
}

impl JsonSink {
    /// Of several hosts: each row has a key `host`.
    pub fn naming_host(mut self, names: bool) -> Self {
        self.names_host = names;
        self
    }
}

#[derive(Serialize)]
struct StartRow<'a> {
    event: &'static str,
    schema: &'static str,
    host: &'a str,
    kernel: &'a str,
    hooks: Hooks<'a>,
}

#[derive(Serialize)]
struct Hooks<'a> {
    state: &'a str,
    time_wait: &'a str,
    snapshot: &'a str,
    owner: &'a str,
}

#[derive(Serialize)]
struct LostRow<'a> {
    ts: Option<Stamp>,
    mono_ns: u64,
    event: &'static str,
    lost: Lost,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
}

#[derive(Serialize)]
struct IrregularRow<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    believed: &'static str,
    replaced: bool,
}

#[derive(Serialize)]
struct CgroupRow<'a> {
    event: &'static str,
    cgroup: u64,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
}

#[derive(Serialize)]
struct EndRow<'a> {
    event: &'static str,
    completeness: &'a Completeness,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
}

fn line(value: &impl Serialize, text: &mut Vec<u8>, out: &mut BytesMut) -> Result<()> {
    text.clear();
    serde_json::to_writer(&mut *text, value)?;
    text.push(b'\n');
    out.put_slice(text);
    Ok(())
}

impl Sink for JsonSink {
    fn start(&mut self, start: &Start, out: &mut BytesMut) -> Result<()> {
        self.host = self.names_host.then(|| start.host.clone());
        let row = StartRow {
            event: "start",
            schema: "tcpdwell.trace/1",
            host: &start.host,
            kernel: &start.kernel,
            hooks: Hooks {
                state: &start.state,
                time_wait: &start.time_wait,
                snapshot: &start.snapshot,
                owner: &start.owner,
            },
        };
        line(&row, &mut self.text, out)
    }

    fn update(&mut self, update: &Update, out: &mut BytesMut) -> Result<()> {
        let host = self.host.as_deref();
        match update {
            Update::Transition(t) => {
                let row = Row::transition(t, &mut self.clock).on(host);
                self.text.clear();
                row_json::put(&row, &mut self.text);
                self.text.push(b'\n');
                out.put_slice(&self.text);
                Ok(())
            }
            Update::Irregular(i) => {
                let row = IrregularRow {
                    row: Row::irregular(i, &mut self.clock).on(host),
                    believed: i.believed.name(),
                    replaced: i.replaced,
                };
                line(&row, &mut self.text, out)
            }
            Update::Lost { at, lost } => {
                let row = LostRow {
                    ts: self.clock.stamp(*at),
                    mono_ns: at.0,
                    event: "lost",
                    lost: (*lost).into(),
                    host,
                };
                line(&row, &mut self.text, out)
            }
            Update::Forgotten(_) => Ok(()),
            Update::Cgroup(fact) => {
                let row = CgroupRow {
                    event: "cgroup",
                    cgroup: fact.id,
                    path: &fact.path,
                    host,
                };
                line(&row, &mut self.text, out)
            }
            Update::Clock { at, wall_ns } => {
                self.clock.set(*at, *wall_ns);
                Ok(())
            }
        }
    }

    fn end(
        &mut self,
        _engine: &Engine,
        completeness: &Completeness,
        out: &mut BytesMut,
    ) -> Result<()> {
        let row = EndRow {
            event: "end",
            completeness,
            host: self.host.as_deref(),
        };
        line(&row, &mut self.text, out)
    }
}
