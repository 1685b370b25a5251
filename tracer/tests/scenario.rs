//! The engine on sequences of events as data: `scenarios/*.toml`, each with the reason why it is
//! there. What is compared is text, so that a difference reads as one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fmt::Write as _, fs, net::IpAddr, path::Path};

mod scenario_figures;
mod scenario_sums;

use serde::Deserialize;
use tracer::engine::{
    CgroupFact, EndReason, Endpoint, Engine, Event, EventBody, Evidence, Found, FourTuple, Held,
    Limits, LostCount, Minisock, Mono, OwnerSource, Process, ProcessFact, ProcessName, SockId,
    StateChange, TimewaitEnd, TimewaitRearmed, Transition, Update, Window,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    #[expect(dead_code, reason = "for the reader of the file")]
    why: String,
    /// Connections that may be followed at once.
    limit: Option<usize>,
    /// Connections that a report may remember at once.
    stories: Option<usize>,
    /// `TIME_US sock=N [cookie=N] [pid=N] [twin] [unwanted] [err=N|err=none] [shut] [file] [dead]
    /// [unread=N] [tw=N:STATE] [refused=REASON] FROM->TO LOCAL REMOTE` (with `err` the socket was
    /// looked into), `TIME_US rearmed tw=N [cookie=N] STATE`, `TIME_US end tw=N [cookie=N] [stamp=US]
    /// [timer=US] STATE REASON LOCAL REMOTE`, `TIME_US held sock=N [cookie=N] pid=N accept|read`,
    /// `TIME_US found [sock=N] [cookie=N] [pid=N] [minisock] [entered=US] STATE LOCAL REMOTE`,
    /// `TIME_US process PID NAME`, `TIME_US lost CAUSE=N`, `TIME_US watermark`.
    events: String,
    /// What is told, in order.
    expect: String,
    /// `delivered=... irregular=... repeats=... unknown_starts=... untracked=... open=...`
    ledger: String,
    /// Why the kernel, where it adds up by itself, may count this otherwise.
    not_added_up: Option<String>,
    /// What a window over all of it counts, as `scenario_figures` writes it.
    report: Option<String>,
}

fn number(word: &str, key: &str) -> Option<u64> {
    word.strip_prefix(key)?.strip_prefix('=')?.parse().ok()
}

fn end(word: &str) -> Endpoint {
    if word == "-" {
        return Endpoint::default();
    }
    let (address, port) = word.rsplit_once(':').unwrap();
    let address: IpAddr = address.trim_matches(['[', ']']).parse().unwrap();
    Endpoint {
        address: match address {
            IpAddr::V4(v4) => tracer_common::address::mapped(v4.octets()),
            IpAddr::V6(v6) => v6.octets(),
        },
        port: port.parse().unwrap(),
    }
}

fn event(line: &str) -> Event {
    let mut words = line.split_whitespace();
    let micros: u64 = words.next().unwrap().parse().unwrap();
    let at = Mono(micros * 1000);
    let words: Vec<&str> = words.collect();
    let body = match words[0] {
        "watermark" => EventBody::Watermark,
        "lost" => EventBody::Lost(LostCount {
            ring_full: number(words[1], "ring_full").unwrap_or(0),
            recursion: number(words[1], "recursion").unwrap_or(0),
            ..LostCount::default()
        }),
        "process" => {
            let mut name = [0; 16];
            name[..words[2].len()].copy_from_slice(words[2].as_bytes());
            EventBody::Process(ProcessFact {
                pid: words[1].parse().unwrap(),
                process: Process {
                    name: ProcessName(name),
                    uid: 0,
                    cgroup: 1,
                },
            })
        }
        "rearmed" => EventBody::TimewaitRearmed(TimewaitRearmed {
            tw: SockId(value(&words, "tw")),
            cookie: value(&words, "cookie"),
            state: words.last().unwrap().parse().unwrap(),
        }),
        "end" => EventBody::TimewaitEnd(minisock_end(&words)),
        "cgroup" => EventBody::Cgroup(CgroupFact {
            id: words[1].parse().unwrap(),
            path: words[2].into(),
        }),
        "found" => EventBody::Found(found(&words)),
        "held" => EventBody::Held(Held {
            sock: SockId(value(&words, "sock")),
            cookie: value(&words, "cookie"),
            pid: u32::try_from(value(&words, "pid")).unwrap(),
            source: match *words.last().unwrap() {
                "accept" => OwnerSource::Accept,
                "read" => OwnerSource::Read,
                other => panic!("{other}"),
            },
        }),
        _ => EventBody::StateChange(change(&words)),
    };
    Event { at, body }
}

