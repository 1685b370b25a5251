//! Parquet: the tables `transitions` and `connections`, for any engine that reads it.
//!
//! Rows are held until a group of them is complete (65,536), connections until they end; nothing else
//! grows with the recording.

mod column;
mod connections;
mod dataset;
mod part;
mod transitions;

use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::Result;
use bytes::BytesMut;

pub use self::dataset::Dataset;
use self::{
    connections::Connection,
    dataset::{Hooks, Recording},
    transitions::Change,
};
use super::{Sink, Start, whole::Whole};
use crate::{
    anonymize::Pseudonyms,
    engine::{Engine, Life, Update},
    filter::Filter,
    render::completeness::Completeness,
};

/// One recording's rows.
#[derive(Debug)]
pub struct ParquetSink {
    dataset: Rc<RefCell<Dataset>>,
    whole: Whole,
    start: Start,
    host: Option<Rc<str>>,
    boot_id: Option<Rc<str>>,
    lost: u64,
}

fn nanos(duration: Duration) -> Option<i64> {
    i64::try_from(duration.as_nanos()).ok()
}

impl ParquetSink {
    /// Into this.
    pub fn new(
        dataset: Rc<RefCell<Dataset>>,
        filter: Filter,
        pseudonyms: Option<Rc<Pseudonyms>>,
    ) -> Self {
        Self {
            dataset,
            whole: Whole::new(filter, pseudonyms),
            start: Start::default(),
            host: None,
            boot_id: None,
            lost: 0,
        }
    }

    fn connection(&self, whole: &Whole, life: Life) -> Result<()> {
        let ts_ns = whole.wall_ns(life.until);
        let row = Connection {
            ts_ns,
            opened_ts_ns: life.opened.and_then(|at| whole.wall_ns(at)),
            boot_id: self.boot_id.clone(),
            cgroup_path: whole.cgroup(&life.last),
            life,
        };
        let mut dataset = self.dataset.borrow_mut();
        dataset.connections.push(self.host.as_ref(), ts_ns, row)
    }
}

impl Sink for ParquetSink {
    fn start(&mut self, start: &Start, _out: &mut BytesMut) -> Result<()> {
        let known = |name: &str| Some(self.whole.name(name)).filter(|name| !name.is_empty());
        self.host = known(&start.host).map(Into::into);
        self.boot_id = start.boot_id.as_deref().and_then(known).map(Into::into);
        self.start = start.clone();
        Ok(())
    }

    fn update(&mut self, update: &Update, _out: &mut BytesMut) -> Result<()> {
        if let Update::Lost { lost, .. } = update {
            self.lost = self.lost.saturating_add(lost.total());
        }
        if let Update::Transition(t) = update
            && let Some(shown) = self.whole.shown(t)
        {
            let ts_ns = self.whole.wall_ns(t.at);
            let row = Change {
                t: shown,
                ts_ns,
                boot_id: self.boot_id.clone(),
                known: self.whole.state(t),
                cgroup_path: self.whole.cgroup(t),
                lost_before: std::mem::take(&mut self.lost),
            };
            let mut dataset = self.dataset.borrow_mut();
            dataset.transitions.push(self.host.as_ref(), ts_ns, row)?;
        }
        match self.whole.update(update) {
            Some(life) => self.connection(&self.whole, life),
            None => Ok(()),
        }
    }

    fn end(
        &mut self,
        engine: &Engine,
        completeness: &Completeness,
        _out: &mut BytesMut,
    ) -> Result<()> {
        let mut whole = std::mem::take(&mut self.whole);
        whole.close(engine, |whole, life| self.connection(whole, life))?;
        let (start, end) = whole.span();
        let hooks = self.start.clone();
        self.dataset.borrow_mut().read(Recording {
            host: self.host.clone(),
            boot_id: self.boot_id.clone(),
            kernel: hooks.kernel,
            hooks: Hooks {
                state: hooks.state,
                time_wait: hooks.time_wait,
                snapshot: hooks.snapshot,
                owner: hooks.owner,
            },
            start,
            end,
            completeness: *completeness,
            unwanted_transitions: whole.unwanted(),
        });
        Ok(())
    }
}
