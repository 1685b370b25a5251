//! Reports and findings of several recordings: each is counted by itself, then they are put together.

use anyhow::Result;
use bytes::{BufMut as _, BytesMut};

use super::{MergedSink, Render, ReportSink, Start};
use crate::{
    diagnose::{self, Diagnoses},
    engine::{Engine, Update},
    filter::Filter,
    render::completeness::Completeness,
    report::{Report, Several},
};

/// How findings of several recordings are rendered.
pub type RenderFindings = fn(&Diagnoses) -> Result<Vec<u8>>;

/// What is made of the reports.
#[derive(Debug)]
enum Whole {
    Report(Box<Several>, Render),
    Findings(Diagnoses, RenderFindings),
}

/// See the module.
#[derive(Debug)]
pub struct ReportsSink {
    filter: Filter,
    /// The host of each recording.
    hosts: Vec<usize>,
    /// Of the recordings that are being read.
    reading: Vec<Option<ReportSink>>,
    whole: Whole,
}

impl ReportsSink {
    /// One report of all; `hosts`: by lane, the place of its host.
    pub fn report(filter: Filter, hosts: Vec<usize>, render: Render) -> Self {
        let several = Several::new(hosts.iter().max().map_or(0, |last| last + 1), hosts.len());
        Self::new(filter, hosts, Whole::Report(Box::new(several), render))
    }

    /// The findings on each.
    pub fn findings(filter: Filter, hosts: Vec<usize>, render: RenderFindings) -> Self {
        Self::new(filter, hosts, Whole::Findings(Diagnoses::default(), render))
    }

    fn new(filter: Filter, hosts: Vec<usize>, whole: Whole) -> Self {
        Self {
            filter,
            reading: hosts.iter().map(|_| None).collect(),
            hosts,
            whole,
        }
    }

    /// Findings, for people.
    pub const FINDINGS_TEXT: RenderFindings = diagnose::render_all_text;
    /// Findings, for programs.
    pub const FINDINGS_JSON: RenderFindings = diagnose::render_all_json;
}

impl MergedSink for ReportsSink {
    fn start(&mut self, lane: usize, start: &Start, out: &mut BytesMut) -> Result<()> {
        // What it would render by itself is not asked for.
        let mut sink = ReportSink::new(self.filter.clone(), ReportSink::JSON);
        super::Sink::start(&mut sink, start, out)?;
        if let Some(place) = self.reading.get_mut(lane) {
            *place = Some(sink);
        }
        Ok(())
    }

    fn update(&mut self, lane: usize, update: &Update, out: &mut BytesMut) -> Result<()> {
        match self.reading.get_mut(lane) {
            Some(Some(sink)) => super::Sink::update(sink, update, out),
            _ => Ok(()),
        }
    }

    fn end(
        &mut self,
        lane: usize,
        engine: &Engine,
        completeness: &Completeness,
        _out: &mut BytesMut,
    ) -> Result<()> {
        let Some(mut sink) = self.reading.get_mut(lane).and_then(Option::take) else {
            return Ok(());
        };
        let report: Report = sink.report(engine, completeness);
        match &mut self.whole {
            Whole::Report(several, _) => {
                let host = self.hosts.get(lane).copied().unwrap_or(0);
                several.add(lane, host, &report);
            }
            Whole::Findings(diagnoses, _) => diagnoses.add(&report),
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) -> Result<()> {
        let text = match &mut self.whole {
            Whole::Report(several, render) => {
                let several = std::mem::replace(&mut **several, Several::new(0, 0));
                several.finish().map(|report| render(&report))
            }
            Whole::Findings(diagnoses, render) => Some(render(diagnoses)),
        };
        if let Some(text) = text {
            out.put_slice(&text?);
        }
        Ok(())
    }
}
