//! The report for people: the answers first, then the tables, 80 columns wide.

use std::fmt::Write as _;

use anyhow::Result;

use super::{LISTED_STATES, Report, headline, hosts, rows};
use crate::{
    engine::{
        ClosedFirst, DurationHistogram, EndReason, GroupRow, Groups, StateFigures, TcpState,
        Waiting,
    },
    render::{
        count,
        duration::human_or_dash,
        escape,
        wrap::{WIDTH, wrapped},
    },
};

/// Rows of a group that are shown; the JSON has all.
const SHOWN_ROWS: usize = 10;

/// Sockets in CLOSE_WAIT that are shown; the JSON has more.
const SHOWN_SOCKETS: usize = 10;

/// The whole report.
pub fn render(report: &Report) -> Result<Vec<u8>> {
    let mut out = String::new();
    head(report, &mut out)?;
    for line in headline::sentences(report) {
        wrapped("", &line, 2, &mut out)?;
    }
    hosts::table(report, &mut out)?;
    connections(report, &mut out)?;
    states(report, &mut out)?;
    notes(report, &mut out)?;
    time_wait(report, &mut out)?;
    close_wait(report, &mut out)?;
    let groups = &report.snapshot.groups;
    group("PROCESS", &groups.process, report, &mut out)?;
    group("LOCAL PORT", &groups.local_port, report, &mut out)?;
    group("REMOTE", &groups.remote, report, &mut out)?;
    group("REMOTE PORT", &groups.remote_port, report, &mut out)?;
    basis(report, &mut out)?;
    Ok(out.into_bytes())
}

fn head(report: &Report, out: &mut String) -> Result<()> {
    let time = |at: Option<jiff::Timestamp>, format| {
        at.map_or_else(|| "-".to_owned(), |at| at.strftime(format).to_string())
    };
    if report.hosts.is_empty() {
        writeln!(
            out,
            "TCP report of {}, {} to {} UTC ({:.1} s)",
            escape::text(report.host.as_bytes()),
            time(report.start, "%F %T"),
            time(report.end, "%T"),
            report.seconds()
        )?;
        return Ok(());
    }
    let recordings: usize = report.hosts.iter().map(|h| h.recordings.len()).sum();
    let of = match &report.hosts[..] {
        [one] => escape::text(one.report.host.as_bytes()).into_owned(),
        several => format!("{} hosts", several.len()),
    };
    writeln!(
        out,
        "TCP report of {of}, {}\n{} to {} UTC, {:.1} s of it recorded",
        count::of(recordings, "recording"),
        time(report.start, "%F %T"),
        time(report.end, "%F %T"),
        report.seconds()
    )?;
    Ok(())
}

fn section(title: &str, out: &mut String) -> Result<()> {
    writeln!(out, "\n{title}")?;
    Ok(())
}

fn connections(report: &Report, out: &mut String) -> Result<()> {
    let totals = &report.snapshot.totals;
    let c = &totals.connections;
    section("CONNECTIONS", out)?;
    writeln!(
        out,
        "  opened   {:>9}   by connect {}, by accept {}",
        c.active + c.passive,
        c.active,
        c.passive
    )?;
    writeln!(
        out,
        "  found    {:>9}   open before the window",
        c.preexisting
    )?;
    if c.unknown_starts > 0 {
        writeln!(
            out,
            "  unknown  {:>9}   first seen in the middle of their life",
            c.unknown_starts
        )?;
    }
    let firsts = ClosedFirst::ALL.into_iter().zip(totals.closed_first);
    let firsts: Vec<_> = firsts
        .filter(|(_, count)| *count > 0)
        .map(|(first, count)| format!("{} {count}", first.name()))
        .collect();
    let by = if firsts.is_empty() {
        String::new()
    } else {
        format!("   first by {}", firsts.join(", "))
    };
    list(&format!("  closed   {:>9}", c.closed), &by, out)?;
    writeln!(out, "  open     {:>9}   when the window ended", c.open)?;
    let failed = c.failed;
    writeln!(
        out,
        "  failed   {:>9}   refused {}, timeout {}, other {}",
        failed.total(),
        failed.refused,
        failed.timeout,
        failed.other
    )?;
    if c.unseen_ends > 0 {
        writeln!(
            out,
            "  unseen   {:>9}   ended, and nobody saw how",
            c.unseen_ends
        )?;
    }
    Ok(())
}

