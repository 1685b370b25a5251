//! Several recordings at once: merged by the time of day, told apart by host, and nothing of one taken
//! for the other's, although both have the same sockets, cookies, addresses and namespaces.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tracer::{
    engine::{Endpoint, Event, EventBody, FourTuple, Mono, SockId, StateChange, Sysctl, TcpState},
    recording::{ClockPair, Meta, Progress, Segment},
};

use crate::made;

const SECOND: u64 = 1_000_000_000;
/// 2026-09-21 14:13:20 UTC.
const NOON: i64 = 1_790_000_000_000_000_000;

/// A recording of a host.
struct Run {
    id: u32,
    host: &'static str,
    machine: &'static str,
    /// Its beginning, in ms after [`NOON`].
    began_ms: u64,
    /// What the kernel's clock showed then: no two hosts agree.
    mono: u64,
    connections: u64,
    /// How long each stays ESTABLISHED, in ms.
    dwell_ms: u64,
    fin_timeout: &'static str,
}

const ALPHA: Run = Run {
    id: 0xa1,
    host: "alpha",
    machine: "aaaaaaaaaaaa",
    began_ms: 0,
    mono: 500 * SECOND,
    connections: 20,
    dwell_ms: 3,
    fin_timeout: "60",
};

const BETA: Run = Run {
    id: 0xb1,
    host: "beta",
    machine: "bbbbbbbbbbbb",
    began_ms: 1,
    mono: 7 * SECOND,
    connections: 30,
    dwell_ms: 250,
    fin_timeout: "5",
};

fn change(sock: u64, from: TcpState, to: TcpState) -> StateChange {
    let end = |last: u8, port| Endpoint {
        address: std::net::Ipv4Addr::new(10, 0, 0, last)
            .to_ipv6_mapped()
            .octets(),
        port,
    };
    StateChange {
        sock: SockId(sock),
        cookie: sock,
        from,
        to,
        tuple: FourTuple {
            local: end(1, 40_000 + u16::try_from(sock).unwrap()),
            remote: end(2, 443),
            ..FourTuple::default()
        },
        netns: 4_026_531_840,
        pid: 0,
        twin: false,
        unwanted: false,
        evidence: None,
        minisock: None,
    }
}

impl Run {
    /// One connection after another, 10 ms apart: opened, used, and closed by the peer; the last stays in
    /// CLOSE_WAIT.
    fn events(&self) -> Vec<Event> {
        let wall = NOON + i64::try_from(self.began_ms * 1_000_000).unwrap();
        let at = |ms: u64| Mono(self.mono + ms * 1_000_000);
        let clock = |ms: u64| Event {
            at: at(ms),
            body: EventBody::Clock {
                wall_ns: wall + i64::try_from(ms * 1_000_000).unwrap(),
            },
        };
        let mut events = vec![
            clock(0),
            Event {
                at: at(0),
                body: EventBody::Sysctl(Sysctl {
                    netns: 0,
                    name: "net.ipv4.tcp_fin_timeout".into(),
                    value: self.fin_timeout.into(),
                }),
            },
        ];
        let mut end = 0;
        for number in 1..=self.connections {
            let began = number * 10;
            let mut steps = vec![
                (began, TcpState::Close, TcpState::SynSent),
                (began + 1, TcpState::SynSent, TcpState::Established),
                (
                    began + 1 + self.dwell_ms,
                    TcpState::Established,
                    TcpState::CloseWait,
                ),
            ];
            if number < self.connections {
                let closes = began + 2 + self.dwell_ms;
                steps.push((closes, TcpState::CloseWait, TcpState::LastAck));
                steps.push((closes + 1, TcpState::LastAck, TcpState::Close));
            }
            for (ms, from, to) in steps {
                let body = EventBody::StateChange(change(number, from, to));
                events.push(Event { at: at(ms), body });
                end = end.max(ms);
            }
        }
        events.push(clock(end + 5));
        events.sort_by_key(|event| event.at);
        events
    }

