//! The tables of the page.

use maud::{Markup, html};

use super::super::{LISTED_STATES, Report, hosts, rows};
use crate::{
    engine::{ClosedFirst, DurationHistogram, EndReason, GroupRow, Groups, TcpState},
    render::{duration::human_or_dash, escape},
};

/// Rows of a group on the page; the JSON has all.
const SHOWN_ROWS: usize = 50;

fn table(heads: &[&str], body: &Markup) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { @for head in heads { th { (head) } } } }
                tbody { (body) }
            }
        }
    }
}

/// One row a host, and when nobody recorded there.
pub(super) fn hosts(report: &Report) -> Markup {
    html! {
        @if !report.hosts.is_empty() {
            h2 { "Hosts" }
            (table(&hosts::HEADS, &html! {
                @for host in &report.hosts {
                    tr {
                        td { (escape::text(host.report.host.as_bytes())) }
                        @for figure in hosts::figures(host) { td { (figure) } }
                    }
                }
            }))
            @for sentence in hosts::sentences(report) { p.note { (sentence) } }
        }
    }
}

pub(super) fn connections(report: &Report) -> Markup {
    let totals = &report.snapshot.totals;
    let c = &totals.connections;
    let mut figures = vec![
        ("opened by connect", c.active),
        ("opened by accept", c.passive),
        ("found open", c.preexisting),
        ("closed", c.closed),
        ("open at the end", c.open),
        ("failed: refused", c.failed.refused),
        ("failed: timeout", c.failed.timeout),
        ("failed: other", c.failed.other),
    ];
    let unsure = [
        ("of unknown start", c.unknown_starts),
        ("ended unseen", c.unseen_ends),
    ];
    figures.extend(unsure.into_iter().filter(|(_, count)| *count > 0));
    let firsts = ClosedFirst::ALL.into_iter().zip(totals.closed_first);
    let mut ended: Vec<_> = totals.time_wait_ended.iter().collect();
    ended.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    html! {
        div.beside {
        section { h2 { "Connections" }
        (table(&["", "count"], &html! {
            @for (what, count) in figures { tr { td { (what) } td { (count) } } }
        }))
        }
        section { h2 { "Who closed first" }
        (table(&["", "connections"], &html! {
            @for (first, count) in firsts { tr { td { (first.name()) } td { (count) } } }
        }))
        }
        @if !ended.is_empty() || totals.never_created > 0 {
            section { h2 { "How TIME_WAIT ended" }
            (table(&["", "count"], &html! {
                @for (reason, count) in ended {
                    tr { td { (EndReason::name(*reason)) } td { (count) } }
                }
                @if totals.never_created > 0 {
                    tr { td { "never created" } td { (totals.never_created) } }
                }
            }))
            }
        }
        }
    }
}

pub(super) fn states(report: &Report) -> Markup {
    let heads = [
        "state", "found", "entered", "left", "open", "p50", "p90", "p99", "max",
    ];
    let states = LISTED_STATES.into_iter().filter(|s| *s != TcpState::Close);
    html! {
        h2 { "States" }
        (table(&heads, &html! {
            @for state in states {
                @let f = report.snapshot.state(state);
                @let known = |n: u64| if report.measures(state) { n.to_string() } else { "-".to_owned() };
                @let dwell = f.dwell.as_deref();
                tr {
                    td { (state.name()) }
                    @for n in [f.found, f.entered, f.left, f.open] { td { (known(n)) } }
                    @for q in [0.5, 0.9, 0.99] {
                        td { (human_or_dash(dwell.and_then(|d| d.quantile_us(q)))) }
                    }
                    td { (human_or_dash(dwell.and_then(DurationHistogram::max_us))) }
                }
            }
        }))
        @if let Some(note) = report.late_fin_note() { p.note { (note) } }
    }
}

