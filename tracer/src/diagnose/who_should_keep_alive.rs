//! Does a service on this host (or a client) close connections that could be used again?

use serde_json::json;

use super::{
    Check, Finding, Rule, Severity, connect_failures::sole_pid, evidence, found, is_share,
};
use crate::{
    engine::{ClosedFirst, GroupKey, GroupRow, TcpState},
    report::Report,
};

/// Closings per second by this side: 5/s are 300 TIME_WAITs at any time.
const MIN_PER_SECOND: f64 = 5.0;

/// Fewer show no habit.
const MIN_CLOSED: u64 = 20;

/// Of the connections of one port: mostly this side.
const SHARE_PERCENT: u64 = 50;

/// A connection that was open for longer was used again, most likely: nginx keeps idle ones for 75 s.
const SHORT_US: u64 = 10_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct WhoShouldKeepAlive;

impl Rule for WhoShouldKeepAlive {
    fn name(&self) -> &'static str {
        "who_should_keep_alive"
    }

    fn check(&self, report: &Report) -> Check {
        let groups = &report.snapshot.groups;
        let closed = report.snapshot.totals.connections.closed;
        if closed < MIN_CLOSED {
            return Check::NotEnoughData("fewer than 20 connections were closed in the window");
        }
        let served = groups.local_port.rows().into_iter();
        let called = groups.remote_port.rows().into_iter();
        let findings = served
            .map(|row| (row, true))
            .chain(called.map(|row| (row, false)))
            .filter_map(|((key, row), serves)| match key {
                GroupKey::Port(port) => finding(report, port, row, serves),
                _ => None,
            });
        found(findings.collect())
    }
}

fn finding(report: &Report, port: u16, row: &GroupRow, serves: bool) -> Option<Finding> {
    let local = row.closed_first[ClosedFirst::Local as usize];
    let rate = report.per_second(local)?;
    let median = row
        .state(TcpState::Established)
        .and_then(|f| f.dwell.as_ref()?.quantile_us(0.5));
    let habit = local >= MIN_CLOSED
        && rate >= MIN_PER_SECOND
        && is_share(local, row.closed(), SHARE_PERCENT)
        && median.is_some_and(|us| us < SHORT_US);
    if !habit {
        return None;
    }
    let (subject, advice) = if serves {
        (
            format!("the service on port {port}"),
            vec![
                "Let it keep connections alive after an answer. nginx: 'keepalive_timeout 75s;' and \
                 'keepalive_requests 1000;' (0, or 'Connection: close' of the backend, makes it close)."
                    .to_owned(),
                "Where clients do not reuse connections anyway, let them close first: TIME_WAIT is \
                 then theirs."
                    .to_owned(),
            ],
        )
    } else {
        (
            format!("the client of port {port}"),
            vec![
                "Let the client keep its connections: a pool, or HTTP keep-alive. nginx as a proxy: \
                 'keepalive 64;' in the upstream, 'proxy_http_version 1.1;' and 'proxy_set_header \
                 Connection \"\";'."
                    .to_owned(),
            ],
        )
    };
    Some(Finding {
        severity: Severity::Info,
        summary: format!(
            "{subject} closes first in {local} of {} connections, {rate:.1} a second, after {} in the \
             median: each leaves a TIME_WAIT of 60 s on this host.",
            row.closed(),
            crate::render::duration::human_or_dash(median)
        ),
        subject,
        evidence: evidence([
            ("port", json!(port)),
            ("serves", json!(serves)),
            ("closed", json!(row.closed())),
            ("closed_first_local", json!(local)),
            ("closed_first_local_per_s", json!(rate)),
            ("established_p50_us", json!(median)),
            ("time_wait_open", json!(row.time_waits())),
            ("pid", json!(sole_pid(row))),
        ]),
        advice,
        verify: "tcpdwell report: closed first by local, and opened, fall for this port.",
        avoid: "Tuning the kernel against TIME_WAIT before the connections are kept.",
    })
}