    fn write(&self, directory: &Path) -> PathBuf {
        let began = self.began_ms;
        let meta = Meta {
            recording: format!("{:08x}-0000-4000-8000-{began:012}", self.id),
            host: self.host.to_owned(),
            machine_id: Some(self.machine.to_owned()),
            clock: ClockPair {
                mono_ns: self.mono,
                wall_ns: NOON + i64::try_from(began * 1_000_000).unwrap(),
            },
            ..made::meta(self.id)
        };
        let path = directory.join(format!("{}-{:x}.tdw", self.host, self.id));
        let file = fs::File::create(&path).unwrap();
        let mut segment = Segment::begin(file, 1, &meta, Progress::default()).unwrap();
        for (i, event) in self.events().iter().enumerate() {
            segment.push(event).unwrap();
            if i % 16 == 15 {
                segment.close_block().unwrap();
            }
        }
        segment.end().unwrap();
        path
    }
}

fn tcpdwell(arguments: &[&str], files: &[&Path]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_tcpdwell"))
        .args(arguments)
        .arg("--from")
        .args(files)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What is printed, as text.
fn said(arguments: &[&str], files: &[&Path]) -> String {
    String::from_utf8(tcpdwell(arguments, files).stdout).unwrap()
}

fn json(arguments: &[&str], files: &[&Path]) -> Value {
    serde_json::from_str(&said(arguments, files)).unwrap()
}

const NDJSON: [&str; 3] = ["trace", "--format", "ndjson"];
const REPORT: [&str; 3] = ["report", "--format", "json"];
const DIAGNOSE: [&str; 3] = ["diagnose", "--format", "json"];

/// The transitions, without what only tells the recordings apart.
fn transitions(text: &str, host: Option<&str>) -> Vec<Value> {
    let rows = text.lines().map(|l| serde_json::from_str(l).unwrap());
    rows.filter(|row: &Value| row["event"] == "transition")
        .filter(|row| host.is_none_or(|host| row["host"] == host))
        .map(|mut row| {
            let row = row.as_object_mut().unwrap();
            row.remove("conn");
            row.remove("host");
            Value::Object(std::mem::take(row))
        })
        .collect()
}

fn time(row: &Value) -> Timestamp {
    row["ts"].as_str().unwrap().parse().unwrap()
}

#[test]
fn two_hosts_with_the_same_sockets_are_not_mixed() {
    let directory = TempDir::new().unwrap();
    let [alpha, beta] = [&ALPHA, &BETA].map(|run| run.write(directory.path()));
    let both = said(&NDJSON, &[&alpha, &beta]);
    assert!(!both.contains("irregular\",\"conn"), "{both}");
    for (path, run) in [(&alpha, &ALPHA), (&beta, &BETA)] {
        let alone = transitions(&said(&NDJSON, &[path]), None);
        assert!(alone.len() >= 60);
        assert!(transitions(&both, Some(run.host)) == alone);
    }
    let rows: Vec<Value> = both
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let told: Vec<&Value> = rows.iter().filter(|r| r["event"] == "transition").collect();
    let times = told.iter().map(|row| time(row));
    assert!(times.is_sorted(), "by the time of day");
    let turns = told.windows(2).filter(|w| w[0]["host"] != w[1]["host"]);
    assert!(turns.count() > 20, "the hosts take turns");
    // Each connection is one host's.
    let mut of = std::collections::BTreeMap::new();
    for row in &told {
        let host = row["host"].as_str().unwrap();
        let conn = row["conn"].as_u64().unwrap();
        assert_eq!(*of.entry(conn).or_insert(host), host, "{row}");
    }
    assert_eq!(of.len(), 50);
    let ends = rows.iter().filter(|r| r["event"] == "end");
    let ends: Vec<_> = ends.map(|r| r["host"].as_str().unwrap()).collect();
    assert_eq!(ends.len(), 2);

    let lines = said(&["trace"], &[&alpha, &beta]);
    let head: Vec<_> = lines.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head[..2], ["HOST", "PID"]);
    assert_eq!(lines.matches("OLDSTATE").count(), 1);
    assert_eq!(
        lines.lines().filter(|l| l.starts_with("beta ")).count(),
        148
    );
    assert!(!said(&["trace"], &[&alpha]).contains("HOST"));
    let csv = said(&["trace", "--format", "csv"], &[&alpha, &beta]);
    assert!(csv.lines().next().unwrap().ends_with(",host"), "{csv}");
    assert_eq!(csv.lines().count(), 1 + told.len());
}

