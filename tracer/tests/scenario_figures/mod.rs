//! A window's figures as text, and what must hold among them whatever happened. Shared by scenarios
//! and properties.

use std::fmt::Write as _;

use tracer::engine::{
    ClosedFirst, DurationHistogram, Engine, GroupKey, GroupRow, GroupSet, Groups, Mono, Snapshot,
    Span, StateFigures, TcpState, Update, Window,
};

/// What this window counts, which began at 0, with every connection in it.
pub fn snapshot(mut window: Window, engine: &Engine, updates: &[Update], end: Mono) -> Snapshot {
    let start = Mono(0);
    for update in updates {
        match update {
            Update::Transition(t) => window.transition(t, start, true),
            Update::Irregular(i) => window.irregular(i),
            Update::Forgotten(conn) => window.forget(*conn),
            _ => {}
        }
    }
    window.close(engine, Span { start, end }, |_| true)
}

/// The balances: what came in went out or is there, and the rows of each group add up.
pub fn balance(snapshot: &Snapshot) -> Result<(), String> {
    let check = |what: &str, left: u64, right: u64| {
        let differs = || Err(format!("{what}: {left} != {right}\n{}", text(snapshot)));
        if left == right { Ok(()) } else { differs() }
    };
    let totals = &snapshot.totals;
    for state in TcpState::ALL {
        if state == TcpState::Close {
            continue;
        }
        let s = totals.state(state);
        let (came, went) = (
            s.found + s.entered + s.entered_unseen,
            s.left + s.left_unseen + s.open,
        );
        check(state.name(), came, went)?;
        let dwells = s.dwell.as_ref().map_or(0, |d| d.count());
        check("dwells measured", dwells.min(s.left), dwells)?;
    }
    let c = &totals.connections;
    let came = c.active + c.passive + c.preexisting + c.unknown_starts;
    check(
        "connections",
        came,
        c.closed + c.open + c.failed.total() + c.unseen_ends,
    )?;
    check("closed first", totals.closed_first.iter().sum(), c.closed)?;
    for (name, group) in groups(&snapshot.groups) {
        let rows = group.rows();
        let sum = |figure: &dyn Fn(&GroupRow) -> u64| rows.iter().map(|(_, r)| figure(r)).sum();
        check(name, sum(&|r| r.connections), came)?;
        check(name, sum(&|r| r.failed.total()), c.failed.total())?;
        for first in ClosedFirst::ALL {
            let of = |r: &GroupRow| r.closed_first[first as usize];
            check(name, sum(&of), totals.closed_first[first as usize])?;
        }
        for state in tracer::engine::GROUP_STATES {
            let figures: [fn(&StateFigures) -> u64; 5] = [
                |s| s.found,
                |s| s.entered,
                |s| s.left,
                |s| s.open,
                |s| s.dwell.as_ref().map_or(0, |d| d.count()),
            ];
            for figure in figures {
                let of = |r: &GroupRow| r.state(state).map_or(0, figure);
                check(name, sum(&of), figure(totals.state(state)))?;
            }
        }
    }
    check(
        "listed",
        snapshot.close_wait.open,
        totals.state(TcpState::CloseWait).open,
    )
}

fn groups(groups: &GroupSet) -> [(&'static str, &Groups); 4] {
    [
        ("process", &groups.process),
        ("local_port", &groups.local_port),
        ("remote", &groups.remote),
        ("remote_port", &groups.remote_port),
    ]
}

/// Everything that is not zero.
pub fn text(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    let c = &snapshot.totals.connections;
    let mut figures = vec![
        ("active", c.active),
        ("passive", c.passive),
        ("preexisting", c.preexisting),
        ("unknown_starts", c.unknown_starts),
        ("closed", c.closed),
        ("open", c.open),
        ("refused", c.failed.refused),
        ("timeout", c.failed.timeout),
        ("other", c.failed.other),
        ("unseen_ends", c.unseen_ends),
    ];
    line(&mut out, "connections", &figures);
    figures = firsts(&snapshot.totals.closed_first);
    line(&mut out, "first", &figures);
    for state in TcpState::ALL {
        line(&mut out, state.name(), &stays(snapshot.totals.state(state)));
    }
    let ended = &snapshot.totals.time_wait_ended;
    figures = ended.iter().map(|(why, n)| (why.name(), *n)).collect();
    figures.push(("never_created", snapshot.totals.never_created));
    line(&mut out, "time_wait", &figures);
    for waiting in &snapshot.close_wait.oldest {
        let open = &waiting.open;
        let age = open
            .age
            .map_or("-".to_owned(), |a| a.as_micros().to_string());
        let sign = if open.age_is_exact { "" } else { ">=" };
        let conn = open.last.conn.map_or(0, |c| c.0);
        writeln!(out, "waits conn={conn} {sign}{age}us").unwrap();
    }
    for (name, group) in groups(&snapshot.groups) {
        for (key, row) in group.rows() {
            let mut figures = vec![("connections", row.connections)];
            figures.extend(firsts(&row.closed_first));
            figures.push(("failed", row.failed.total()));
            let pid = match row.pid {
                _ if name != "process" => String::new(),
                0 => String::new(),
                GroupRow::SEVERAL => " pid=*".to_owned(),
                pid => format!(" pid={pid}"),
            };
            line(&mut out, &format!("{name} {}{pid}", said(key)), &figures);
        }
    }
    out.trim_end().to_owned()
}

fn said(key: GroupKey) -> String {
    match key {
        GroupKey::Process(name) => String::from_utf8_lossy(name.bytes()).into_owned(),
        GroupKey::Port(port) => port.to_string(),
        GroupKey::PerhapsPort(port) => format!("{port}?"),
        GroupKey::Address(address) => std::net::Ipv6Addr::from(address).to_canonical().to_string(),
        GroupKey::ActiveOpen => "active_open".to_owned(),
        GroupKey::PassiveOpen => "passive_open".to_owned(),
        GroupKey::Unknown => "unknown".to_owned(),
        GroupKey::Other => "other".to_owned(),
    }
}

fn firsts(counts: &[u64]) -> Vec<(&'static str, u64)> {
    let named = ClosedFirst::ALL.into_iter().zip(counts);
    named.map(|(first, count)| (first.name(), *count)).collect()
}

fn stays(s: &StateFigures) -> Vec<(&'static str, u64)> {
    let dwell = s.dwell.as_deref();
    vec![
        ("found", s.found),
        ("entered", s.entered),
        ("entered_unseen", s.entered_unseen),
        ("left", s.left),
        ("left_unseen", s.left_unseen),
        ("open", s.open),
        ("dwells", dwell.map_or(0, DurationHistogram::count)),
        (
            "max_us",
            dwell.and_then(DurationHistogram::max_us).unwrap_or(0),
        ),
    ]
}

fn line(out: &mut String, name: &str, figures: &[(&str, u64)]) {
    let some: Vec<_> = figures
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(what, n)| format!("{what}={n}"))
        .collect();
    if !some.is_empty() {
        writeln!(out, "{name} {}", some.join(" ")).unwrap();
    }
}
