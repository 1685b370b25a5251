//! Do peers send on connections that this host has just closed?

use serde_json::json;

use super::{Check, Finding, Rule, Severity, evidence, is_share};
use crate::{
    engine::{ClosedFirst, EndReason},
    report::Report,
};

/// Fewer are noise: a client that was slow once.
const MIN_LOST: u64 = 5;

/// Of the connections that this host closed first: one request in a hundred that fails is seen by users.
const SHARE_PERCENT: u64 = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct IdleTimeoutRace;

impl Rule for IdleTimeoutRace {
    fn name(&self) -> &'static str {
        "idle_timeout_race"
    }

    fn check(&self, report: &Report) -> Check {
        if report.time_wait_measured() != Some("exact") {
            return Check::NotEnoughData("what ends FIN_WAIT2 is not told on this kernel");
        }
        let totals = &report.snapshot.totals;
        let late = totals.ended.get(&EndReason::DataAfterClose).copied();
        let late = late.unwrap_or(0);
        let local = totals.closed_first[ClosedFirst::Local as usize];
        if late < MIN_LOST || !is_share(late, local, SHARE_PERCENT) {
            return Check::Ok;
        }
        Check::Findings(vec![Finding {
            severity: Severity::Warning,
            subject: "connections that are used while they are closed".to_owned(),
            summary: format!(
                "On {late} of {local} connections that this host closed first, the peer sent more after \
                 that, and was answered with a RST: that request is lost."
            ),
            evidence: evidence([
                ("data_after_close", json!(late)),
                ("data_after_close_per_s", json!(report.per_second(late))),
                ("closed_first_local", json!(local)),
            ]),
            advice: vec![
                "Let the side that sends requests close idle connections first: its idle limit must be \
                 shorter than this host's by more than a round trip. nginx before a backend: \
                 'keepalive_timeout' of the upstream below the backend's; behind a balancer: this \
                 service's keep-alive above the balancer's idle timeout."
                    .to_owned(),
                "Where this host closes for another reason (a request that is too large, a limit): \
                 shutdown(SHUT_WR), read to the end, then close."
                    .to_owned(),
                "See which: tcpdwell trace -w --state fin-wait-2, end data_after_close.".to_owned(),
            ],
            verify: "tcpdwell diagnose again under the same load: the rule is fine.",
            avoid: "Retries alone: they hide it for requests that may be sent twice, and break the others.",
        }])
    }
}