#[test]
fn the_order_of_the_files_does_not_matter() {
    let directory = TempDir::new().unwrap();
    let later = Run {
        id: 0xa2,
        began_ms: 60_000,
        ..ALPHA
    };
    let [a, b, c] = [&ALPHA, &BETA, &later].map(|run| run.write(directory.path()));
    for arguments in [
        &NDJSON[..],
        &["trace", "-w"],
        &REPORT,
        &["report"],
        &["report", "--format", "html"],
        &["hist", "--by", "host"],
        &["hist", "-i", "1"],
        &DIAGNOSE,
        &["diagnose"],
    ] {
        let one = said(arguments, &[&a, &b, &c]);
        let other = said(arguments, &[&c, &b, &a]);
        assert!(one.len() > 200, "{arguments:?}: {one}");
        assert_eq!(one, other, "{arguments:?}");
    }
}

/// All numbers of a report that are counts, by their path.
fn counts(report: &Value) -> Vec<(String, u64)> {
    fn walk(path: &str, value: &Value, out: &mut Vec<(String, u64)>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    walk(&format!("{path}/{key}"), value, out);
                }
            }
            Value::Number(number) => out.extend(number.as_u64().map(|n| (path.to_owned(), n))),
            _ => {}
        }
    }
    let mut out = Vec::new();
    for key in [
        "connections",
        "closed_first",
        "states",
        "time_wait",
        "ended",
        "completeness",
    ] {
        walk(key, &report[key], &mut out);
    }
    // Of dwells only the numbers of them add up.
    out.retain(|(path, _)| !path.ends_with("_us"));
    out
}

#[test]
fn a_report_of_both_is_the_sum_of_the_reports() {
    let directory = TempDir::new().unwrap();
    let [alpha, beta] = [&ALPHA, &BETA].map(|run| run.write(directory.path()));
    let both = json(&REPORT, &[&alpha, &beta]);
    let [one, two] = [&alpha, &beta].map(|path| json(&REPORT, &[path]));
    let sums: Vec<_> = counts(&one)
        .into_iter()
        .zip(counts(&two))
        .map(|((path, one), (same, two))| {
            assert_eq!(path, same);
            (path, one + two)
        })
        .collect();
    assert!(sums.len() > 60);
    assert_eq!(counts(&both), sums);
    assert_eq!(both["connections"]["opened"]["active"], 50);
    // The extremes are of all.
    let established = |report: &Value, key| report["states"]["ESTABLISHED"]["dwell"][key].clone();
    assert_eq!(established(&both, "min_us"), established(&one, "min_us"));
    assert_eq!(established(&both, "max_us"), established(&two, "max_us"));
    assert_eq!(both["host"], "alpha, beta");

    // Rows of a key are added up; each says what both have.
    let rows = both["groups"]["remote_port"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["connections"], 50);

    // Each host is there, as it was alone.
    let hosts = both["hosts"].as_array().unwrap();
    for (host, alone) in hosts.iter().zip([&one, &two]) {
        for (key, value) in alone.as_object().unwrap() {
            if key != "close_wait" {
                assert_eq!(&host[key], value, "{key}");
            }
        }
        assert_eq!(host["recordings"].as_array().unwrap().len(), 1);
        assert_eq!(host["gaps"], serde_json::json!([]));
    }
    let waiting = both["close_wait"]["sockets"].as_array().unwrap();
    let whose: Vec<_> = waiting.iter().map(|s| s["host"].as_str()).collect();
    assert_eq!(whose.len(), 2);
    assert!(whose.contains(&Some("alpha")) && whose.contains(&Some("beta")));
    assert!(one["hosts"].is_null());

    let text = said(&["report"], &[&alpha, &beta]);
    assert!(
        text.starts_with("TCP report of 2 hosts, 2 recordings\n"),
        "{text}"
    );
    assert!(
        text.contains("\nalpha ") && text.contains("\nbeta "),
        "{text}"
    );
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    let html = said(&["report", "--format", "html"], &[&alpha, &beta]);
    assert!(html.contains("<h2>Hosts</h2>"));
}

