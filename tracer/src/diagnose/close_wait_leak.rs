//! Does a process not close what its peers have closed?

use super::{Check, Finding, Rule, Severity, waiting};
use crate::{engine::stuck::Cause, report::Report};

/// See the module.
#[derive(Debug)]
pub(super) struct CloseWaitLeak;

impl Rule for CloseWaitLeak {
    fn name(&self) -> &'static str {
        "close_wait_leak"
    }

    fn check(&self, report: &Report) -> Check {
        waiting::of_cause(report, Cause::NotClosed, |group| {
            let worse = waiting::is_leaking(group) || waiting::runs_out_of_files(group);
            let grows = if waiting::is_leaking(group) {
                ", and they become more"
            } else {
                ""
            };
            let pid = group.pids.first().copied().unwrap_or(0);
            Finding {
                severity: if worse {
                    Severity::Critical
                } else {
                    Severity::Warning
                },
                subject: waiting::whose(group),
                summary: format!(
                    "{} connections that the peer has closed are read to their end and not closed, the \
                     oldest for {}{grows}. Each keeps a descriptor, and the peer's end in FIN_WAIT2.",
                    group.sockets,
                    waiting::oldest(group)
                ),
                evidence: waiting::evidence(group),
                advice: vec![
                    "Find the path that reads end of file (read gives 0) and does not close: an early \
                     return, an exception, a pool that keeps broken connections."
                        .to_owned(),
                    format!(
                        "See which: tcpdwell stuck -p {pid} lists them with their descriptors; a stack \
                         of the process (gdb -p, jstack) shows who holds them."
                    ),
                ],
                verify: "tcpdwell diagnose again: the rule is fine; tcpdwell stuck --watch: what comes goes.",
                avoid: "Settings: no sysctl ends a CLOSE_WAIT (tcp_fin_timeout does not). A restart frees \
                        them, and they come again.",
            }
        })
    }
}
