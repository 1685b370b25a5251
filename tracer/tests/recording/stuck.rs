//! `stuck --from`: what lingered when a recording ended or at some moment of it, as the looks in it tell.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tracer::{
    engine::{
        Descriptors, Event, EventBody, Held, Holder, Inside, Inspected, Looked, Mono, OwnerSource,
        Process, ProcessFact, ProcessName, SockId, TcpState, Unseen,
    },
    recording::{Meta, Progress, Segment},
};

use crate::made;

const MS: u64 = 1_000_000;

/// When the recordings of `made` begin, by the kernel's clock.
const BEGAN: u64 = 1_000 * MS;

/// A moment of a recording, so many ms after its beginning.
fn at(ms: u64) -> Mono {
    Mono(BEGAN + ms * MS)
}

/// The same by the wall clock, as one types it.
fn typed(ms: u64) -> String {
    let ns = i128::from(made::meta(1).clock.wall_ns) + i128::from(ms * MS);
    Timestamp::from_nanosecond(ns).unwrap().to_string()
}

fn change(ms: u64, sock: u64, from: TcpState, to: TcpState) -> Event {
    made::change(at(ms), sock, from, to)
}

/// Comes out of the listener, is accepted by 70, and its peer closes.
fn served(ms: u64, sock: u64) -> Vec<Event> {
    let held = Held {
        sock: SockId(sock),
        cookie: sock,
        pid: 70,
        source: OwnerSource::Accept,
    };
    vec![
        change(ms, sock, TcpState::Listen, TcpState::SynRecv),
        change(ms, sock, TcpState::SynRecv, TcpState::Established),
        Event {
            at: at(ms),
            body: EventBody::Held(held),
        },
        change(ms, sock, TcpState::Established, TcpState::CloseWait),
    ]
}

fn closed(ms: u64, sock: u64) -> Vec<Event> {
    vec![
        change(ms, sock, TcpState::CloseWait, TcpState::LastAck),
        change(ms, sock, TcpState::LastAck, TcpState::Close),
    ]
}

/// A look that shows these CLOSE_WAITs of 70: each with so many bytes that nobody read.
fn look(ms: u64, seen: &[(u64, u32)]) -> Vec<Event> {
    let inspected = |&(sock, unread): &(u64, u32)| {
        EventBody::Inspected(Box::new(Inspected {
            sock: SockId(sock),
            cookie: sock,
            state: TcpState::CloseWait,
            tuple: made::tuple(sock),
            netns: 1,
            not_later: None,
            inside: Some(Inside {
                // The peer's FIN counts as one.
                receive_queue: if unread > 0 { unread + 1 } else { 0 },
                receive_shut: true,
                has_file: true,
                references: Some(1),
                uid: 33,
                ..Inside::default()
            }),
            holders: Arc::from([Holder { pid: 70, fd: 5 }]),
            descriptors: 1,
        }))
    };
    let files = EventBody::Descriptors(Descriptors {
        pid: 70,
        open: 9,
        limit: Some(1024),
        stopped: false,
    });
    let ended = EventBody::Looked(Looked {
        began: at(ms),
        namespaces: 1,
        unseen: Unseen::default(),
    });
    let bodies = seen.iter().map(inspected).chain([files, ended]);
    let event = |body| Event { at: at(ms), body };
    bodies.map(event).collect()
}

/// A clock event a second, as every recording has them.
fn clocks(until_ms: u64) -> Vec<Event> {
    let wall = made::meta(1).clock.wall_ns;
    let clock = |second: u64| Event {
        at: at(second * 1000),
        body: EventBody::Clock {
            wall_ns: wall + i64::try_from(second * 1000 * MS).unwrap(),
        },
    };
    (0..=until_ms / 1000).map(clock).collect()
}

