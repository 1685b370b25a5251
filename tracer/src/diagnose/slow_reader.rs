//! Does a process not read what its peers have sent?

use super::{Check, Finding, Rule, Severity, waiting};
use crate::{engine::stuck::Cause, report::Report};

/// See the module.
#[derive(Debug)]
pub(super) struct SlowReader;

impl Rule for SlowReader {
    fn name(&self) -> &'static str {
        "slow_reader"
    }

    fn check(&self, report: &Report) -> Check {
        waiting::of_cause(report, Cause::UnreadData, |group| {
            let pid = group.pids.first().copied().unwrap_or(0);
            let first = if group.stopped {
                format!("The process is stopped: find out by whom, then kill -CONT {pid}.")
            } else {
                format!(
                    "See what it does instead of reading: a stack of pid {pid} (gdb -p, jstack, \
                     py-spy, cat /proc/{pid}/task/*/stack): a thread pool with all threads busy, a lock, a call that \
                     blocks an event loop."
                )
            };
            Finding {
                severity: Severity::Warning,
                subject: waiting::whose(group),
                summary: format!(
                    "{} connections wait to be read, {} bytes and the end of file, and their peers have \
                     given up: the oldest for {}.",
                    group.sockets,
                    group.unread,
                    waiting::oldest(group)
                ),
                evidence: waiting::evidence(group),
                advice: vec![
                    first,
                    "Give what blocks a timeout shorter than the clients', and work a limit, so that \
                     requests nobody waits for any more are dropped."
                        .to_owned(),
                ],
                verify: "tcpdwell diagnose again: the rule is fine.",
                avoid: "Larger receive buffers (tcp_rmem): more waits, and nobody reads it sooner.",
            }
        })
    }
}
