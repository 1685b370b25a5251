//! Which hosts a report is of, and when nobody recorded there.

use std::fmt::Write as _;

use anyhow::Result;
use jiff::Timestamp;

use super::{Between, HostReport, Report};
use crate::{
    engine::{ClosedFirst, TcpState},
    render::{duration::human, escape, wrap::wrapped},
};

/// Hosts that are shown; the JSON has all.
const SHOWN: usize = 50;

/// Gaps of a host that are told.
const TOLD: usize = 5;

/// Room for a host's name; a longer one has a line of its own.
const NAME: usize = 16;

/// What is shown of a host.
pub(super) const HEADS: [&str; 10] = [
    "host",
    "recorded s",
    "opened",
    "closed",
    "failed",
    "local first",
    "remote first",
    "resets",
    "in TIME_WAIT",
    "in CLOSE_WAIT",
];

/// A host's figures, in the order of [`HEADS`], without its name.
pub(super) fn figures(host: &HostReport) -> [String; 9] {
    let report = &host.report;
    let totals = &report.snapshot.totals;
    let c = &totals.connections;
    let by = |first: ClosedFirst| totals.closed_first[first as usize];
    let waits = if report.measures(TcpState::TimeWait) {
        report.snapshot.state(TcpState::TimeWait).open.to_string()
    } else {
        "-".to_owned()
    };
    [
        format!("{:.1}", report.seconds()),
        (c.active + c.passive).to_string(),
        c.closed.to_string(),
        c.failed.total().to_string(),
        by(ClosedFirst::Local).to_string(),
        by(ClosedFirst::Remote).to_string(),
        (by(ClosedFirst::LocalReset) + by(ClosedFirst::RemoteReset)).to_string(),
        waits,
        report.snapshot.close_wait.open.to_string(),
    ]
}

/// One line a host.
pub(super) fn table(report: &Report, out: &mut String) -> Result<()> {
    if report.hosts.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<NAME$} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>5} {:>6} {:>5}",
        "HOST", "SECONDS", "OPENED", "CLOSED", "FAILED", "LOCAL", "REMOTE", "RESET", "TW", "CW"
    )?;
    for host in report.hosts.iter().take(SHOWN) {
        let mut name = escape::text(host.report.host.as_bytes()).into_owned();
        if name.chars().count() > NAME {
            writeln!(out, "{name}")?;
            name.clear();
        }
        let [
            seconds,
            opened,
            closed,
            failed,
            local,
            remote,
            reset,
            tw,
            cw,
        ] = figures(host);
        writeln!(
            out,
            "{name:<NAME$} {seconds:>7} {opened:>7} {closed:>7} {failed:>6} {local:>6} {remote:>6} \
             {reset:>5} {tw:>6} {cw:>5}"
        )?;
    }
    let more = report.hosts.len().saturating_sub(SHOWN);
    if more > 0 {
        writeln!(out, "... and {more} more")?;
    }
    Ok(())
}

/// When nobody recorded, when two did at once, and what of each host is missing.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let mut said = Vec::new();
    for host in &report.hosts {
        let name = escape::text(host.report.host.as_bytes()).into_owned();
        tell(&host.gaps(), &mut said, |between| {
            format!("{name}: nothing was recorded {between}.")
        });
        tell(&host.overlaps(), &mut said, |between| {
            format!("{name}: recorded twice {between}: what happened then counts twice.")
        });
        let c = &host.report.completeness;
        if c.lost.total() > 0 {
            let lost = c.lost;
            let all = lost.in_the_kernel();
            said.push(format!(
                "{name}: NOT complete: of {} state changes {all} were lost, and {} events are missing \
                 from its recordings.",
                c.seen, lost.recording
            ));
        }
        let unseen = c.unseen();
        if !unseen.is_nothing() {
            said.push(format!(
                "{name}: NOT complete in sockets older than the window: {unseen}."
            ));
        }
    }
    said
}

fn tell(all: &[Between], said: &mut Vec<String>, sentence: impl Fn(String) -> String) {
    let time = |at: Timestamp| at.strftime("%F %T").to_string();
    for between in all.iter().take(TOLD) {
        let us = Timestamp::as_microsecond(between.end) - Timestamp::as_microsecond(between.start);
        said.push(sentence(format!(
            "from {} to {} UTC ({})",
            time(between.start),
            time(between.end),
            human(u64::try_from(us).unwrap_or(0))
        )));
    }
    let more = all.len().saturating_sub(TOLD);
    if more > 0 {
        said.push(sentence(format!("{more} times more")));
    }
}

/// The same, 80 columns wide.
pub(super) fn gaps(report: &Report, out: &mut String) -> Result<()> {
    for sentence in sentences(report) {
        wrapped("  ", &sentence, 4, out)?;
    }
    Ok(())
}