fn write(directory: &Path, id: u32, host: &str, mut events: Vec<Event>) -> PathBuf {
    let name = EventBody::Process(ProcessFact {
        pid: 70,
        process: Process {
            name: ProcessName(*b"shop\0\0\0\0\0\0\0\0\0\0\0\0"),
            ..Process::default()
        },
    });
    events.push(Event {
        at: at(0),
        body: name,
    });
    events.extend(clocks(30_000));
    events.sort_by_key(|event| event.at);
    let meta = Meta {
        host: host.to_owned(),
        ..made::meta(id)
    };
    let path = directory.join(format!("{id}.tdw"));
    let file = fs::File::create(&path).unwrap();
    let mut segment = Segment::begin(file, 1, &meta, Progress::default()).unwrap();
    for (i, event) in events.iter().enumerate() {
        segment.push(event).unwrap();
        if i % 8 == 7 {
            segment.close_block().unwrap();
        }
    }
    segment.end().unwrap();
    path
}

/// One came and was looked at twice, one went, one came after the last look; 30 s in all.
fn story() -> Vec<Event> {
    [
        served(1_000, 1),
        served(2_000, 2),
        look(5_000, &[(1, 0), (2, 10)]),
        closed(7_000, 2),
        look(15_000, &[(1, 4)]),
        served(20_000, 3),
    ]
    .concat()
}

fn stuck(arguments: &[&str], files: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tcpdwell"))
        .args(["stuck"])
        .args(arguments)
        .arg("--from")
        .args(files)
        .env("TZ", "UTC")
        .output()
        .unwrap()
}

fn looks(arguments: &[&str], files: &[&Path]) -> Vec<Value> {
    let output = stuck(&[&["--format", "json"], arguments].concat(), files);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let objects = text.lines().map(serde_json::from_str);
    objects.map(Result::unwrap).collect()
}

/// Cookie, age in ms, cause, unread bytes, how long ago it was looked at in ms.
fn rows(look: &Value) -> Vec<Value> {
    let sockets = look["sockets"].as_array().unwrap().iter();
    let ms = |us: &Value| us.as_u64().map(|us| us / 1000);
    let row = |s: &Value| {
        let (age, looked) = (ms(&s["age_us"]), ms(&s["looked_us_ago"]));
        json!([s["cookie"], age, s["cause"], s["unread_bytes"], looked])
    };
    sockets.map(row).collect()
}

#[test]
fn as_of_its_end_and_as_of_a_moment() {
    let directory = TempDir::new().unwrap();
    let path = write(directory.path(), 1, "web-1", story());
    let end = &looks(&[], &[&path])[0];
    assert_eq!(end["schema"], "tcpdwell.stuck/1");
    assert_eq!(end["host"], "web-1");
    assert_eq!(end["ts"], typed(30_000).as_str());
    assert_eq!(end["looked_us_ago"], 15_000_000);
    assert_eq!(
        rows(end),
        [
            json!([1, 29_000, "unread_data", 4, 15_000]),
            json!([3, 10_000, "unknown", null, null]),
        ]
    );
    let unseen = &end["sockets"][1];
    for unknown in ["holders", "descriptors", "uid", "unsent_bytes"] {
        assert!(unseen[unknown].is_null(), "{unknown}: {unseen:#}");
    }
    // Who accepted it is told by an event, not by a look.
    assert_eq!(
        (&unseen["pid"], &unseen["comm"]),
        (&json!(70), &json!("shop"))
    );
    assert_eq!(unseen["age_exact"], true);

    let then = &looks(&["--at", &typed(6_500), "--older-than", "0"], &[&path])[0];
    assert_eq!(then["ts"], typed(6_500).as_str());
    assert_eq!(
        rows(then),
        [
            json!([1, 5_500, "not_closed", 0, 1_500]),
            json!([2, 4_500, "unread_data", 10, 1_500]),
        ]
    );
    assert_eq!(then["sockets"][0]["holders"][0]["fds"], json!([5]));
    let before = &looks(&["--at", &typed(3_000), "--older-than", "0"], &[&path])[0];
    assert!(before["looked_us_ago"].is_null());
    assert_eq!(
        rows(before),
        [
            json!([1, 2_000, "unknown", null, null]),
            json!([2, 1_000, "unknown", null, null]),
        ]
    );
}

