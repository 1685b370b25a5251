//! Is the queue of a listener full, so that the kernel drops handshakes?

use serde_json::json;

use super::{Check, Finding, Rule, Severity, evidence, found, waiting};
use crate::{engine::Queue, report::Report};

/// See the module.
#[derive(Debug)]
pub(super) struct SynBacklog;

impl Rule for SynBacklog {
    fn name(&self) -> &'static str {
        "syn_backlog"
    }

    fn check(&self, report: &Report) -> Check {
        let waits = &report.snapshot.waits;
        if !waits.looked {
            return Check::NotEnoughData("nobody looked at the sockets");
        }
        let full = waits.queues.iter().filter(|queue| queue.is_full());
        found(full.map(|queue| finding(report, queue)).collect())
    }
}

fn finding(report: &Report, queue: &Queue) -> Finding {
    let (port, waiting) = (queue.port, queue.waiting);
    Finding {
        severity: Severity::Critical,
        subject: waiting::subject(&queue.pids, queue.name.as_ref(), &format!("port {port}")),
        summary: format!(
            "The queue of the listener on port {port} is full: {waiting} connections wait for accept, its \
             backlog is {}. The kernel drops each further SYN (TCPExtListenOverflows): clients hang, and \
             retry after 1 s, 3 s, 7 s.",
            queue.backlog
        ),
        evidence: evidence([
            ("port", json!(port)),
            ("netns", json!(queue.netns)),
            ("pids", json!(queue.pids)),
            ("waiting", json!(waiting)),
            ("backlog", json!(queue.backlog)),
            (
                "tcp_max_syn_backlog",
                json!(report.snapshot.sysctls.number("tcp_max_syn_backlog")),
            ),
        ]),
        advice: vec![
            "Accept faster: more workers, or an accept loop that does nothing else; see whether the \
             process is blocked (a stack shows)."
                .to_owned(),
            "If it keeps up and only bursts overflow: a larger backlog of listen(), and \
             net.core.somaxconn at least as large (it cuts the backlog off)."
                .to_owned(),
        ],
        verify: "'ss -ltn': Recv-Q of the port is below Send-Q; nstat TcpExtListenOverflows stands still.",
        avoid: "tcp_max_syn_backlog and tcp_syncookies as a cure: they are for handshakes that are not \
                complete, and the queue that is full is of complete ones.",
    }
}
