//! Do connections wait for `accept` until their clients have given up?

use super::{Check, Finding, Rule, Severity, waiting};
use crate::{engine::stuck::Cause, report::Report};

/// See the module.
#[derive(Debug)]
pub(super) struct BacklogTooDeep;

impl Rule for BacklogTooDeep {
    fn name(&self) -> &'static str {
        "backlog_too_deep"
    }

    fn check(&self, report: &Report) -> Check {
        waiting::of_cause(report, Cause::NeverAccepted, |group| {
            let port = waiting::port(group.port);
            Finding {
                severity: Severity::Critical,
                subject: waiting::whose(group),
                summary: format!(
                    "{} clients of {port} have connected, waited in the queue of the listener, and gone \
                     away before anybody accepted: the oldest {} ago. Whoever is accepted next has gone, \
                     too.",
                    group.sockets,
                    waiting::oldest(group)
                ),
                evidence: waiting::evidence(group),
                advice: vec![
                    "Accept faster: more workers, or an accept loop that does nothing else."
                        .to_owned(),
                    "Until then a shorter queue (the backlog of listen()): a client is then refused or \
                     retries elsewhere, instead of waiting for an answer to a request that is dead."
                        .to_owned(),
                ],
                verify: "tcpdwell diagnose again: the rule is fine; 'ss -ltn': Recv-Q of the port is near 0.",
                avoid: "A higher net.core.somaxconn or backlog: it makes the queue deeper, and every answer later.",
            }
        })
    }
}
