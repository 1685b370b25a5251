//! Findings on several recordings. Each is asked by itself: settings and ports are one kernel's, and what
//! two hosts do together is in nobody's figures.

use std::fmt::Write as _;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Diagnosis,
    json::{FindingObject, NotEnough},
    text,
};
use crate::{
    render::{completeness::Completeness, escape},
    report::Report,
};

/// See the module.
#[derive(Debug, Default)]
pub struct Diagnoses(Vec<Of>);

/// One recording's.
#[derive(Debug)]
struct Of {
    host: String,
    start: Option<Timestamp>,
    seconds: f64,
    completeness: Completeness,
    diagnosis: Diagnosis,
}

impl Diagnoses {
    /// Asks every rule about one more.
    pub fn add(&mut self, report: &Report) {
        self.0.push(Of {
            host: report.host.clone(),
            start: report.start,
            seconds: report.seconds(),
            completeness: report.completeness,
            diagnosis: Diagnosis::of(report),
        });
    }

    /// All findings, the worst first.
    fn findings(&self) -> Vec<(&Of, &(&'static str, super::Finding))> {
        let each = self.0.iter().flat_map(|of| {
            let findings = of.diagnosis.findings.iter();
            findings.map(move |finding| (of, finding))
        });
        let mut all: Vec<_> = each.collect();
        all.sort_by_key(|(_, (_, finding))| finding.severity);
        all
    }

    /// Rules that are fine in every recording.
    fn fine(&self) -> Vec<&'static str> {
        let Some((first, others)) = self.0.split_first() else {
            return Vec::new();
        };
        let everywhere = |rule: &&&str| others.iter().all(|of| of.diagnosis.ok.contains(rule));
        let fine = first.diagnosis.ok.iter().filter(everywhere);
        fine.copied().collect()
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    findings: Vec<Finding<'a>>,
    not_enough_data: Vec<Lacking<'a>>,
    ok: Vec<&'static str>,
    recordings: Vec<Recording<'a>>,
    completeness: Completeness,
}

#[derive(Serialize)]
struct Finding<'a> {
    #[serde(flatten)]
    what: FindingObject<'a>,
    host: &'a str,
    start: Option<Timestamp>,
}

#[derive(Serialize)]
struct Lacking<'a> {
    #[serde(flatten)]
    what: NotEnough,
    host: &'a str,
    start: Option<Timestamp>,
}

#[derive(Serialize)]
struct Recording<'a> {
    host: &'a str,
    start: Option<Timestamp>,
    seconds: f64,
    completeness: &'a Completeness,
    ok: &'a [&'static str],
}

/// One object: as of one recording, and each finding says on which host.
pub fn render_json(diagnoses: &Diagnoses) -> Result<Vec<u8>> {
    let all = &diagnoses.0;
    let each = all.iter().map(|of| of.completeness);
    let together = each.reduce(|mut sum, more| {
        sum.add(&more);
        sum
    });
    let Some(completeness) = together else {
        return Ok(Vec::new());
    };
    let lacking = all.iter().flat_map(|of| {
        let rules = of.diagnosis.not_enough_data.iter();
        rules.map(move |(rule, because)| Lacking {
            what: NotEnough { rule, because },
            host: &of.host,
            start: of.start,
        })
    });
    let document = Document {
        schema: "tcpdwell.diagnose/1",
        findings: diagnoses
            .findings()
            .into_iter()
            .map(|(of, (rule, finding))| Finding {
                what: FindingObject::new(rule, finding),
                host: &of.host,
                start: of.start,
            })
            .collect(),
        not_enough_data: lacking.collect(),
        ok: diagnoses.fine(),
        recordings: all
            .iter()
            .map(|of| Recording {
                host: &of.host,
                start: of.start,
                seconds: of.seconds,
                completeness: &of.completeness,
                ok: &of.diagnosis.ok,
            })
            .collect(),
        completeness,
    };
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

/// For people: recording after recording.
pub fn render_text(diagnoses: &Diagnoses) -> Result<Vec<u8>> {
    let all = &diagnoses.0;
    let mut out = String::new();
    let found: usize = all.iter().map(|of| of.diagnosis.findings.len()).sum();
    match found {
        0 => writeln!(out, "Nothing found in {} recordings.", all.len())?,
        1 => writeln!(out, "One finding in {} recordings.", all.len())?,
        n => writeln!(out, "{n} findings in {} recordings.", all.len())?,
    }
    for of in all {
        let began = of.start.map_or_else(
            || "at an unknown time".to_owned(),
            |at| at.strftime("%F %T UTC").to_string(),
        );
        writeln!(
            out,
            "\n== {}, {began}, {:.1} s ==",
            escape::text(of.host.as_bytes()),
            of.seconds
        )?;
        text::body(&of.diagnosis, &of.completeness, &mut out)?;
    }
    Ok(out.into_bytes())
}
