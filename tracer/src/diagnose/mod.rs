//! Findings: what the figures of a window mean, with evidence, and what to do about it.
//!
//! Each rule is a file and answers one question: ok, findings, or not enough data. It looks at nothing
//! but the report, so that a recording gives the findings that the host gave.

mod backlog_too_deep;
mod close_wait_leak;
mod connect_failures;
mod fin_wait2_orphans;
mod folklore;
mod fork_inherited;
mod idle_timeout_race;
mod json;
mod listen_port;
mod reset_storm;
mod rolling;
mod several;
mod slow_reader;
mod syn_backlog;
mod text;
mod time_wait_overflow;
mod time_wait_pressure;
mod waiting;
mod who_should_keep_alive;

use serde_json::{Map, Value};

use crate::report::Report;

pub use self::{
    json::render as render_json,
    rolling::{Rolling, Setting},
    several::{Diagnoses, render_json as render_all_json, render_text as render_all_text},
    text::render as render_text,
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Connections fail, or are about to.
    Critical,
    /// It costs, and may become worse.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The stable token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// What a rule found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Whom it is about. May hold text from outside.
    pub subject: String,
    /// What is the matter, in one sentence.
    pub summary: String,
    /// The figures that it rests on.
    pub evidence: Map<String, Value>,
    /// What to do, the best first.
    pub advice: Vec<String>,
    /// How to see that it helped.
    pub verify: &'static str,
    /// What not to do, and why.
    pub avoid: &'static str,
}

/// What a rule says.
#[derive(Clone, Debug)]
pub enum Check {
    /// Nothing is the matter.
    Ok,
    /// Something is.
    Findings(Vec<Finding>),
    /// It can't be said, and why.
    NotEnoughData(&'static str),
}

/// One question to a report.
pub trait Rule: Sync {
    /// Its name, for programs.
    fn name(&self) -> &'static str;
    /// The answer.
    fn check(&self, report: &Report) -> Check;
}

/// All rules, in the order in which they are asked.
const RULES: [&dyn Rule; 14] = [
    &time_wait_pressure::TimeWaitPressure,
    &time_wait_overflow::TimeWaitOverflow,
    &close_wait_leak::CloseWaitLeak,
    &slow_reader::SlowReader,
    &backlog_too_deep::BacklogTooDeep,
    &syn_backlog::SynBacklog,
    &fork_inherited::ForkInherited,
    &connect_failures::ConnectFailures,
    &reset_storm::ResetStorm,
    &idle_timeout_race::IdleTimeoutRace,
    &who_should_keep_alive::WhoShouldKeepAlive,
    &fin_wait2_orphans::FinWait2Orphans,
    &listen_port::ListenPortInEphemeralRange,
    &folklore::Folklore,
];

/// Every rule's answer, sorted.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// With the name of the rule, the worst first.
    pub findings: Vec<(&'static str, Finding)>,
    /// Rules that could not say, and why.
    pub not_enough_data: Vec<(&'static str, &'static str)>,
    /// Rules that found nothing.
    pub ok: Vec<&'static str>,
}

impl Diagnosis {
    /// Asks every rule.
    pub fn of(report: &Report) -> Self {
        let mut diagnosis = Self::default();
        for rule in RULES {
            match rule.check(report) {
                Check::Ok => diagnosis.ok.push(rule.name()),
                Check::NotEnoughData(why) => diagnosis.not_enough_data.push((rule.name(), why)),
                Check::Findings(findings) => {
                    let named = findings.into_iter().map(|finding| (rule.name(), finding));
                    diagnosis.findings.extend(named);
                }
            }
        }
        diagnosis
            .findings
            .sort_by_key(|(_, finding)| finding.severity);
        diagnosis
    }
}

/// Findings, if there are any.
fn found(findings: Vec<Finding>) -> Check {
    if findings.is_empty() {
        Check::Ok
    } else {
        Check::Findings(findings)
    }
}

/// `{"name": value, ...}`.
fn evidence<const N: usize>(figures: [(&str, Value); N]) -> Map<String, Value> {
    let named = figures
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    named.collect()
}

/// Whether `part` is at least so many percent of `whole`.
const fn is_share(part: u64, whole: u64, percent: u64) -> bool {
    part.saturating_mul(100) >= whole.saturating_mul(percent)
}
