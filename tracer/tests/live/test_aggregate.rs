//! What the kernel adds up by itself is what the stream comes to: the same lives under both, at once.

use std::process::Command;

use serde_json::Value;

use crate::{
    hidden,
    lives::{GROUPS, live, namespaces},
    observed::Finished,
    skip::{Noise, turn},
    small::{SMALL, namespace},
    tool::{Tool, binary, trace},
    workload::Lane,
};

/// Two programs on one tracepoint read the clock one after the other; a CPU may be taken away between.
const APART_US: u64 = 20_000;

fn report<'a>(args: impl IntoIterator<Item = &'a str>) -> Tool {
    let mut command = Command::new(binary());
    command.args(["report", "--format", "json"]).args(args);
    Tool::attached(&mut command)
}

/// What both count of one load of many kinds of lives. Again, where the machine hid something.
fn both(test: u8, groups: usize, more: &[&str]) -> (Value, Value) {
    let mut runs = (0..3).map(|_| once(test, groups, more));
    let (told, added_up) = runs
        .find(|runs| {
            let hid = |f: &Finished| hidden::happened(&f.completeness());
            !hid(&runs.0) && !hid(&runs.1)
        })
        .expect("a run without anything irregular");
    let json = |finished: &Finished| serde_json::from_slice(&finished.stdout).unwrap();
    (json(&told), json(&added_up))
}

fn once(test: u8, groups: usize, more: &[&str]) -> (Finished, Finished) {
    // Not those that wait for a minute.
    let spaces = namespaces(&GROUPS[..groups], test);
    let listed: Vec<String> = spaces.iter().map(|s| s.inode.to_string()).collect();
    let netns = listed.join(",");
    let mut args = vec!["--netns", &netns];
    args.extend(more);
    let streams = report(args.iter().copied());
    let adds_up = report(args.iter().copied().chain(["--aggregate"]));
    // Who tells when the namespaces are gone.
    let watch = Tool::attached(&mut trace(["--format", "ndjson", "--netns", &netns]));
    let (_, waits) = live(spaces);
    watch.purged(waits);
    drop(watch);
    let finished = (streams.interrupt(), adds_up.interrupt());
    for finished in [&finished.0, &finished.1] {
        finished.assert_success();
        assert_eq!(
            finished.completeness().lost,
            0,
            "{}",
            finished.diagnostics()
        );
    }
    finished
}

/// All that is counted, and to the unit.
fn assert_equal(told: &Value, added_up: &Value) {
    for key in ["connections", "closed_first", "time_wait", "ended"] {
        assert_eq!(told[key], added_up[key], "{key}");
    }
    for (state, told) in told["states"].as_object().unwrap() {
        let added_up = &added_up["states"][state];
        for key in [
            "entered",
            "left",
            "open",
            "found",
            "entered_unseen",
            "left_unseen",
        ] {
            assert_eq!(told[key], added_up[key], "{state} {key}");
        }
        let (told, added_up) = (&told["dwell"], &added_up["dwell"]);
        assert_eq!(told["count"], added_up["count"], "{state}");
        // One value more or less on one side of the median may be the next larger.
        for key in ["min_us", "mean_us"] {
            let (Some(told), Some(added_up)) = (told[key].as_u64(), added_up[key].as_u64()) else {
                assert_eq!(told[key], added_up[key], "{state} {key}");
                continue;
            };
            let apart = told.abs_diff(added_up);
            assert!(
                apart <= APART_US + told / 100,
                "{state} {key}: told {told}, added up {added_up}"
            );
        }
    }
    for key in ["complete", "unknown_starts"] {
        let of = |report: &Value| report["completeness"][key].clone();
        assert_eq!(of(told), of(added_up), "{key}");
    }
}

#[test]
fn what_the_kernel_adds_up_is_what_it_tells() {
    let name = "what_the_kernel_adds_up_is_what_it_tells";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    let (told, added_up) = both(18, 3, &[]);
    assert_equal(&told, &added_up);
    let opened = &added_up["connections"]["opened"];
    assert!(opened["active"].as_u64().unwrap() > 10, "{opened}");
    assert_eq!(added_up["hooks"]["aggregate"], "kernel");
    assert_eq!(added_up["hooks"]["time_wait"], told["hooks"]["time_wait"]);
    for unknown in ["process", "local_port", "remote", "remote_port"] {
        assert!(added_up["groups"][unknown].is_null(), "{unknown}");
    }
    assert!(added_up["close_wait"]["sockets"].is_null());
}

#[test]
fn an_opening_that_is_not_wanted_is_taken_back() {
    let name = "an_opening_that_is_not_wanted_is_taken_back";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    // Whose remote port is not known at its opening: a child's.
    let (told, added_up) = both(19, 1, &["--raddr", "127.19.0.0/30"]);
    assert_equal(&told, &added_up);
    let opened = &told["connections"]["opened"];
    // Of its lives some have their peer there, and the others not.
    assert!(opened["active"].as_u64().unwrap() > 0, "{opened}");
}

#[test]
fn beyond_its_bound_the_kernel_loses_and_says_so() {
    let name = "beyond_its_bound_the_kernel_loses_and_says_so";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    let space = namespace(Lane { test: 23, space: 0 }, SMALL);
    let netns = space.inode.to_string();
    let bound = ["--aggregate", "--max-connections", "64"];
    let tool = report(bound.into_iter().chain(["--netns", &netns]));
    space.run();
    let finished = tool.interrupt();
    finished.assert_success();
    // Two times 24 connections wait, and their listeners are there.
    let report: Value = serde_json::from_slice(&finished.stdout).unwrap();
    let c = finished.completeness();
    assert_eq!(report["completeness"]["lost"]["map_full"], c.map_full);
    assert_eq!(report["completeness"]["complete"], c.map_full == 0);
    for state in report["states"].as_object().unwrap().values() {
        let of = |key: &str| state[key].as_u64().unwrap_or(0);
        let (came, went) = (
            of("found") + of("entered") + of("entered_unseen"),
            of("left") + of("left_unseen") + of("open"),
        );
        if !state["open"].is_null() {
            assert_eq!(came, went, "{state}");
        }
    }
}

#[test]
fn histograms_that_the_kernel_adds_up() {
    let Some(_turn) = turn("histograms_that_the_kernel_adds_up", Noise::Little) else {
        return;
    };
    let space = namespace(Lane { test: 24, space: 0 }, SMALL);
    let netns = space.inode.to_string();
    let mut hist = Command::new(binary());
    hist.args([
        "hist",
        "--aggregate",
        "--netns",
        &netns,
        "--state",
        "established",
    ]);
    let tool = Tool::attached(&mut hist);
    let ledger = space.run();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let finished = tool.interrupt();
    finished.assert_success();
    assert_eq!(finished.completeness().lost, 0);
    let drawn = String::from_utf8(finished.stdout.clone()).unwrap();
    let stays = ledger.ends.iter().flat_map(|end| &end.steps);
    let stays = stays.filter(|step| step.from == "ESTABLISHED").count();
    if !hidden::happened(&finished.completeness()) {
        assert!(drawn.contains(&format!("count={stays} ")), "{drawn}");
    }
    assert!(drawn.starts_with("state = ESTABLISHED\n"), "{drawn}");
}

#[test]
fn what_is_not_known_can_not_be_asked_for() {
    for args in [
        ["report", "--aggregate", "--pid", "1"].as_slice(),
        &["report", "--aggregate", "--format", "html"],
        &["hist", "--aggregate", "--by", "process"],
        &["hist", "--aggregate", "--from", "nowhere"],
    ] {
        let refused = Command::new(binary()).args(args).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
    }
}
