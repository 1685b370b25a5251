//! Are there peers that do not close after this host has?

use serde_json::json;

use super::{Check, Finding, Rule, Severity, evidence};
use crate::{engine::EndReason, report::Report};

/// Fewer are peers that crashed or lost their network.
const MIN_ORPHANS: u64 = 10;

/// See the module.
#[derive(Debug)]
pub(super) struct FinWait2Orphans;

impl Rule for FinWait2Orphans {
    fn name(&self) -> &'static str {
        "fin_wait2_orphans"
    }

    fn check(&self, report: &Report) -> Check {
        let snapshot = &report.snapshot;
        if report.time_wait_measured().is_none() {
            return Check::NotEnoughData("the minisocks of FIN_WAIT2 are not told on this kernel");
        }
        let expired = snapshot.totals.ended.get(&EndReason::FinTimeout).copied();
        let expired = expired.unwrap_or(0);
        if expired < MIN_ORPHANS {
            return Check::Ok;
        }
        let timeout = snapshot.sysctls.number("tcp_fin_timeout");
        let shown = timeout.map_or_else(|| "tcp_fin_timeout".to_owned(), |s| format!("{s} s"));
        Check::Findings(vec![Finding {
            severity: Severity::Warning,
            subject: "peers that do not close".to_owned(),
            summary: format!(
                "{expired} connections that this host had closed waited {shown} in FIN_WAIT2 for the \
                 peer's FIN, in vain: on the peer they are in CLOSE_WAIT still."
            ),
            evidence: evidence([
                ("fin_timeout", json!(expired)),
                ("fin_timeout_per_s", json!(report.per_second(expired))),
                ("orphans_open", json!(snapshot.holdings.orphans)),
                ("tcp_fin_timeout_s", json!(timeout)),
            ]),
            advice: vec![
                "Mend the peer: it does not close on end of file. There it shows as CLOSE_WAIT with \
                 its process."
                    .to_owned(),
                "net.ipv4.tcp_fin_timeout governs this (and only this: FIN_WAIT2 without a process, \
                 not TIME_WAIT); a lower one frees memory sooner while the peer is not mended."
                    .to_owned(),
            ],
            verify: "tcpdwell trace -w --state fin-wait-2: no end_reason fin_timeout.",
            avoid: "A tcp_fin_timeout of a second or two: slow peers then get a RST for their last \
                    data.",
        }])
    }
}