/// A line that goes on below itself where it is too long.
fn list(head: &str, tail: &str, out: &mut String) -> Result<()> {
    let mut line = head.to_owned();
    for (i, part) in tail.split(", ").enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        if line.len() + separator.len() + part.len() >= WIDTH {
            writeln!(out, "{line},")?;
            line = format!("{:width$}{part}", "", width = head.len() + 3);
        } else {
            line += separator;
            line += part;
        }
    }
    writeln!(out, "{line}")?;
    Ok(())
}

fn states(report: &Report, out: &mut String) -> Result<()> {
    section(
        "STATE         FOUND ENTERED    LEFT    OPEN      P50      P90      P99      MAX",
        out,
    )?;
    for state in LISTED_STATES {
        let figures = report.snapshot.state(state);
        let unseen = figures.entered_unseen + figures.left_unseen;
        let touched = figures.found + figures.entered + figures.left + unseen > 0;
        if state == TcpState::Close || (!touched && report.measures(state)) {
            continue;
        }
        let known = |count: u64| {
            if report.measures(state) {
                count.to_string()
            } else {
                "-".to_owned()
            }
        };
        write!(
            out,
            "{:<11} {:>7} {:>7} {:>7} {:>7}",
            state.name(),
            known(figures.found),
            known(figures.entered),
            known(figures.left),
            known(figures.open)
        )?;
        let dwell = figures.dwell.as_deref();
        for q in [0.5, 0.9, 0.99] {
            let at = dwell.and_then(|d| d.quantile_us(q));
            write!(out, " {:>8}", human_or_dash(at))?;
        }
        let max = dwell.and_then(DurationHistogram::max_us);
        writeln!(out, " {:>8}", human_or_dash(max))?;
        if unseen > 0 {
            writeln!(
                out,
                "{:<11} {} entered and {} left unseen",
                "", figures.entered_unseen, figures.left_unseen
            )?;
        }
    }
    Ok(())
}

fn notes(report: &Report, out: &mut String) -> Result<()> {
    if let Some(note) = report.late_fin_note() {
        wrapped("", &note, 2, out)?;
    }
    Ok(())
}

fn time_wait(report: &Report, out: &mut String) -> Result<()> {
    let Some(measured) = report.time_wait_measured() else {
        section(
            "TIME_WAIT is not measured: no hook told of it ('tcpdwell check' says why)",
            out,
        )?;
        return Ok(());
    };
    let totals = &report.snapshot.totals;
    let figures = report.snapshot.state(TcpState::TimeWait);
    let nothing = figures.found + figures.entered + figures.left + totals.never_created;
    if nothing == 0 {
        return Ok(());
    }
    section(&format!("TIME_WAIT ({measured})"), out)?;
    let ended: Vec<_> = totals
        .time_wait_ended
        .iter()
        .map(|(reason, count)| format!("{} {count}", EndReason::name(*reason)))
        .collect();
    let ended = if ended.is_empty() {
        "none".to_owned()
    } else {
        ended.join(", ")
    };
    list("  ended by    ", &ended, out)?;
    writeln!(
        out,
        "  not created  {}  (tcp_max_tw_buckets, or no memory)",
        totals.never_created
    )?;
    Ok(())
}

fn close_wait(report: &Report, out: &mut String) -> Result<()> {
    let waiting = &report.snapshot.close_wait;
    if waiting.open == 0 || report.is_aggregated() {
        return Ok(());
    }
    section(
        &format!("CLOSE_WAIT: {} open, the oldest first", waiting.open),
        out,
    )?;
    writeln!(
        out,
        "  {:>9} {:<14} {:>7} {:<15} {:>5} REMOTE",
        "AGE", "CAUSE", "PID", "COMM", "LPORT"
    )?;
    for open in waiting.oldest.iter().take(SHOWN_SOCKETS) {
        write!(out, "  {}", socket(open))?;
        match report.host_of(open) {
            Some(host) => writeln!(out, " on {}", escape::text(host.as_bytes()))?,
            None => writeln!(out)?,
        }
    }
    let more = waiting.open.saturating_sub(SHOWN_SOCKETS as u64);
    if more > 0 {
        writeln!(out, "  ... and {more} more")?;
    }
    Ok(())
}

fn socket(waiting: &Waiting) -> String {
    let open = &waiting.open;
    let t = &open.last;
    let sign = if open.age_is_exact || open.age.is_none() {
        ""
    } else {
        ">="
    };
    let age = open.age.and_then(|age| u64::try_from(age.as_micros()).ok());
    let pid = match t.owner.pid {
        0 => "-".to_owned(),
        pid => pid.to_string(),
    };
    let comm = t.process.as_ref().map(|p| p.name);
    let comm = comm
        .as_ref()
        .map_or("-".into(), |n| escape::text(n.bytes()));
    let end = |e: &crate::engine::Endpoint| {
        let address = std::net::SocketAddr::new(e.ip(), e.port);
        address.to_string()
    };
    format!(
        "{:>9} {:<14} {pid:>7} {comm:<15} {:>5} {}",
        format!("{sign}{}", human_or_dash(age)),
        waiting.cause.name(),
        t.tuple.local.port,
        end(&t.tuple.remote)
    )
}

