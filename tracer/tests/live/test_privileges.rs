//! Once it traces, the tool can no more than count.

use std::fs;

use crate::{
    skip::{Noise, turn},
    small::{SMALL, namespace, of_netns},
    tool::{Tool, trace},
    workload::Lane,
};

const LANE: Lane = Lane { test: 15, space: 0 };

/// `CAP_BPF`, include/uapi/linux/capability.h.
const CAP_BPF: u64 = 1 << 39;

#[test]
fn privileges_are_dropped() {
    let Some(_turn) = turn("privileges_are_dropped", Noise::Little) else {
        return;
    };
    let space = namespace(LANE, SMALL);
    let inode = space.inode;
    let netns = inode.to_string();
    let tool = Tool::attached(&mut trace(["--format", "ndjson", "--netns", &netns]));
    let ledger = space.run();
    tool.settle();
    let status = fs::read_to_string(format!("/proc/{}/status", tool.id())).unwrap();
    for set in ["CapInh:", "CapPrm:", "CapEff:"] {
        let held = status.lines().find_map(|l| l.strip_prefix(set)).unwrap();
        let held = u64::from_str_radix(held.trim(), 16).unwrap();
        assert_eq!(held & !CAP_BPF, 0, "{set} {held:x}");
    }
    assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
    let finished = tool.interrupt();
    finished.assert_success();
    // Counters and losses are still read.
    assert!(finished.completeness().seen > 0);
    let rows = finished.rows();
    assert!(!of_netns(&rows, &[inode], LANE).is_empty());
    assert!(ledger.transitions() > 0);
}
