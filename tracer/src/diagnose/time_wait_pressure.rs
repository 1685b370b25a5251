//! Does TIME_WAIT use up the ports that this host can call a destination from?

use serde_json::json;

use super::{Check, Finding, Rule, Severity, evidence, found, is_share};
use crate::{
    engine::{EndReason, PortUse, Sysctls},
    report::Report,
};

/// From here on a burst may end it: what is free is a third of what is taken, and at a steady rate all
/// is taken within 20 s (TIME_WAIT gives back after 60 s only).
const WARNING_PERCENT: u64 = 75;

/// TIME_WAIT is to blame where it holds at least this share of the ports taken.
const BLAME_PERCENT: u64 = 50;

/// See the module.
#[derive(Debug)]
pub(super) struct TimeWaitPressure;

impl Rule for TimeWaitPressure {
    fn name(&self) -> &'static str {
        "time_wait_pressure"
    }

    fn check(&self, report: &Report) -> Check {
        let snapshot = &report.snapshot;
        let Some(ports) = snapshot.sysctls.ports_to_choose() else {
            return Check::NotEnoughData("ip_local_port_range is not known");
        };
        if report.time_wait_measured().is_none() {
            return Check::NotEnoughData("TIME_WAIT is not measured on this kernel");
        }
        let no_port = snapshot.totals.ended.get(&EndReason::NoPort).copied();
        let fails = no_port.is_some_and(|count| count > 0);
        let pressed = snapshot.holdings.ports.iter().filter(|held| {
            snapshot.sysctls.govern(held.netns)
                && (fails || !is_reusable(&snapshot.sysctls, held))
                && is_share(held.taken(), ports, WARNING_PERCENT)
                && is_share(held.time_wait, held.taken(), BLAME_PERCENT)
        });
        let findings = pressed.map(|held| finding(report, held, ports, no_port.unwrap_or(0)));
        found(findings.collect())
    }
}

/// Whether `connect` takes ports from TIME_WAIT after a second (`tcp_twsk_unique`): 1 is everywhere, 2
/// (the default) where an end is on the loopback device, and both want timestamps.
fn is_reusable(sysctls: &Sysctls, held: &PortUse) -> bool {
    let ip = held.remote.ip();
    let allowed = match sysctls.number("tcp_tw_reuse") {
        Some(1) => true,
        Some(2) => ip.is_loopback(),
        _ => false,
    };
    allowed && sysctls.number("tcp_timestamps").is_some_and(|on| on != 0)
}

fn finding(report: &Report, held: &PortUse, ports: u64, no_port: u64) -> Finding {
    let to = std::net::SocketAddr::new(held.remote.ip(), held.remote.port);
    let from = std::net::Ipv6Addr::from(held.local).to_canonical();
    let free = ports.saturating_sub(held.taken());
    // Ports come back 60 s after they were taken: a window shorter than that sees only the taking.
    let rate = report.per_second(held.opened);
    #[expect(clippy::cast_precision_loss, reason = "a forecast")]
    let exhausted_in = rate
        .filter(|rate| *rate > 0.0 && report.seconds() < 60.0)
        .map(|rate| (free as f64 / rate * 1000.0).round() / 1000.0);
    let severity = if no_port > 0 {
        Severity::Critical
    } else {
        Severity::Warning
    };
    Finding {
        severity,
        subject: format!("{from} to {to}"),
        summary: format!(
            "{} of {ports} local ports towards {to} are taken, {} of them by TIME_WAIT: this host \
             closes first, and each port waits 60 s. When none is left, connect fails with \
             EADDRNOTAVAIL.",
            held.taken(),
            held.time_wait
        ),
        evidence: evidence([
            ("ports", json!(ports)),
            ("taken", json!(held.taken())),
            ("time_wait", json!(held.time_wait)),
            ("live", json!(held.live)),
            ("free", json!(free)),
            ("opened_per_s", json!(rate)),
            ("exhausted_in_s", json!(exhausted_in)),
            ("connects_without_port", json!(no_port)),
        ]),
        advice: vec![
            format!(
                "Keep connections to {to} open and use them again: a pool, HTTP keep-alive (nginx \
                 upstream: 'keepalive 64;' with 'proxy_http_version 1.1;' and \
                 'proxy_set_header Connection \"\";')."
            ),
            "Where the peer can close first as well, let it: TIME_WAIT is then on its side, and \
             spread over its clients."
                .to_owned(),
            "net.ipv4.tcp_tw_reuse=1: connect takes a port from TIME_WAIT after a second. Works with \
             TCP timestamps on both sides only, and only for outgoing connections."
                .to_owned(),
            "A wider net.ipv4.ip_local_port_range, or more local or remote addresses.".to_owned(),
        ],
        verify: "tcpdwell diagnose again under the same load: the rule is fine, and opened_per_s fell.",
        avoid: "tcp_fin_timeout does not shorten TIME_WAIT, which is 60 s and fixed; a lower \
                tcp_max_tw_buckets drops TIME_WAITs early and lets old segments into new connections.",
    }
}
