//! A storm: whatever does not arrive is accounted for, and nothing that arrives is wrong.

use crate::{
    clock, compare,
    observed::Completeness,
    skip::{Noise, scaled, turn},
    small::of_netns,
    storm::namespace,
    tool::{Tool, trace},
    workload::Lane,
};

/// Makes the storm under a ring of this size.
fn storm(ring: &str) -> (Completeness, compare::Verdict, usize) {
    let count = scaled(12_000);
    let lane = Lane { test: 3, space: 0 };
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
        compare::exact(&ledger, &rows);
        compare::every_fate_is_known(&rows);
        assert_eq!(verdict.late_missing, 0, "the end of every TIME_WAIT");
    }
    // All that can fill the ring is ours; a nested run may have been anybody's. A lost end of a
    // TIME_WAIT may have been the only one to tell its beginning, too; and a socket that goes into a
    // minisock in FIN_WAIT2 tells no transition.
    let ours = completeness.ring_full + completeness.map_full;
    let silent = ledger.time_waits() as u64;
    let missing = verdict.missing + verdict.late_missing;
    assert!(
        verdict.missing <= completeness.lost && ours <= missing + silent,
        "what is missing is lost, and the other way round: {verdict:?} {completeness:?}"
    );
    (completeness, verdict, ledger.ends.len())
}

#[test]
fn storm_accounts_for_everything() {
    let Some(_turn) = turn("storm_accounts_for_everything", Noise::Storm) else {
        return;
    };
    let (completeness, verdict, ends) = storm("16M");
    if completeness.lost == 0 {
        assert_eq!(verdict.complete, ends as u64);
    }
    // A ring far too small. A slow machine may keep up even so, but not with a page of records.
    let (mut tiny, mut verdict, _) = storm("64K");
    if tiny.lost == 0 {
        let page = rustix::param::page_size().to_string();
        (tiny, verdict, _) = storm(&page);
    }
    assert!(tiny.ring_full > 0, "{tiny:?}");
    assert!(verdict.missing > 0, "{verdict:?}");
}
