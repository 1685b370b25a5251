//! A storm: whatever does not arrive is accounted for, and nothing that arrives is wrong.

use std::collections::BTreeMap;

use crate::{
    clock, compare, hidden,
    observed::Completeness,
    row::Row,
    skip::{Noise, scaled, turn},
    small::of_netns,
    storm::namespace,
    tool::{Tool, trace},
    workload::Lane,
};

/// Makes a storm of twice so many connections under a ring of this size.
fn storm(ring: &str, count: usize, test: u8) -> (Completeness, compare::Verdict, usize) {
    let lane = Lane { test, space: 0 };
    let space = namespace(lane, count);
    let inode = space.inode;
    let netns = inode.to_string();
    let tool = Tool::attached(&mut trace([
        "--format",
        "ndjson",
        "--ring-size",
        ring,
        "--netns",
        &netns,
    ]));
    let (ledger, span) = clock::timed(|| space.run());
    tool.purged(ledger.time_waits());
    let finished = tool.interrupt();
    finished.assert_success();
    let completeness = finished.completeness();
    let rows = finished.rows();
    let rows = of_netns(&rows, &[inode], lane);
    let verdict = compare::compare(&ledger, &rows);
    eprintln!(
        "storm, ring {ring}: {} connections in {} ms, {} transitions expected, {} rows, \
         {verdict:?}, {completeness:?}",
        2 * count,
        (span.after - span.before) / 1_000_000,
        ledger.transitions(),
        rows.len(),
    );
    if completeness.lost == 0 {
        let (ledger, rows) = hidden::exact(&ledger, &rows, &completeness);
        assert_eq!(
            closed_first(&rows),
            ledger.closed_first(),
            "who closed first"
        );
        compare::every_fate_is_known(&rows);
        let waiting = compare::compare(&ledger, &rows).late_missing;
        assert_eq!(waiting, 0, "the end of every TIME_WAIT");
    } else {
        // All that can fill the ring is ours; a nested run may have been anybody's. A lost end of a
        // TIME_WAIT may have been the only one to tell its beginning, too; and a socket that goes into
        // a minisock in FIN_WAIT2 tells no transition.
        let ours = completeness.ring_full + completeness.map_full;
        let silent = ledger.time_waits() as u64;
        let missing = verdict.missing + verdict.late_missing;
        assert!(
            verdict.missing <= completeness.lost && ours <= missing + silent,
            "what is missing is lost, and the other way round: {verdict:?} {completeness:?}"
        );
    }
    (completeness, verdict, ledger.ends.len())
}

/// How many connections were closed first by whom, as told on the change to CLOSE of their full
/// socket, or into TIME_WAIT.
fn closed_first(rows: &[&Row]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let ends = row.to == "TIME_WAIT" || row.to == "CLOSE" && row.from != "TIME_WAIT";
        if let (true, Some(first)) = (ends, &row.closed_first) {
            *counts.entry(first.clone()).or_default() += 1;
        }
    }
    counts
}

/// A hundred thousand, closed by either side. The ends of all TIME_WAITs come at once, when the
/// namespace goes: the ring must hold them.
#[test]
fn storm_of_a_hundred_thousand() {
    let Some(_turn) = turn("storm_of_a_hundred_thousand", Noise::Storm) else {
        return;
    };
    storm_of_which_nothing_is_lost("64M", scaled(50_000), 11);
}

/// Twice as many: `cargo test -p tracer --test live two_hundred_thousand -- --ignored --nocapture`.
#[test]
#[ignore = "takes some minutes; run by hand when the kernel programs or the ring change"]
fn storm_of_two_hundred_thousand() {
    let Some(_turn) = turn("storm_of_two_hundred_thousand", Noise::Storm) else {
        return;
    };
    storm_of_which_nothing_is_lost("128M", scaled(100_000), 11);
}

fn storm_of_which_nothing_is_lost(ring: &str, count: usize, test: u8) {
    let (completeness, verdict, ends) = storm(ring, count, test);
    assert_eq!(completeness.lost, 0, "{completeness:?}");
    assert_eq!(
        verdict.complete + verdict.partial,
        ends as u64,
        "{verdict:?}"
    );
}

#[test]
fn storm_accounts_for_everything() {
    let Some(_turn) = turn("storm_accounts_for_everything", Noise::Storm) else {
        return;
    };
    let count = scaled(12_000);
    let (completeness, verdict, ends) = storm("16M", count, 3);
    if completeness.lost == 0 {
        assert_eq!(verdict.complete + verdict.partial, ends as u64);
    }
    // A ring far too small. A slow machine may keep up even so, but not with a page of records.
    let (mut tiny, mut verdict, _) = storm("64K", count, 3);
    if tiny.lost == 0 {
        let page = rustix::param::page_size().to_string();
        (tiny, verdict, _) = storm(&page, count, 3);
    }
    assert!(tiny.ring_full > 0, "{tiny:?}");
    assert!(verdict.missing + verdict.late_missing > 0, "{verdict:?}");
}
