//! A report of the whole run, at its end.

use anyhow::Result;
use bytes::{BufMut as _, BytesMut};

use super::{Sink, Start, span::Covered};
use crate::{
    cost::Meter,
    diagnose,
    engine::{Engine, Snapshot, Update, Window},
    filter::Filter,
    render::completeness::Completeness,
    report::{self, Hooks, Report},
};

/// How a report is rendered.
pub type Render = fn(&Report) -> Result<Vec<u8>>;

/// See the module.
///
/// The gate before it passes all connections that the kernel part of the filter lets through: whose
/// they are is decided here, when everything is known that will be.
#[derive(Debug)]
pub struct ReportSink {
    filter: Filter,
    render: Render,
    start: Start,
    covered: Covered,
    window: Window,
    /// Of a run that measures.
    meter: Option<Meter>,
}

impl ReportSink {
    /// Nothing counted yet.
    pub fn new(mut filter: Filter, render: Render) -> Self {
        let states = std::mem::take(&mut filter.states);
        Self {
            filter,
            render,
            start: Start::default(),
            covered: Covered::default(),
            window: Window::new(states),
            meter: None,
        }
    }

    /// The report tells what it cost, from now on.
    pub fn metered(self) -> Self {
        Self {
            meter: Some(Meter::start()),
            ..self
        }
    }

    /// What was counted.
    pub(super) fn report(&mut self, engine: &Engine, completeness: &Completeness) -> Report {
        let span = self.covered.span();
        let window = std::mem::take(&mut self.window);
        let snapshot: Snapshot = window.close(engine, span, |t| self.filter.wants(t));
        let (start, end) = self.covered.times();
        Report {
            host: self.start.host.clone(),
            kernel: self.start.kernel.clone(),
            start,
            end,
            hooks: hooks(&self.start),
            completeness: *completeness,
            snapshot,
            own_cost: self.meter.as_ref().map(Meter::total),
            hosts: Vec::new(),
        }
    }
}

/// What the run stands on, as a report has it.
pub fn hooks(start: &Start) -> Hooks {
    let some = |hook: &String| (hook != "none").then(|| hook.clone());
    Hooks {
        state: some(&start.state),
        time_wait: some(&start.time_wait),
        owner: some(&start.owner),
        // Whose reset it was is asked of the socket when it changes to CLOSE.
        reset: some(&start.state).map(|_| "sk_err".to_owned()),
        snapshot: some(&start.snapshot),
        aggregate: None,
    }
}

impl Sink for ReportSink {
    fn start(&mut self, start: &Start, _out: &mut BytesMut) -> Result<()> {
        self.start = start.clone();
        Ok(())
    }

    fn update(&mut self, update: &Update, _out: &mut BytesMut) -> Result<()> {
        match update {
            Update::Transition(t) => {
                let began = self.covered.event(t.at);
                let wanted = self.filter.wants_owner(t);
                self.window.transition(t, began, wanted);
            }
            Update::Irregular(irregularity) => self.window.irregular(irregularity),
            Update::Forgotten(conn) => self.window.forget(*conn),
            Update::Cgroup(fact) => self.filter.learn(fact),
            Update::Clock { at, wall_ns } => self.covered.clock(*at, *wall_ns),
            // The completeness tells.
            Update::Lost { .. } => {}
        }
        Ok(())
    }

    fn end(
        &mut self,
        engine: &Engine,
        completeness: &Completeness,
        out: &mut BytesMut,
    ) -> Result<()> {
        let report = self.report(engine, completeness);
        out.put_slice(&(self.render)(&report)?);
        Ok(())
    }
}

/// The renderings.
impl ReportSink {
    /// For people.
    pub const TEXT: Render = report::text::render;
    /// For an incident's record: a page by itself.
    pub const HTML: Render = report::html::render;
    /// Findings, for people.
    pub const FINDINGS_TEXT: Render = diagnose::render_text;
    /// Findings, for programs.
    pub const FINDINGS_JSON: Render = diagnose::render_json;
    /// For programs.
    pub const JSON: Render = report::json::render;
}