pub(super) fn close_wait(report: &Report) -> Markup {
    let waiting = &report.snapshot.close_wait;
    let heads = ["age", "cause", "pid", "process", "local", "remote", "host"];
    let heads = &heads[..if report.hosts.len() > 1 { 7 } else { 6 }];
    html! {
        @if waiting.open > 0 {
            h2 { "In CLOSE_WAIT: " (waiting.open) ", the oldest first" }
            (table(heads, &html! {
                @for waiting in &waiting.oldest {
                    @let open = &waiting.open;
                    @let t = &open.last;
                    @let age = open.age.and_then(|a| u64::try_from(a.as_micros()).ok());
                    tr {
                        td {
                            @if !open.age_is_exact && age.is_some() { ">=" }
                            (human_or_dash(age))
                        }
                        td { (waiting.cause.name()) }
                        td { @if t.owner.pid == 0 { "-" } @else { (t.owner.pid) } }
                        td {
                            @match &t.process {
                                Some(process) => (escape::text(process.name.bytes())),
                                None => "-",
                            }
                        }
                        @for end in [&t.tuple.local, &t.tuple.remote] {
                            td { (std::net::SocketAddr::new(end.ip(), end.port)) }
                        }
                        @if let Some(host) = report.host_of(waiting) {
                            td { (escape::text(host.as_bytes())) }
                        }
                    }
                }
            }))
        }
    }
}

pub(super) fn groups(report: &Report) -> Markup {
    let groups = &report.snapshot.groups;
    html! {
        (group("process", &groups.process, report))
        (group("local port", &groups.local_port, report))
        (group("remote", &groups.remote, report))
        (group("remote port", &groups.remote_port, report))
    }
}

fn group(title: &str, groups: &Groups, report: &Report) -> Markup {
    let rows = groups.rows();
    let more = rows.len().saturating_sub(SHOWN_ROWS);
    let heads = [
        title,
        "connections",
        "failed",
        "local first",
        "remote first",
        "resets",
        "in TIME_WAIT",
        "in CLOSE_WAIT",
        "ESTABLISHED p50",
        "TIME_WAIT p50",
    ];
    html! {
        @if !rows.is_empty() {
            h2 { "By " (title) }
            (table(&heads, &html! {
                @for (key, row) in rows.iter().take(SHOWN_ROWS) {
                    tr {
                        td {
                            @match rows::key(key) {
                                Some(text) => (escape::text(text.as_bytes())),
                                None => (rows::instead(*key)),
                            }
                        }
                        (figures(row, report))
                    }
                }
            }))
            @if more > 0 { p.note { "and " (more) " more" } }
        }
    }
}

fn figures(row: &GroupRow, report: &Report) -> Markup {
    let by = |first: ClosedFirst| row.closed_first[first as usize];
    let open = |state| row.state(state).map_or(0, |f| f.open);
    let p50 = |state| {
        let dwell = row.state(state).and_then(|f| f.dwell.as_deref());
        human_or_dash(dwell.and_then(|d| d.quantile_us(0.5)))
    };
    html! {
        td { (row.connections) }
        td { (row.failed.total()) }
        td { (by(ClosedFirst::Local)) }
        td { (by(ClosedFirst::Remote)) }
        td { (by(ClosedFirst::LocalReset) + by(ClosedFirst::RemoteReset)) }
        td { @if report.measures(TcpState::TimeWait) { (open(TcpState::TimeWait)) } @else { "-" } }
        td { (open(TcpState::CloseWait)) }
        td { (p50(TcpState::Established)) }
        td { (p50(TcpState::TimeWait)) }
    }
}

pub(super) fn basis(report: &Report) -> Markup {
    let hooks = &report.hooks;
    let hook = |hook: Option<&str>| escape::text(hook.unwrap_or("-").as_bytes()).to_string();
    let c = &report.completeness;
    html! {
        h2 { "What this stands on" }
        p.note {
            "Kernel " (escape::text(report.kernel.as_bytes())) ". States by " (hook(hooks.state.as_deref()))
            ", TIME_WAIT by " (hook(hooks.time_wait.as_deref())) " ("
            (report.time_wait_measured().unwrap_or("not measured")) "), owners by "
            (hook(hooks.owner.as_deref())) ", older sockets by " (hook(hooks.snapshot.as_deref())) ". "
            (c.seen) " state changes seen, " (c.filtered) " filtered, " (c.delivered) " delivered, "
            (c.lost.in_the_kernel()) " lost; "
            (c.irregular) " irregular, " (c.unknown_starts) " first seen in the middle of their life."
            @if let Some(cost) = &report.own_cost { " The tool's " (cost) "." }
        }
    }
}
