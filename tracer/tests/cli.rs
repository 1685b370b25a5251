//! What can be typed, as a user meets it: refusals name the option and what is allowed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tracer::{
    engine::{Event, EventBody, FourTuple, Mono, SockId, StateChange, TcpState},
    recording::{Meta, Progress, Segment},
};

fn tcpdwell(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tcpdwell"))
        .args(arguments)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn bad_values_are_refused_with_what_is_allowed() {
    for (arguments, option, allowed) in [
        (&["--ring-size", "3"][..], "--ring-size", "power of two"),
        (&["--lport", "70000"], "--lport", "1 to 65535"),
        (&["-L", "80,0"], "--lport", "1 to 65535"),
        (&["-D", "http"], "--rport", "1 to 65535"),
        (&["--raddr", "10.0.0.0/33"], "--raddr", "10.0.0.0/8"),
        (&["--laddr", "nowhere"], "--laddr", "10.0.0.0/8"),
        (&["--state", "TIME_WEIGHT"], "--state", "TIME_WAIT"),
        (&["--duration", "0"], "--duration", "more than zero"),
        (&["-d", "soon"], "--duration", "more than zero"),
        (&["-p", "abc"], "--pid", "from 1 on"),
        (&["--comm", ""], "--comm", "1 to 15 bytes"),
        (&["--stop-after", "0"], "--stop-after", "from 1 to"),
        (&["--cgroup", "/etc"], "--cgroup", "its id"),
        (&["--netns", "/tmp"], "--netns", "ip netns"),
        (&["-4", "-6"], "--ipv4", "--ipv6"),
        (&["--stop-after", "0"], "--stop-after", "0"),
        (&["--format", "xml"], "--format", "ndjson"),
        (&["--netns", "none-such"], "--netns", "ip netns"),
        (&["-p", "0"], "--pid", "0"),
        (&["--state-source", "kprobe"], "--state-source", "tp_btf"),
    ] {
        let output = tcpdwell(&[&["trace"], arguments].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(option), "{arguments:?}: {said}");
        assert!(said.contains(allowed), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (arguments, word) in [
        (&["--interval", "0.5"][..], "at least 1s"),
        (&["--count", "3"], "--interval"),
        (&["--cumulative"], "--interval"),
        (&["-i", "1", "--count", "0"], "--count"),
        (&["-i", "1", "--count", "2", "-d", "5"], "--duration"),
        (&["--by", "moon"], "closed_first"),
        (&["--tw-source", "magic"], "sampling"),
    ] {
        let output = tcpdwell(&[&["hist"], arguments].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}

#[test]
fn top_wants_a_terminal_to_itself() {
    for (arguments, word) in [
        (&[][..], "'report'"),
        (&["-o", "x.txt"], "--output"),
        (&["--state", "CLOSE_WAIT"], "--state"),
        (&["-i", "0.5"], "at least 1s"),
        (&["--", "true"], "another one"),
        (&["--from", "x.tdw", "-i", "2"], "--interval"),
        (&["--from", "x.tdw", "--strict"], "--strict"),
        (&["--from", "x.tdw"], "'hist -i 1'"),
    ] {
        let output = tcpdwell(&[&["top"], arguments].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn recordings_take_no_options_of_the_kernel() {
    for (arguments, word) in [
        (
            &["trace", "--from", "x.tdw", "--ring-size", "16M"][..],
            "--ring-size",
        ),
        (&["trace", "--from", "x.tdw", "-d", "5"], "--duration"),
        (
            &["trace", "--from", "x.tdw", "--tw-source", "timer"],
            "--tw-source",
        ),
        (&["trace", "--from", "x.tdw", "--", "true"], "COMMAND"),
        (
            &["hist", "-i", "1", "--count", "2", "--from", "x.tdw"],
            "--count",
        ),
        (&["trace", "--strict"], "--from"),
        (&["trace", "--since", "2026-01-01 10:00"], "--from"),
        (
            &["trace", "--from", "x.tdw", "--since", "noon"],
            "must be like",
        ),
        (&["record"], "--output"),
        (&["record", "-o", "x.tdw", "--comm", "nginx"], "--comm"),
        (
            &["record", "-o", "x.tdw", "--keep-size", "1G"],
            "--rotate-size",
        ),
        (
            &["record", "-o", "x.tdw", "--rotate-size", "1K"],
            "at least 64K",
        ),
        (
            &["record", "-o", "x.tdw", "--compress-level", "0"],
            "--compress-level",
        ),
    ] {
        let output = tcpdwell(arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}

#[test]
fn what_is_no_recording_is_refused() {
    for (file, word) in [
        ("/no/such/file.tdw", "/no/such/file.tdw"),
        ("/proc/self/status", "no recording"),
    ] {
        let output = tcpdwell(&["trace", "--from", file]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(word), "{said}");
        assert!(output.stdout.is_empty());
    }
}

/// A recording of some connections of a host of this name.
fn recording(directory: &Path, id: u32, host: &str) -> PathBuf {
    let meta = Meta {
        recording: format!("{id:08x}"),
        host: host.to_owned(),
        ..Meta::default()
    };
    let path = directory.join(host);
    let file = fs::File::create(&path).unwrap();
    let mut segment = Segment::begin(file, 1, &meta, Progress::default()).unwrap();
    for sock in 1..=5 {
        for (from, to) in [
            (TcpState::Close, TcpState::SynSent),
            (TcpState::SynSent, TcpState::Established),
        ] {
            let change = StateChange {
                sock: SockId(sock),
                cookie: sock,
                from,
                to,
                tuple: FourTuple::default(),
                netns: 1,
                pid: 0,
                twin: false,
                unwanted: false,
                evidence: None,
                minisock: None,
            };
            let body = EventBody::StateChange(change);
            let at = Mono(1000 * sock);
            segment.push(&Event { at, body }).unwrap();
        }
    }
    segment.end().unwrap();
    path
}

#[test]
fn recordings_of_two_hosts_are_never_mixed() {
    let directory = tempfile::tempdir().unwrap();
    // The same sockets and cookies on both.
    let [one, two] = [(1, "one"), (2, "two")].map(|(id, host)| {
        let path = recording(directory.path(), id, host);
        path.to_str().unwrap().to_owned()
    });
    let output = tcpdwell(&[
        "trace", "--format", "ndjson", "--strict", "--from", &one, &two,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = text
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    let (mut hosts, mut conns, mut irregular) = (Vec::new(), Vec::new(), 0);
    for row in rows {
        match row["event"].as_str().unwrap() {
            "start" => hosts.push(row["host"].as_str().unwrap().to_owned()),
            "transition" => conns.push(row["conn"].as_u64().unwrap()),
            "irregular" => irregular += 1,
            _ => {}
        }
    }
    assert_eq!(
        (hosts, irregular),
        (vec!["one".to_owned(), "two".to_owned()], 0)
    );
    let each: BTreeMap<u64, usize> = conns.iter().fold(BTreeMap::new(), |mut each, conn| {
        *each.entry(*conn).or_default() += 1;
        each
    });
    assert_eq!(each, (1..=10).map(|conn| (conn, 2)).collect());
    // `export` is the same rows.
    let out = directory.path().join("out.ndjson");
    let export = [
        "export",
        &one,
        &two,
        "--to",
        "ndjson",
        "-o",
        out.to_str().unwrap(),
    ];
    let exported = tcpdwell(&export);
    assert_eq!(exported.status.code(), Some(0), "{}", stderr(&exported));
    assert_eq!(fs::read_to_string(&out).unwrap(), text);
    let csv = tcpdwell(&["export", &one, &two, "--to", "csv"]).stdout;
    assert_eq!(String::from_utf8(csv).unwrap().lines().count(), 1 + 2 * 10);
}

#[test]
fn too_many_values_are_refused() {
    let many = vec!["10.0.0.1"; 17].join(",");
    let output = tcpdwell(&["trace", "--raddr", &many]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--raddr: 17 values given, at most 16"));
}

#[test]
fn shells_and_man_know_the_verbs() {
    let output = tcpdwell(&["completions", "bash"]);
    assert_eq!(output.status.code(), Some(0));
    let script = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(script.contains("--older-than") && script.contains("diagnose"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    assert_eq!(tcpdwell(&["man", path]).status.code(), Some(0));
    let page = std::fs::read_to_string(directory.path().join("tcpdwell-hist.1")).unwrap();
    assert!(page.contains("cumulative"));
    let missing = directory.path().join("no/such");
    let output = tcpdwell(&["man", missing.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no/such"));
}

#[test]
fn nothing_typed_shows_the_verbs() {
    let output = tcpdwell(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("trace"));
    let output = tcpdwell(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for verb in [
        "trace",
        "hist",
        "stuck",
        "  top ",
        "record",
        "export",
        "verify",
        "repair",
        "report",
        "diagnose",
        "check",
        "completions",
        "man",
    ] {
        assert!(help.contains(verb));
    }
    assert!(!help.contains("serve"), "--help promises serve");
}