#[test]
fn time_that_nobody_recorded_is_told() {
    let directory = TempDir::new().unwrap();
    let runs = [
        ALPHA,
        Run {
            id: 0xa2,
            began_ms: 60_000,
            ..ALPHA
        },
        // While the one before still runs.
        Run {
            id: 0xa3,
            began_ms: 60_100,
            ..ALPHA
        },
    ];
    let paths = runs.each_ref().map(|run| run.write(directory.path()));
    let files = paths.each_ref().map(PathBuf::as_path);
    let report = json(&REPORT, &files);
    let host = &report["hosts"][0];
    assert_eq!(report["hosts"].as_array().unwrap().len(), 1);
    assert_eq!(host["recordings"].as_array().unwrap().len(), 3);
    let alone = json(&REPORT, &files[..1])["window"]["seconds"]
        .as_f64()
        .unwrap();
    let near = |value: &Value, expected: f64| {
        let value = value.as_f64().unwrap();
        assert!((value - expected).abs() < 1e-6, "{value}, not {expected}");
    };
    near(&host["gaps"][0]["seconds"], 60.0 - alone);
    assert_eq!(host["gaps"].as_array().unwrap().len(), 1);
    near(&host["overlaps"][0]["seconds"], alone - 0.1);
    // Rates are of the time that somebody recorded.
    near(&report["window"]["seconds"], 2.0 * alone + 0.1);
    assert_eq!(report["connections"]["opened"]["active"], 60);
    let text = said(&["report"], &files);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("alpha: nothing was recorded from"), "{text}");
    assert!(flat.contains("alpha: recorded twice from"), "{text}");
    // One host: no column.
    assert!(!said(&NDJSON, &files).contains("\"event\":\"transition\",\"host\""));
    assert!(!said(&["trace"], &files).contains("HOST"));
}

#[test]
fn a_file_that_is_given_twice_is_read_once() {
    let directory = TempDir::new().unwrap();
    let alpha = ALPHA.write(directory.path());
    let once = said(&NDJSON, &[&alpha]);
    let link = directory.path().join("link.tdw");
    std::os::unix::fs::symlink(&alpha, &link).unwrap();
    for again in [&alpha, &link] {
        let output = tcpdwell(&NDJSON, &[&alpha, again]);
        assert!(
            stderr(&output).contains("given twice"),
            "{}",
            stderr(&output)
        );
        assert_eq!(String::from_utf8_lossy(&output.stdout), once);
    }
    // A copy is another file: its blocks are known.
    let copy = directory.path().join("copy.tdw");
    fs::copy(&alpha, &copy).unwrap();
    let output = tcpdwell(&NDJSON, &[&alpha, &copy]);
    assert!(
        stderr(&output).contains("come again"),
        "{}",
        stderr(&output)
    );
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(transitions(&told, None), transitions(&once, None));
}

#[test]
fn hosts_of_one_name_are_two() {
    let directory = TempDir::new().unwrap();
    let clone = Run {
        machine: "cccccccccccc",
        id: 0xc1,
        ..ALPHA
    };
    let [one, two] = [&ALPHA, &clone].map(|run| run.write(directory.path()));
    let report = json(&REPORT, &[&one, &two]);
    let hosts = report["hosts"].as_array().unwrap();
    let names: Vec<_> = hosts.iter().map(|h| h["host"].as_str().unwrap()).collect();
    assert_eq!(names, ["alpha (aaaaaaaa)", "alpha (cccccccc)"]);
}

