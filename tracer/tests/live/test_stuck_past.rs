//! A recording of stuck sockets says of a moment what `stuck` said then.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{
    clock,
    skip::{Noise, turn},
    test_stuck::{EXACT_NS, Stuck, TICKS_NS, generations, judge, looks, stuck},
    tool::{PATIENCE, Tool, binary},
};

/// Records a namespace, looking so often.
fn record(path: &Path, netns: u32, look_every: &str) -> Tool {
    let mut command = Command::new(binary());
    command.args(["record", "--look-every", look_every, "-o"]);
    command.arg(path).args(["--netns", &netns.to_string()]);
    Tool::attached(&mut command)
}

/// Waits until a recording under way tells why each of so many sockets is stuck.
fn until_told(path: &Path, sockets: usize) {
    let is_known = |socket: &Value| socket["cause"] != "unknown";
    let told = clock::until(PATIENCE, || {
        let look = stuck_from(path, None);
        let there = look["sockets"].as_array().unwrap();
        (there.len() == sockets && there.iter().all(is_known)).then_some(())
    });
    assert!(told.is_some(), "{:#}", stuck_from(path, None));
}

/// What a recording says was stuck, then or at its end.
fn stuck_from(path: &Path, at: Option<&str>) -> Value {
    let mut command = Command::new(binary());
    command.args(["stuck", "--format", "json", "--older-than", "0"]);
    command.arg("--from").arg(path);
    if let Some(at) = at {
        command.args(["--at", at]);
    }
    let looks = looks(&Tool::started(&mut command).wait());
    let [look] = &looks[..] else {
        panic!("{looks:#?}");
    };
    look.clone()
}

fn by_cookie(look: &Value) -> Vec<&Value> {
    let mut sockets: Vec<_> = look["sockets"].as_array().unwrap().iter().collect();
    sockets.sort_by_key(|socket| socket["cookie"].as_u64());
    sockets
}

/// Fails unless both looks say the same of each socket, but for what the recording knows better: it has
/// seen some come.
fn same(then: &Value, live: &Value) {
    for (then, live) in by_cookie(then).into_iter().zip(by_cookie(live)) {
        for key in [
            "cookie",
            "state",
            "laddr",
            "lport",
            "raddr",
            "rport",
            "netns",
            "uid",
            "cause",
            "unread_bytes",
            "holders",
            "descriptors",
        ] {
            assert_eq!(then[key], live[key], "{key}: {then:#} {live:#}");
        }
        assert!(
            live["pid"].is_null() || then["pid"] == live["pid"],
            "{then:#}"
        );
        // Those to which is still sent are heard of, and sent to again.
        if live["cause"] != "draining" {
            assert_eq!(then["evidence"], live["evidence"]);
            let ages = [then, live].map(|socket| socket["age_us"].as_u64().unwrap());
            let differ = ages[0].abs_diff(ages[1]) * 1000;
            assert!(differ <= TICKS_NS + EXACT_NS, "{then:#} {live:#}");
        }
    }
}

#[test]
fn a_recording_says_what_stuck_said() {
    let Some(_turn) = turn("a_recording_says_what_stuck_said", Noise::Storm) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("of-a-test.tdw");
    generations(
        |netns, ledger| {
            // What was there is told, although nothing happens.
            let idle = directory.path().join("idle.tdw");
            let recorder = record(&idle, netns, "0");
            until_told(&idle, ledger.len());
            recorder.interrupt().assert_success();
            record(&path, netns, "1s")
        },
        |recorder, netns, ledger, before| {
            until_told(&path, ledger.len());
            let live = Tool::started(&mut stuck(&["--older-than", "0"], netns)).wait();
            let live = &looks(&live)[0];
            let finished = recorder.interrupt();
            finished.assert_success();
            assert_eq!(finished.completeness().lost, 0);

            let exact = |s: &Stuck| ledger[before..].iter().any(|l| l.remote == s.remote);
            let then = stuck_from(&path, live["ts"].as_str());
            judge(&then, ledger, exact);
            same(&then, live);
            assert_eq!(then["ts"], live["ts"]);
            let end = stuck_from(&path, None);
            judge(&end, ledger, exact);
            assert!(end["mono_ns"].as_u64() > live["mono_ns"].as_u64());
        },
    );
}
