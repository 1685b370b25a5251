//! Settings that do not do here what they are set for.

use serde_json::json;

use super::{Check, Finding, Rule, Severity, evidence, found};
use crate::{engine::Sysctls, report::Report};

/// `TCP_FIN_TIMEOUT`, include/net/tcp.h.
const DEFAULT_FIN_TIMEOUT_S: i64 = 60;

/// See the module.
#[derive(Debug)]
pub(super) struct Folklore;

impl Rule for Folklore {
    fn name(&self) -> &'static str {
        "folklore"
    }

    fn check(&self, report: &Report) -> Check {
        let sysctls = &report.snapshot.sysctls;
        if sysctls.number("tcp_fin_timeout").is_none() {
            return Check::NotEnoughData("the kernel's settings are not known");
        }
        let connections = &report.snapshot.totals.connections;
        let only_accepts = connections.passive > 0 && connections.active == 0;
        let said = [
            fin_timeout(sysctls),
            recycle(sysctls),
            reuse_without_timestamps(sysctls),
            reuse_on_a_server(sysctls, only_accepts),
        ];
        found(said.into_iter().flatten().collect())
    }
}

fn fin_timeout(sysctls: &Sysctls) -> Option<Finding> {
    let set = sysctls
        .number("tcp_fin_timeout")
        .filter(|s| *s < DEFAULT_FIN_TIMEOUT_S)?;
    Some(setting(
        Severity::Info,
        ("tcp_fin_timeout", set),
        format!(
            "tcp_fin_timeout is {set} s. It ends FIN_WAIT2 of sockets that no process holds, and does \
             nothing to TIME_WAIT, which is 60 s and fixed (TCP_TIMEWAIT_LEN)."
        ),
        "If it was set against TIME_WAIT: sysctl -w net.ipv4.tcp_fin_timeout=60, and see \
         who_should_keep_alive.",
    ))
}

fn recycle(sysctls: &Sysctls) -> Option<Finding> {
    let set = sysctls.number("tcp_tw_recycle").filter(|on| *on != 0)?;
    Some(setting(
        Severity::Critical,
        ("tcp_tw_recycle", set),
        "tcp_tw_recycle is on: it drops connections of clients behind one NAT. Linux 4.12 took it out."
            .to_owned(),
        "sysctl -w net.ipv4.tcp_tw_recycle=0",
    ))
}

fn reuse_without_timestamps(sysctls: &Sysctls) -> Option<Finding> {
    let reuse = sysctls.number("tcp_tw_reuse").filter(|on| *on == 1)?;
    sysctls.number("tcp_timestamps").filter(|on| *on == 0)?;
    Some(setting(
        Severity::Warning,
        ("tcp_tw_reuse", reuse),
        "tcp_tw_reuse is on and tcp_timestamps is off: a port is never taken from TIME_WAIT without \
         timestamps (tcp_twsk_unique), so it does nothing."
            .to_owned(),
        "sysctl -w net.ipv4.tcp_timestamps=1",
    ))
}

fn reuse_on_a_server(sysctls: &Sysctls, only_accepts: bool) -> Option<Finding> {
    let reuse = sysctls.number("tcp_tw_reuse").filter(|on| *on == 1)?;
    only_accepts.then(|| {
        setting(
            Severity::Info,
            ("tcp_tw_reuse", reuse),
            "tcp_tw_reuse is on, and in this window the host only accepted: it is for connect, and \
             does nothing for connections that come in."
                .to_owned(),
            "Let clients close first, or keep connections alive (who_should_keep_alive).",
        )
    })
}

fn setting(
    severity: Severity,
    (name, value): (&str, i64),
    summary: String,
    advice: &str,
) -> Finding {
    Finding {
        severity,
        subject: format!("net.ipv4.{name}={value}"),
        summary,
        evidence: evidence([(name, json!(value))]),
        advice: vec![advice.to_owned()],
        verify: "tcpdwell diagnose again: the rule is fine.",
        avoid: "Copying settings against TIME_WAIT without a measurement.",
    }
}