fn value(words: &[&str], key: &str) -> u64 {
    words.iter().find_map(|w| number(w, key)).unwrap_or(0)
}

fn tuple(local: &str, remote: &str) -> FourTuple {
    let v4 = local.contains('.') || remote.contains('.');
    FourTuple {
        local: end(local),
        remote: end(remote),
        family: if v4 { 2 } else { 10 },
    }
}

fn reason(name: &str) -> EndReason {
    let known = [
        EndReason::Expired,
        EndReason::Reused,
        EndReason::SynRecycled,
        EndReason::Reset,
        EndReason::Purged,
        EndReason::FinTimeout,
        EndReason::DataAfterClose,
        EndReason::Overflow,
        EndReason::NoMemory,
        EndReason::Unknown,
    ];
    let found = known.into_iter().find(|reason| reason.name() == name);
    found.unwrap_or_else(|| panic!("reason {name}"))
}

fn found(words: &[&str]) -> Found {
    let [.., state, local, remote] = words else {
        panic!("{words:?}");
    };
    let entered = words.iter().find_map(|w| number(w, "entered"));
    let address = words.iter().find_map(|w| number(w, "sock"));
    let cookie = value(words, "cookie");
    Found {
        sock: address.map_or_else(|| SockId::of_cookie(cookie, 1), SockId),
        cookie,
        state: state.parse().unwrap(),
        in_minisock: words.contains(&"minisock"),
        tuple: tuple(local, remote),
        netns: 1,
        pid: u32::try_from(value(words, "pid")).unwrap(),
        entered: entered.map(|us| Mono(us * 1000)),
    }
}

fn minisock_end(words: &[&str]) -> TimewaitEnd {
    let [.., state, why, local, remote] = words else {
        panic!("{words:?}");
    };
    let moment = |key| {
        words
            .iter()
            .find_map(|w| number(w, key))
            .map(|us| Mono(us * 1000))
    };
    TimewaitEnd {
        tw: SockId(value(words, "tw")),
        cookie: value(words, "cookie"),
        state: state.parse().unwrap(),
        tuple: tuple(local, remote),
        netns: 1,
        reason: reason(why),
        stamp: moment("stamp"),
        timer_set: moment("timer"),
        exact: !words.contains(&"inexact"),
    }
}

fn change(words: &[&str]) -> StateChange {
    let value = |key| value(words, key);
    let at = words.iter().position(|w| w.contains("->")).unwrap();
    let (from, to) = words[at].split_once("->").unwrap();
    let looked = words.iter().any(|w| w.starts_with("err="));
    let minisock = words.iter().find_map(|w| {
        if *w == "unseen" {
            return Some(Minisock::Unseen);
        }
        if let Some(refused) = w.strip_prefix("refused=") {
            return Some(Minisock::Refused(reason(refused)));
        }
        let (tw, state) = w.strip_prefix("tw=")?.split_once(':')?;
        Some(Minisock::Made {
            tw: SockId(tw.parse().unwrap()),
            state: state.parse().unwrap(),
        })
    });
    StateChange {
        sock: SockId(value("sock")),
        cookie: value("cookie"),
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        tuple: tuple(words[at + 1], words[at + 2]),
        netns: words
            .iter()
            .find_map(|w| number(w, "netns"))
            .map_or(1, |n| u32::try_from(n).unwrap()),
        pid: u32::try_from(value("pid")).unwrap(),
        twin: words.contains(&"twin"),
        unwanted: words.contains(&"unwanted"),
        evidence: looked.then(|| Evidence {
            err: u16::try_from(value("err")).unwrap(),
            shut_both: words.contains(&"shut"),
            has_file: words.contains(&"file"),
            dead: words.contains(&"dead"),
            unread: u32::try_from(value("unread")).unwrap(),
            by_stack: None,
        }),
        minisock,
    }
}

fn told(t: &Transition) -> String {
    let end = |e: &Endpoint| match e.port() {
        None => "-".to_owned(),
        Some(port) => format!("{}:{port}", e.ip()),
    };
    let mut out = match t.conn {
        Some(conn) => format!("conn={} ", conn.0),
        None => "conn=- ".to_owned(),
    };
    let (local, remote) = (end(&t.tuple.local), end(&t.tuple.remote));
    let role = t.role.name();
    write!(out, "{}->{} {local} {remote} {role} dwell=", t.from, t.to).unwrap();
    match t.dwell {
        Some(dwell) => write!(out, "{}us", dwell.as_micros()).unwrap(),
        None => match t.at_least {
            Some(dwell) => write!(out, ">={}us", dwell.as_micros()).unwrap(),
            None => out.push('-'),
        },
    }
    if t.owner.pid != 0 {
        let name = t.process.as_ref().map_or("-".into(), |p| {
            String::from_utf8_lossy(p.name.bytes()).into_owned()
        });
        write!(
            out,
            " owner={}/{name}/{}",
            t.owner.pid,
            t.owner.source.name()
        )
        .unwrap();
    }
    if let Some(first) = t.closed_first {
        write!(out, " first={}", first.name()).unwrap();
    }
    if let Some(reason) = t.end_reason {
        write!(out, " end={}", reason.name()).unwrap();
    }
    if !t.exact {
        out.push_str(" inexact");
    }
    out
}

