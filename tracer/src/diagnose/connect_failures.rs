//! Do connects fail?

use serde_json::json;

use super::{Check, Finding, Rule, Severity, evidence, found, is_share};
use crate::{
    engine::{GroupKey, GroupRow},
    report::Report,
};

/// Fewer are noise: a health check against a service that restarts.
const MIN_FAILED: u64 = 5;

/// Of the connections to one port. A pool that is sound has next to none.
const SHARE_PERCENT: u64 = 5;

/// See the module.
#[derive(Debug)]
pub(super) struct ConnectFailures;

impl Rule for ConnectFailures {
    fn name(&self) -> &'static str {
        "connect_failures"
    }

    fn check(&self, report: &Report) -> Check {
        if report.snapshot.totals.connections.active == 0 {
            return Check::NotEnoughData("nobody called connect in the window");
        }
        let rows = report.snapshot.groups.remote_port.rows();
        let findings = rows.into_iter().filter_map(|(key, row)| {
            let GroupKey::Port(port) = key else {
                return None;
            };
            let failed = row.failed.total();
            let many = failed >= MIN_FAILED && is_share(failed, row.connections, SHARE_PERCENT);
            many.then(|| finding(report, port, row))
        });
        found(findings.collect())
    }
}

fn finding(report: &Report, port: u16, row: &GroupRow) -> Finding {
    let failed = row.failed;
    let (why, first) = if failed.refused >= failed.timeout {
        (
            "refused: nobody listens there",
            "Start what should listen on it, or correct the address; 'ss -ltn' on the peer shows \
             what listens.",
        )
    } else {
        (
            "not answered: packets are dropped on the way, or the listener's queue is full",
            "Look at firewalls in between, and on the peer at 'nstat TcpExtListenOverflows' and the \
             backlog of the listener.",
        )
    };
    Finding {
        severity: Severity::Critical,
        subject: format!("remote port {port}"),
        summary: format!(
            "{} of {} connects to port {port} failed, mostly {why}.",
            failed.total(),
            row.connections
        ),
        evidence: evidence([
            ("connects", json!(row.connections)),
            ("refused", json!(failed.refused)),
            ("timeout", json!(failed.timeout)),
            ("other", json!(failed.other)),
            ("failed_per_s", json!(report.per_second(failed.total()))),
            ("pid", json!(sole_pid(row))),
        ]),
        advice: vec![
            first.to_owned(),
            format!("See who it is and to where: tcpdwell trace -w -D {port} --state syn-sent"),
        ],
        verify: "tcpdwell diagnose again: no finding for this port.",
        avoid: "Retrying without a pause, which makes a full queue fuller.",
    }
}

/// The only process that is concerned.
pub(super) fn sole_pid(row: &GroupRow) -> Option<u32> {
    Some(row.pid).filter(|pid| *pid != 0 && *pid != GroupRow::SEVERAL)
}