#[test]
fn for_people_it_says_of_when_it_is_and_on_what_it_rests() {
    let directory = TempDir::new().unwrap();
    let alpha = write(directory.path(), 1, "web-1", story());
    let beta = write(directory.path(), 2, "web-2", served(1_000, 9));
    let output = stuck(&["--older-than", "11s"], &[&alpha, &beta]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = "\
web-1, 2026-09-21 14:13:50 UTC; looked at 15.000s before
1 socket in CLOSE_WAIT for 11s or longer; 1 not known to be so old

shop (pid 70, uid 33) holds 1 in CLOSE_WAIT on port 8080; the oldest for
    29.000s
  unread_data 1: 4 bytes wait to be read
";
    assert!(text.starts_with(expected), "{text}");
    let other = text.split("\n\nweb-2, ").nth(1).expect("the other host");
    assert!(
        other.starts_with(
            "2026-09-21 14:13:50 UTC; no look at the sockets is recorded\n1 socket in"
        ),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
    // What is not there any more is not to be looked at.
    assert!(!text.contains("/proc/"), "{text}");
    let names: Vec<_> = looks(&[], &[&beta, &alpha])
        .iter()
        .map(|look| (look["host"].clone(), look["sockets"][0]["conn"].clone()))
        .collect();
    assert_eq!(
        names,
        [(json!("web-1"), json!(1)), (json!("web-2"), json!(4))]
    );
}

#[test]
fn what_has_no_meaning_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = write(directory.path(), 1, "web-1", story());
    let later = typed(31_000);
    for (arguments, words) in [
        (
            &["--at", later.as_str()][..],
            "is in none of the recordings",
        ),
        (&["--since", "2026-01-01 10:00"], "--at TIME"),
        (&["--watch"], "--watch"),
        (&["--kill"], "--kill"),
        (&["--at", "noon"], "must be like"),
    ] {
        let output = stuck(arguments, &[&path]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

/// Two a second are not closed, among twenty that are.
fn leak() -> Vec<Event> {
    let mut events = Vec::new();
    let mut open = Vec::new();
    for second in 1..70 {
        for i in 0..22 {
            let (ms, sock) = (second * 1000 + i * 40, second * 100 + i);
            events.extend(served(ms, sock));
            if i < 20 {
                events.extend(closed(ms + 10, sock));
            } else {
                open.push((sock, 0));
            }
        }
        if second % 5 == 0 {
            events.extend(look(second * 1000 + 990, &open));
        }
    }
    events
}

#[test]
fn a_recorded_leak_is_a_leak() {
    let directory = TempDir::new().unwrap();
    let events = [look(100, &[]), leak(), clocks(70_000)].concat();
    let path = write(directory.path(), 1, "web-1", events);
    let end = &looks(&[], &[&path])[0];
    let leak = &end["leaks"][0];
    assert_eq!(leak["verdict"], "leaking", "{leak:#}");
    assert_eq!((&leak["pid"], &leak["lport"]), (&json!(70), &json!(8080)));
    let growth = leak["growth_per_s"].as_f64().unwrap();
    assert!((1.8..2.2).contains(&growth), "{leak:#}");
    let output = Command::new(env!("CARGO_BIN_EXE_tcpdwell"))
        .args(["diagnose", "--format", "json", "--from"])
        .arg(&path)
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = said["findings"].as_array().unwrap();
    let found = findings.iter().find(|f| f["rule"] == "close_wait_leak");
    let found = found.unwrap_or_else(|| panic!("{said:#}"));
    assert_eq!(found["evidence"]["leak"], "leaking", "{found:#}");
    assert_eq!(found["severity"], "critical");
}
