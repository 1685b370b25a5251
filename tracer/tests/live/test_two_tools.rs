//! Two at once see the same.

use crate::{
    hidden,
    row::Row,
    skip::{Noise, turn},
    small::{SMALL, namespace, of_netns},
    tool::{Tool, trace},
    workload::Lane,
};

#[test]
fn two_tools_at_once() {
    let Some(_turn) = turn("two_tools_at_once", Noise::Little) else {
        return;
    };
    let lane = Lane { test: 5, space: 0 };
    let space = namespace(lane, SMALL);
    let inode = space.inode;
    let netns = inode.to_string();
    let tools =
        [0, 1].map(|_| Tool::attached(&mut trace(["--format", "ndjson", "--netns", &netns])));
    let ledger = space.run();
    let seen = tools.map(|tool| {
        tool.purged(ledger.time_waits());
        let finished = tool.interrupt();
        finished.assert_success();
        assert_eq!(finished.completeness().lost, 0);
        let rows = finished.rows();
        let rows = of_netns(&rows, &[inode], lane);
        hidden::exact(&ledger, &rows, &finished.completeness());
        let mut identities: Vec<_> = rows.into_iter().map(Row::identity).collect();
        identities.sort();
        identities
    });
    assert_eq!(seen[0], seen[1]);
}
