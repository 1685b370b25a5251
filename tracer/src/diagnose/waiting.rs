//! What the rules on CLOSE_WAITs have in common: who holds them, and the figures.

use serde_json::{Map, Value, json};

use super::{Check, Finding, found};
use crate::{
    engine::{
        LINGERS, ProcessName, Waiters,
        stuck::{Cause, Port, Verdict},
    },
    render::{duration::human, escape},
    report::Report,
};

/// Fewer are a few odd clients.
pub(super) const MIN_SOCKETS: u64 = 5;

/// A finding for each group of lingering CLOSE_WAITs of a cause.
pub(super) fn of_cause(
    report: &Report,
    cause: Cause,
    finding: impl Fn(&Waiters) -> Finding,
) -> Check {
    let waits = &report.snapshot.waits;
    if !waits.looked {
        return Check::NotEnoughData("nobody looked at the sockets");
    }
    let groups = waits.groups.iter();
    let many = groups.filter(|g| g.cause == cause && g.sockets >= MIN_SOCKETS);
    found(many.map(finding).collect())
}

/// `nginx (pid 812) on port 80`.
pub(super) fn subject(pids: &[u32], name: Option<&ProcessName>, port: &str) -> String {
    let name = name.map_or("a process", |name| {
        std::str::from_utf8(name.bytes()).unwrap_or("a process")
    });
    let name = escape::text(name.as_bytes());
    match pids {
        [] => format!("nobody that is seen, {port}"),
        [pid] => format!("{name} (pid {pid}), {port}"),
        [first, rest @ ..] => format!("{name} (pid {first}, and {} more), {port}", rest.len()),
    }
}

/// The port, by the side that serves it.
pub(super) fn port(port: Port) -> String {
    match port {
        Port::Local(port) => format!("port {port}"),
        Port::Remote(port) => format!("connections to port {port}"),
    }
}

/// Whom a group is about.
pub(super) fn whose(group: &Waiters) -> String {
    subject(&group.pids, group.name.as_ref(), &port(group.port))
}

/// How long the oldest has waited, in words.
pub(super) fn oldest(group: &Waiters) -> String {
    let us = u64::try_from(group.oldest.at_least.as_micros()).unwrap_or(u64::MAX);
    let sign = if group.oldest.exact { "" } else { "at least " };
    format!("{sign}{}", human(us))
}

/// The figures of a group.
pub(super) fn evidence(group: &Waiters) -> Map<String, Value> {
    let port = match group.port {
        Port::Local(port) | Port::Remote(port) => port,
    };
    let leak = group.leak.as_ref();
    let rate = |rate: Option<f64>| rate.map(|rate| (rate * 1000.0).round() / 1000.0);
    super::evidence([
        ("sockets", json!(group.sockets)),
        ("lingered_at_least_s", json!(LINGERS.as_secs())),
        ("oldest_s", json!(group.oldest.at_least.as_secs_f64())),
        ("oldest_exact", json!(group.oldest.exact)),
        ("port", json!(port)),
        ("serves", json!(matches!(group.port, Port::Local(_)))),
        ("pids", json!(group.pids)),
        ("unread_bytes", json!(group.unread)),
        ("stopped", json!(group.stopped)),
        ("leak", json!(leak.map(|leak| leak.verdict.name()))),
        (
            "opened_per_s",
            json!(leak.and_then(|l| rate(l.opened_per_s))),
        ),
        (
            "closed_per_s",
            json!(leak.and_then(|l| rate(l.closed_per_s))),
        ),
        ("open_files", json!(group.files.map(|files| files.open))),
        (
            "file_limit",
            json!(group.files.and_then(|files| files.limit)),
        ),
        ("oldest_says", json!(group.evidence)),
    ])
}

/// Whether it is seen to get worse.
pub(super) fn is_leaking(group: &Waiters) -> bool {
    let verdict = group.leak.map(|leak| leak.verdict);
    verdict.is_some_and(|verdict| verdict >= Verdict::Growing)
}

/// Whether the process is about to have no descriptor left: nine of ten are open.
pub(super) fn runs_out_of_files(group: &Waiters) -> bool {
    let files = group
        .files
        .and_then(|files| Some((files.open, files.limit?)));
    files.is_some_and(|(open, limit)| u64::from(open).saturating_mul(10) >= limit.saturating_mul(9))
}
