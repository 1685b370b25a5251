//! May an outgoing connection take the port of a service while it restarts?

use serde_json::json;

use super::{Check, Finding, Rule, Severity, evidence};
use crate::report::Report;

/// See the module.
#[derive(Debug)]
pub(super) struct ListenPortInEphemeralRange;

impl Rule for ListenPortInEphemeralRange {
    fn name(&self) -> &'static str {
        "listen_port_in_ephemeral_range"
    }

    fn check(&self, report: &Report) -> Check {
        let sysctls = &report.snapshot.sysctls;
        let Some((first, last)) = sysctls.port_range() else {
            return Check::NotEnoughData("ip_local_port_range is not known");
        };
        let mut ports: Vec<u16> = report
            .snapshot
            .holdings
            .listening
            .iter()
            .filter(|(netns, port)| {
                sysctls.govern(*netns)
                    && (first..=last).contains(port)
                    && !sysctls.is_reserved(*port)
            })
            .map(|(_, port)| *port)
            .collect();
        ports.dedup();
        if ports.is_empty() {
            return Check::Ok;
        }
        let texts: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let joined = texts.join(",");
        Check::Findings(vec![Finding {
            severity: Severity::Info,
            subject: format!("listening ports {joined}"),
            summary: format!(
                "The kernel gives ports {first} to {last} to outgoing connections, and services \
                 listen on {joined}. While one restarts, its port may be taken, and listen fails with \
                 EADDRINUSE."
            ),
            evidence: evidence([
                ("ports", json!(ports)),
                ("range_first", json!(first)),
                ("range_last", json!(last)),
                ("reserved", json!(sysctls.text("ip_local_reserved_ports"))),
            ]),
            advice: vec![
                format!(
                    "Reserve them, beside what is reserved already: sysctl -w \
                     net.ipv4.ip_local_reserved_ports={joined}"
                ),
                format!("Or let the services listen below {first}."),
            ],
            verify: "tcpdwell diagnose again: the rule is fine.",
            avoid: "SO_REUSEADDR as a cure: it does not help against a live connection's port.",
        }])
    }
}
