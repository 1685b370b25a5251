//! `tcpdwell.diagnose/1`.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Diagnosis, Finding};
use crate::{render::completeness::Completeness, report::Report};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    findings: Vec<FindingObject<'a>>,
    not_enough_data: Vec<NotEnough>,
    ok: Vec<&'static str>,
    host: &'a str,
    seconds: f64,
    completeness: &'a Completeness,
}

#[derive(Serialize)]
pub(super) struct FindingObject<'a> {
    rule: &'static str,
    severity: &'static str,
    subject: &'a str,
    summary: &'a str,
    evidence: &'a Map<String, Value>,
    advice: &'a [String],
    verify: &'static str,
    avoid: &'static str,
}

#[derive(Serialize)]
pub(super) struct NotEnough {
    pub(super) rule: &'static str,
    pub(super) because: &'static str,
}

impl<'a> FindingObject<'a> {
    /// A rule's finding.
    pub(super) fn new(rule: &'static str, finding: &'a Finding) -> Self {
        Self {
            rule,
            severity: finding.severity.name(),
            subject: &finding.subject,
            summary: &finding.summary,
            evidence: &finding.evidence,
            advice: &finding.advice,
            verify: finding.verify,
            avoid: finding.avoid,
        }
    }
}

/// One object over many lines.
pub fn render(report: &Report) -> Result<Vec<u8>> {
    let diagnosis = Diagnosis::of(report);
    let findings = diagnosis.findings.iter();
    let document = Document {
        schema: "tcpdwell.diagnose/1",
        findings: findings
            .map(|(rule, finding)| FindingObject::new(rule, finding))
            .collect(),
        not_enough_data: diagnosis
            .not_enough_data
            .into_iter()
            .map(|(rule, because)| NotEnough { rule, because })
            .collect(),
        ok: diagnosis.ok,
        host: &report.host,
        seconds: report.seconds(),
        completeness: &report.completeness,
    };
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}
