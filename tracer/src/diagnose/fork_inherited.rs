//! Are connections kept open by processes that only inherited them?

use super::{Check, Finding, Rule, Severity, waiting};
use crate::{engine::stuck::Cause, report::Report};

/// See the module.
#[derive(Debug)]
pub(super) struct ForkInherited;

impl Rule for ForkInherited {
    fn name(&self) -> &'static str {
        "fork_inherited"
    }

    fn check(&self, report: &Report) -> Check {
        waiting::of_cause(report, Cause::Shared, |group| {
            Finding {
            severity: Severity::Warning,
            subject: waiting::whose(group),
            summary: format!(
                "{} connections that the peer has closed are held by {} processes each: a close of one \
                 of them only drops a reference, and no FIN is sent. The oldest waits for {}.",
                group.sockets,
                group.pids.len(),
                waiting::oldest(group)
            ),
            evidence: waiting::evidence(group),
            advice: vec![
                "Open sockets with SOCK_CLOEXEC, and accept with accept4(..., SOCK_CLOEXEC): a program \
                 that is started then does not get them."
                    .to_owned(),
                "A worker that is forked closes the connections that are not its own; who hands one over \
                 closes its copy. shutdown() ends the connection for all holders."
                    .to_owned(),
            ],
            verify: "tcpdwell diagnose again: the rule is fine; tcpdwell stuck shows one holder each.",
            avoid: "Killing the process that closes correctly: the copies of the others keep the connection.",
        }
        })
    }
}