/// Room for a key; a longer one has a line of its own.
const KEY: usize = 16;

fn group(title: &str, groups: &Groups, report: &Report, out: &mut String) -> Result<()> {
    let rows = groups.rows();
    if rows.is_empty() {
        return Ok(());
    }
    section(
        &format!("{title:<KEY$}  CONNS FAILED  LOCAL REMOTE RESET     TW    CW   ESTAB TW_TIME"),
        out,
    )?;
    for (key, row) in rows.iter().take(SHOWN_ROWS) {
        let mut key = match rows::key(key) {
            Some(text) => escape::text(text.as_bytes()).into_owned(),
            None => rows::instead(*key).to_owned(),
        };
        if key.chars().count() > KEY {
            writeln!(out, "{key}")?;
            key.clear();
        }
        writeln!(out, "{key:<KEY$} {}", group_row(row, report))?;
    }
    let more = rows.len().saturating_sub(SHOWN_ROWS);
    if more > 0 {
        writeln!(out, "... and {more} more")?;
    }
    Ok(())
}

fn group_row(row: &GroupRow, report: &Report) -> String {
    let by = |first: ClosedFirst| row.closed_first[first as usize];
    let resets = by(ClosedFirst::LocalReset) + by(ClosedFirst::RemoteReset);
    let open = |state| row.state(state).map_or(0, |f: &StateFigures| f.open);
    let p50 = |state| {
        let dwell = row.state(state).and_then(|f| f.dwell.as_deref());
        human_or_dash(dwell.and_then(|d| d.quantile_us(0.5)))
    };
    let waits = if report.measures(TcpState::TimeWait) {
        open(TcpState::TimeWait).to_string()
    } else {
        "-".to_owned()
    };
    format!(
        "{:>6} {:>6} {:>6} {:>6} {:>5} {waits:>6} {:>5} {:>7} {:>7}",
        row.connections,
        row.failed.total(),
        by(ClosedFirst::Local),
        by(ClosedFirst::Remote),
        resets,
        open(TcpState::CloseWait),
        p50(TcpState::Established),
        p50(TcpState::TimeWait),
    )
}

fn basis(report: &Report, out: &mut String) -> Result<()> {
    section("BASIS", out)?;
    hosts::gaps(report, out)?;
    // A recording's are another host's words.
    let hook = |hook: &Option<String>| match hook {
        Some(hook) => escape::text(hook.as_bytes()).to_string(),
        None => "-".to_owned(),
    };
    let hooks = &report.hooks;
    writeln!(
        out,
        "  kernel {}; states by {}, TIME_WAIT by {},\n  owners by {}, older sockets by {}",
        escape::text(report.kernel.as_bytes()),
        hook(&hooks.state),
        hook(&hooks.time_wait),
        hook(&hooks.owner),
        hook(&hooks.snapshot)
    )?;
    if report.is_aggregated() {
        writeln!(
            out,
            "  added up in the kernel: owners, groups and single sockets are not known;\n  \
             percentiles are within 0.8 %"
        )?;
    }
    let c = &report.completeness;
    if c.lost.total() == 0 {
        writeln!(
            out,
            "  complete: all {} state changes seen were told or filtered",
            c.seen
        )?;
    } else {
        writeln!(
            out,
            "  NOT complete: of {} state changes {} were lost; counts are lower bounds",
            c.seen,
            c.lost.in_the_kernel()
        )?;
    }
    let unseen = c.unseen();
    if !unseen.is_nothing() {
        let text = format!("NOT complete in sockets older than the window: {unseen}");
        wrapped("  ", &text, 2, out)?;
    }
    if let Some(cost) = &report.own_cost {
        writeln!(out, "  {}", cost.to_string().replace("; ", ";\n  "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_on_below() {
        let mut out = String::new();
        let many = ["remote_reset 123456"; 9].join(", ");
        list("  closed 12", &many, &mut out).unwrap();
        assert!(out.lines().count() > 1);
        assert!(out.lines().all(|line| line.len() <= 80), "{out}");
        assert_eq!(out.matches("remote_reset").count(), 9);
    }
}
