//! Were there more TIME_WAITs than the kernel allows?

use serde_json::json;

use super::{Check, Finding, Rule, Severity, evidence};
use crate::{
    engine::{EndReason, TcpState},
    report::Report,
};

/// See the module. One is too many: the kernel logs it too (`TCP: time wait bucket table overflow`).
#[derive(Debug)]
pub(super) struct TimeWaitOverflow;

impl Rule for TimeWaitOverflow {
    fn name(&self) -> &'static str {
        "time_wait_overflow"
    }

    fn check(&self, report: &Report) -> Check {
        if report.time_wait_measured() != Some("exact") {
            return Check::NotEnoughData("minisocks that are not made are not told on this kernel");
        }
        let totals = &report.snapshot.totals;
        let overflow = totals.ended.get(&EndReason::Overflow).copied().unwrap_or(0);
        if overflow == 0 {
            return Check::Ok;
        }
        let limit = report.snapshot.sysctls.number("tcp_max_tw_buckets");
        let shown = limit.map_or_else(|| "its limit".to_owned(), |limit| limit.to_string());
        let time_wait = report.snapshot.state(TcpState::TimeWait);
        Check::Findings(vec![Finding {
            severity: Severity::Warning,
            subject: format!("net.ipv4.tcp_max_tw_buckets={shown}"),
            summary: format!(
                "{overflow} connections that this host closed first had no TIME_WAIT, because \
                 {shown} were there already. If the last ACK is lost, the peer's FIN is answered by \
                 a RST; late segments may reach a new connection of the same ports."
            ),
            evidence: evidence([
                ("overflow", json!(overflow)),
                ("overflow_per_s", json!(report.per_second(overflow))),
                ("time_wait_open", json!(time_wait.open)),
                ("time_wait_entered", json!(time_wait.entered)),
                ("tcp_max_tw_buckets", json!(limit)),
            ]),
            advice: vec![
                "Make fewer: keep connections alive, or let the peer close first (see \
                 who_should_keep_alive)."
                    .to_owned(),
                "Raise net.ipv4.tcp_max_tw_buckets: a TIME_WAIT is 0.25 KiB, 262144 are 64 MiB."
                    .to_owned(),
            ],
            verify: "tcpdwell diagnose again under the same load: overflow is 0.",
            avoid: "Lowering it further: that hides TIME_WAIT by breaking what it protects.",
        }])
    }
}
