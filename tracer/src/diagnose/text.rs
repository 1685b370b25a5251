//! Findings for people: the worst first, each with its figures and what to do.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Diagnosis, Finding};
use crate::{
    render::{completeness::Completeness, escape, wrap::wrapped},
    report::Report,
};

/// All of it, 80 columns wide.
pub fn render(report: &Report) -> Result<Vec<u8>> {
    let diagnosis = Diagnosis::of(report);
    let mut out = String::new();
    let host = escape::text(report.host.as_bytes());
    let seconds = report.seconds();
    match diagnosis.findings.len() {
        0 => writeln!(out, "Nothing found on {host} in {seconds:.1} s.")?,
        1 => writeln!(out, "One finding on {host} in {seconds:.1} s.")?,
        n => writeln!(out, "{n} findings on {host} in {seconds:.1} s.")?,
    }
    body(&diagnosis, &report.completeness, &mut out)?;
    Ok(out.into_bytes())
}

/// What was found, what could not be said, and what is fine.
pub(super) fn body(
    diagnosis: &Diagnosis,
    completeness: &Completeness,
    out: &mut String,
) -> Result<()> {
    if !completeness.complete {
        writeln!(out, "State changes were lost: figures are lower bounds.")?;
    }
    for (rule, finding) in &diagnosis.findings {
        tell(rule, finding, out)?;
    }
    if !diagnosis.not_enough_data.is_empty() {
        writeln!(out, "\nNot enough data for:")?;
        for (rule, why) in &diagnosis.not_enough_data {
            wrapped(&format!("  {rule}: "), why, 4, out)?;
        }
    }
    if !diagnosis.ok.is_empty() {
        writeln!(out)?;
        wrapped("Fine: ", &diagnosis.ok.join(", "), 6, out)?;
    }
    Ok(())
}

fn tell(rule: &str, finding: &Finding, out: &mut String) -> Result<()> {
    let subject = escape::text(finding.subject.as_bytes());
    let summary = escape::text(finding.summary.as_bytes());
    writeln!(
        out,
        "\n{}: {rule}: {subject}",
        finding.severity.name().to_uppercase()
    )?;
    wrapped("  ", &summary, 2, out)?;
    let figures: Vec<_> = finding
        .evidence
        .iter()
        .map(|(name, value)| format!("{name}={}", escape::text(value.to_string().as_bytes())))
        .collect();
    wrapped("  evidence  ", &figures.join(" "), 12, out)?;
    for (i, advice) in finding.advice.iter().enumerate() {
        let head = if i == 0 {
            "  do        "
        } else {
            "            "
        };
        let head = format!("{head}{}. ", i + 1);
        wrapped(&head, &escape::text(advice.as_bytes()), 15, out)?;
    }
    wrapped("  verify    ", finding.verify, 12, out)?;
    wrapped("  avoid     ", finding.avoid, 12, out)?;
    Ok(())
}