#[test]
fn histograms_are_added_up() {
    let directory = TempDir::new().unwrap();
    let [alpha, beta] = [&ALPHA, &BETA].map(|run| run.write(directory.path()));
    let state = ["hist", "--state", "established"];
    let both = said(&state, &[&alpha, &beta]);
    assert!(both.contains("count=50 min=3000 "), "{both}");
    assert!(both.contains(" max=250000"), "{both}");
    let by = said(&[&state[..], &["--by", "host"]].concat(), &[&alpha, &beta]);
    for (host, count) in [("alpha", 20), ("beta", 30)] {
        let of = by.split(&format!("state = ESTABLISHED {host}\n")).nth(1);
        let summary = of.unwrap().lines().find(|l| l.contains("count=")).unwrap();
        assert!(summary.contains(&format!("count={count} ")), "{by}");
    }
    let waiting = said(&["hist", "--state", "close-wait"], &[&alpha, &beta]);
    assert!(
        waiting.contains("CLOSE_WAIT, still open: count=2 "),
        "{waiting}"
    );
}

#[test]
fn findings_say_on_which_host() {
    let directory = TempDir::new().unwrap();
    let [alpha, beta] = [&ALPHA, &BETA].map(|run| run.write(directory.path()));
    let said_of_both = json(&DIAGNOSE, &[&alpha, &beta]);
    let findings = said_of_both["findings"].as_array().unwrap();
    let folklore: Vec<_> = findings
        .iter()
        .filter(|f| f["rule"] == "folklore")
        .collect();
    assert_eq!(folklore.len(), 1, "{said_of_both:#}");
    assert_eq!(folklore[0]["host"], "beta");
    assert_eq!(said_of_both["recordings"].as_array().unwrap().len(), 2);
    let text = said(&["diagnose"], &[&alpha, &beta]);
    assert!(
        text.contains("== beta, ") && text.contains("== alpha, "),
        "{text}"
    );
}

#[test]
fn what_comes_after_the_end_is_not_read() {
    let directory = TempDir::new().unwrap();
    let long = Run {
        connections: 3000,
        ..ALPHA
    };
    let path = long.write(directory.path());
    let stamp = |ms: i64| {
        let ns = i128::from(NOON) + i128::from(ms) * 1_000_000;
        Timestamp::from_nanosecond(ns).unwrap().to_string()
    };
    let (since, until) = (stamp(2_000), stamp(4_000));
    let window = [&NDJSON[..], &["--since", &since, "--until", &until]].concat();
    let within = transitions(&said(&window, &[&path]), None);
    let all = transitions(&said(&NDJSON, &[&path]), None);
    let wanted = |row: &&Value| {
        let bounds = [&since, &until].map(|text| text.parse::<Timestamp>().unwrap());
        time(row) >= bounds[0] && time(row) < bounds[1]
    };
    let expected: Vec<_> = all.iter().filter(wanted).cloned().collect();
    assert!(expected.len() > 900);
    assert!(
        within == expected,
        "with what happened before --since known"
    );

    // The last third is damaged, and that is nobody's concern.
    let mut bytes = fs::read(&path).unwrap();
    let from = bytes.len() * 2 / 3;
    bytes[from..].fill(0x55);
    let broken = directory.path().join("broken.tdw");
    fs::write(&broken, &bytes).unwrap();
    let beta = BETA.write(directory.path());
    let strict = [&window[..], &["--strict"]].concat();
    for files in [&[broken.as_path()][..], &[&broken, &beta]] {
        let output = tcpdwell(&strict, files);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let host = (files.len() > 1).then_some("alpha");
        assert!(transitions(&told, host) == expected);
    }
}
