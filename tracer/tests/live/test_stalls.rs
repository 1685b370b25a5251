//! A reader that stands still, a namespace that goes.

use std::{fs, thread, time::Duration};

use rustix::process::Signal;
use tracer::enrich::state_in;

use crate::{
    clock::{mono_ns, until},
    compare, hidden,
    skip::{Noise, scaled, turn},
    small::{SMALL, namespace, of_netns},
    storm,
    tool::{PATIENCE, Tool, trace},
    workload::Lane,
};

/// The letter of a process's state.
fn state(tool: &Tool) -> Option<u8> {
    state_in(&fs::read(format!("/proc/{}/stat", tool.id())).unwrap())
}

#[test]
fn a_reader_that_stands_still_is_told_of_in_numbers() {
    let name = "a_reader_that_stands_still_is_told_of_in_numbers";
    let Some(_turn) = turn(name, Noise::Storm) else {
        return;
    };
    stands_still(Duration::from_secs(5), "256K", scaled(2000));
}

/// Longer than anything in the tool waits, under a load that its usual ring has no room for:
/// `cargo test -p tracer --test live half_a_minute -- --ignored --nocapture`.
#[test]
#[ignore = "takes a minute; run by hand when reading the ring changes"]
fn a_reader_that_stands_still_for_half_a_minute() {
    let name = "a_reader_that_stands_still_for_half_a_minute";
    let Some(_turn) = turn(name, Noise::Storm) else {
        return;
    };
    stands_still(Duration::from_secs(30), "16M", scaled(40_000));
}

/// A storm of twice so many connections while nobody reads for so long, at least: what the ring can't
/// hold is counted, nothing that is told is wrong, and what comes after is whole.
fn stands_still(stall: Duration, ring: &str, count: usize) {
    let during = Lane { test: 18, space: 0 };
    let after = Lane { test: 18, space: 1 };
    let spaces = (storm::namespace(during, count), namespace(after, SMALL));
    let inodes = (spaces.0.inode, spaces.1.inode);
    let netns = format!("{},{}", inodes.0, inodes.1);
    let arguments = ["--format", "ndjson", "--ring-size", ring, "--netns", &netns];
    let tool = Tool::attached(&mut trace(arguments));
    tool.signal(Signal::STOP);
    until(PATIENCE, || (state(&tool) == Some(b'T')).then_some(())).expect("a stop");
    let stopped = mono_ns();
    let stormed = spaces.0.run();
    while mono_ns() - stopped < u64::try_from(stall.as_nanos()).unwrap() {
        thread::sleep(Duration::from_millis(20));
    }
    tool.signal(Signal::CONT);
    // The ring is empty again: what comes now has room.
    tool.settle();
    let ledger = spaces.1.run();
    // Not until the last TIME_WAIT is over: nobody knows how many ends are among the lost.
    tool.settle();
    let finished = tool.interrupt();
    finished.assert_success();
    let completeness = finished.completeness();
    let rows = finished.rows();
    assert!(completeness.ring_full > 0, "{completeness:?}");

    let storm_rows = of_netns(&rows, &[inodes.0], during);
    let verdict = compare::compare(&stormed, &storm_rows);
    assert!(
        (1..=completeness.lost).contains(&verdict.missing),
        "what is missing is lost: {verdict:?} {completeness:?}"
    );
    let of_after = of_netns(&rows, &[inodes.1], after);
    let verdict = compare::compare(&ledger, &of_after);
    eprintln!("after the stall: {verdict:?}, {completeness:?}");
    if verdict.missing > 0 {
        hidden::exact(&ledger, &of_after, &completeness);
    }
    compare::every_fate_is_known(&of_after);
}

/// A namespace that goes takes its TIME_WAITs with it, and says so; another that is looked at goes on.
#[test]
fn a_namespace_that_goes_ends_what_was_in_it() {
    let Some(_turn) = turn("a_namespace_that_goes_ends_what_was_in_it", Noise::Little) else {
        return;
    };
    let lanes = [0, 1].map(|space| Lane { test: 19, space });
    let spaces = lanes.map(|lane| namespace(lane, SMALL));
    let inodes = spaces.each_ref().map(|space| space.inode);
    let netns = inodes.map(|inode| inode.to_string()).join(",");
    let tool = Tool::attached(&mut trace(["--format", "ndjson", "--netns", &netns]));
    let mut ledgers = Vec::new();
    // The first is gone before the second begins.
    for space in spaces {
        let ledger = space.run();
        let before: usize = ledgers.iter().map(crate::ledger::Ledger::time_waits).sum();
        tool.purged(before + ledger.time_waits());
        ledgers.push(ledger);
    }
    let finished = tool.interrupt();
    finished.assert_success();
    let completeness = finished.completeness();
    assert_eq!(completeness.lost, 0, "{completeness:?}");
    let all = finished.rows();
    for ((lane, inode), ledger) in lanes.into_iter().zip(inodes).zip(&ledgers) {
        let rows = of_netns(&all, &[inode], lane);
        let (ledger, rows) = hidden::exact(ledger, &rows, &completeness);
        let ends = rows.iter().filter(|row| row.from == "TIME_WAIT");
        let purged = ends.filter(|row| row.end_reason.as_deref() == Some("purged"));
        assert_eq!(purged.count(), ledger.time_waits());
    }
}