fn line(update: &Update) -> String {
    match update {
        Update::Transition(t) => told(t),
        Update::Irregular(i) => format!(
            "irregular conn={} believed={} from={}{}",
            i.conn.0,
            i.believed,
            i.from,
            if i.replaced { " replaced" } else { "" }
        ),
        Update::Lost { lost, .. } => format!("lost {}", lost.total()),
        Update::Forgotten(conn) => format!("forgotten conn={}", conn.0),
        Update::Cgroup(fact) => format!("cgroup {} {}", fact.id, fact.path),
        Update::Clock { .. } => "clock".to_owned(),
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|l| l.split('#').next().unwrap_or_default().trim())
        .filter(|l| !l.is_empty())
}

fn play(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let scenario: Scenario =
        toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut limits = Limits::default();
    limits.connections = scenario.limit.unwrap_or(limits.connections);
    let mut engine = Engine::new(limits);
    let mut updates = Vec::new();
    let mut end = Mono(0);
    let events: Vec<Event> = lines(&scenario.events).map(event).collect();
    for event in &events {
        end = end.max(event.at);
        engine.handle_event(event, &mut updates);
    }
    engine.finish(&mut updates);
    let mut window = Window::default();
    if let Some(stories) = scenario.stories {
        window = window.with_room(stories);
    }
    let snapshot = scenario_figures::snapshot(window, &engine, &updates, end);
    if scenario.not_added_up.is_none() {
        let [told, added_up] = scenario_sums::both(&snapshot, &scenario_sums::sums(&events));
        let both = told.lines().zip(added_up.lines());
        let differ: Vec<_> = both.filter(|(told, added_up)| told != added_up).collect();
        assert!(
            differ.is_empty(),
            "{}: told, added up: {differ:#?}",
            path.display()
        );
    }
    scenario_figures::balance(&snapshot).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let figures = scenario_figures::text(&snapshot);
    let said: Vec<String> = updates.iter().map(line).collect();
    let ledger = ledger(&engine);
    if std::env::var_os("TCPDWELL_BLESS").is_some() {
        bless(path, &text, &scenario, &said.join("\n"), &ledger);
        return;
    }
    if let Some(report) = &scenario.report {
        assert_eq!(figures, report.trim(), "{}", path.display());
    }
    let expected: Vec<&str> = lines(&scenario.expect).collect();
    assert_eq!(
        said.join("\n"),
        expected.join("\n"),
        "{}\nsaid (left), expected (right)",
        path.display()
    );
    assert_eq!(ledger, scenario.ledger, "{}", path.display());
}

fn ledger(engine: &Engine) -> String {
    let l = engine.ledger();
    let mut out = format!(
        "delivered={} irregular={} repeats={} unknown_starts={} untracked={} open={}",
        l.delivered,
        l.irregular,
        l.repeats,
        l.unknown_starts,
        l.untracked,
        engine.open()
    );
    if l.preexisting > 0 {
        write!(out, " preexisting={}", l.preexisting).unwrap();
    }
    let closed = engine.stats().closed_first().filter(|(_, n)| *n > 0);
    for (first, count) in closed {
        write!(out, " {}={count}", first.name()).unwrap();
    }
    let time_wait = engine.stats().time_wait();
    if time_wait.entered + time_wait.never_created > 0 {
        let (entered, never) = (time_wait.entered, time_wait.never_created);
        write!(out, " tw_entered={entered} tw_never_created={never}").unwrap();
    }
    for (reason, count) in &time_wait.ended {
        write!(out, " tw_{}={count}", reason.name()).unwrap();
    }
    out
}

/// Writes down what was said as what is expected: for a person to read in the diff.
fn bless(path: &Path, text: &str, scenario: &Scenario, said: &str, ledger: &str) {
    let new = text
        .replace(scenario.expect.trim(), said)
        .replace(&scenario.ledger, ledger);
    fs::write(path, new).unwrap();
}

#[test]
fn every_scenario_comes_out_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 10, "the scenarios are missing");
    for path in paths {
        play(&path);
    }
}
