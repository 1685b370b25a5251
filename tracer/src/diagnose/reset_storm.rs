//! Do connections end by RST?

use serde_json::{Map, json};

use super::{Check, Finding, Rule, Severity, is_share};
use crate::{
    engine::{ClosedFirst, EndReason},
    report::Report,
};

/// Fewer are noise: browsers that go away.
const MIN_RESETS: u64 = 10;

/// Of the connections that were closed.
const SHARE_PERCENT: u64 = 10;

/// See the module.
#[derive(Debug)]
pub(super) struct ResetStorm;

impl Rule for ResetStorm {
    fn name(&self) -> &'static str {
        "reset_storm"
    }

    fn check(&self, report: &Report) -> Check {
        let totals = &report.snapshot.totals;
        let closed = totals.connections.closed;
        if closed == 0 {
            return Check::NotEnoughData("no connection was closed in the window");
        }
        let by = |first: ClosedFirst| totals.closed_first[first as usize];
        let (local, remote) = (by(ClosedFirst::LocalReset), by(ClosedFirst::RemoteReset));
        let resets = local + remote;
        if resets < MIN_RESETS || !is_share(resets, closed, SHARE_PERCENT) {
            return Check::Ok;
        }
        let count = |reason: EndReason| totals.ended.get(&reason).copied().unwrap_or(0);
        let unread = count(EndReason::UnreadData);
        let linger = count(EndReason::Linger0);
        let mut evidence = Map::new();
        for (name, value) in [
            ("closed", closed),
            ("local_reset", local),
            ("remote_reset", remote),
            ("unread_data", unread),
            ("linger_0", linger),
            ("listener_closed", count(EndReason::ListenerClosed)),
            ("destroyed", count(EndReason::Destroyed)),
        ] {
            evidence.insert(name.to_owned(), json!(value));
        }
        let (subject, advice) = if unread > 0 && unread >= linger {
            (
                "close with unread data",
                "Read what the peer sent before close (or shutdown(SHUT_WR), then read to the end): \
                 close with unread data sends a RST, and the peer may lose your last answer (RFC 2525 \
                 2.17).",
            )
        } else if linger > 0 {
            (
                "SO_LINGER 0",
                "Take SO_LINGER with time 0 out of the program that closes: it drops what is not sent \
                 yet and tells the peer that something failed.",
            )
        } else {
            (
                "resets by the peers",
                "Look at the peers: a crash, a timeout shorter than this side's idle time, or a \
                 balancer that drops its state.",
            )
        };
        Check::Findings(vec![Finding {
            severity: Severity::Warning,
            subject: subject.to_owned(),
            summary: format!(
                "{resets} of {closed} connections ended by RST before any FIN: {local} by this host, \
                 {remote} by its peers."
            ),
            evidence,
            advice: vec![
                advice.to_owned(),
                "See which: tcpdwell trace -w --state established shows end and reason of each."
                    .to_owned(),
            ],
            verify: "tcpdwell diagnose again under the same load: the rule is fine.",
            avoid: "Taking RST for a cure of TIME_WAIT: it loses data, and the peer sees an error.",
        }])
    }
}
