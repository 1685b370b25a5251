//! `tcpdwell.diagnose/1`.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Diagnosis;
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
struct FindingObject<'a> {
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
struct NotEnough {
    rule: &'static str,
    because: &'static str,
}

/// One object over many lines.
pub fn render(report: &Report) -> Result<Vec<u8>> {
    let diagnosis = Diagnosis::of(report);
    let findings = diagnosis.findings.iter();
    let document = Document {
        schema: "tcpdwell.diagnose/1",
        findings: findings
            .map(|(rule, finding)| FindingObject {
                rule,
                severity: finding.severity.name(),
                subject: &finding.subject,
                summary: &finding.summary,
                evidence: &finding.evidence,
                advice: &finding.advice,
                verify: finding.verify,
                avoid: finding.avoid,
            })
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
