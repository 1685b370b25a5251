//! SIGTERM and SIGHUP end every verb in order: as Ctrl-C does, with all that was seen until then.

use std::fs;

use rustix::process::Signal;

use crate::{
    observed::Finished,
    skip::{Noise, turn},
    steady::{Steady, onto, whole_lives},
    tool::{Tool, replay, verify},
};

const SIGNALS: [Signal; 2] = [Signal::TERM, Signal::HUP];

/// Connections that are there from beginning to end while it watches. One more may end as it begins.
const WATCHED: u64 = 200;

/// What a verb has written and said that is ended so while it watches a load, and the load's port.
fn ended(verb: &[&str], signal: Signal) -> (Finished, u16) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ended");
    let load = Steady::start();
    let port = load.port();
    let tool = Tool::attached(onto(verb[0], &path, port).args(&verb[1..]));
    load.more(WATCHED);
    tool.signal(signal);
    let mut finished = tool.wait();
    load.stop();
    finished.assert_success();
    let completeness = finished.completeness();
    assert_eq!(completeness.lost, 0, "{verb:?}: {completeness:?}");
    if verb[0] == "record" {
        let (code, said) = verify(&path);
        assert_eq!(code, Some(0), "{said}");
        let replayed = replay(&path, &["--format", "ndjson"]);
        assert_eq!(replayed.completeness(), completeness);
        finished.stdout = replayed.stdout;
    } else {
        finished.stdout = fs::read(&path).unwrap();
    }
    (finished, port)
}

#[test]
fn a_signal_ends_a_recording_in_order() {
    let Some(_turn) = turn("a_signal_ends_a_recording_in_order", Noise::Little) else {
        return;
    };
    for signal in SIGNALS {
        let (replayed, port) = ended(&["record"], signal);
        assert!(whole_lives(&replayed, port) >= WATCHED - 1);
    }
}

#[test]
fn a_signal_ends_a_trace_in_order() {
    let Some(_turn) = turn("a_signal_ends_a_trace_in_order", Noise::Little) else {
        return;
    };
    for signal in SIGNALS {
        let (traced, port) = ended(&["trace", "--format", "ndjson"], signal);
        assert!(whole_lives(&traced, port) >= WATCHED - 1);
        let last = traced
            .stdout
            .trim_ascii_end()
            .rsplit(|b| *b == b'\n')
            .next();
        let last: serde_json::Value = serde_json::from_slice(last.unwrap()).unwrap();
        assert_eq!(last["event"], "end", "{last}");
    }
}

#[test]
fn a_signal_ends_what_adds_up_in_order() {
    let name = "a_signal_ends_what_adds_up_in_order";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    for signal in SIGNALS {
        let (report, _) = ended(&["report", "--format", "json"], signal);
        let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
        let opened = report["connections"]["opened"]["active"].as_u64().unwrap();
        assert!(opened >= WATCHED - 1, "{report:#}");
        let (drawn, _) = ended(&["hist", "--state", "established"], signal);
        let drawn = String::from_utf8(drawn.stdout).unwrap();
        let (_, count) = drawn.split_once("count=").unwrap();
        let count: u64 = count.split(' ').next().unwrap().parse().unwrap();
        assert!(count >= WATCHED - 1, "{drawn}");
    }
}
