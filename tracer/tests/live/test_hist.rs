//! `hist` counts every stay that began and ended, once.

use std::process::Command;

use crate::{
    skip::{Noise, turn},
    small::{SMALL, namespace},
    tool::{Tool, binary},
    workload::Lane,
};

const LANE: Lane = Lane { test: 14, space: 0 };

#[test]
fn hist_counts_every_stay() {
    let Some(_turn) = turn("hist_counts_every_stay", Noise::Little) else {
        return;
    };
    let space = namespace(LANE, SMALL);
    let netns = space.inode.to_string();
    let mut hist = Command::new(binary());
    hist.args(["hist", "--netns", &netns, "--state", "established,syn-sent"]);
    let tool = Tool::attached(&mut hist);
    let ledger = space.run();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let finished = tool.interrupt();
    finished.assert_success();
    assert_eq!(finished.completeness().lost, 0);
    let drawn = String::from_utf8(finished.stdout).unwrap();
    for state in ["ESTABLISHED", "SYN_SENT"] {
        let stays = ledger.ends.iter().flat_map(|end| &end.steps);
        let stays = stays.filter(|step| step.from == state).count();
        let part = drawn.split(&format!("state = {state}\n")).nth(1);
        let part = part.unwrap_or_else(|| panic!("no {state}: {drawn}"));
        let figures = part.lines().find(|l| l.contains("count=")).unwrap();
        assert!(figures.contains(&format!("count={stays} ")), "{drawn}");
        let rows = part.lines().skip(1).take_while(|l| l.contains(" -> "));
        let rows = rows.map(|l| {
            l.split(':')
                .nth(1)
                .unwrap()
                .split('|')
                .next()
                .unwrap()
                .trim()
        });
        let sum: usize = rows.map(|n| n.parse::<usize>().unwrap()).sum();
        assert_eq!(sum, stays, "{drawn}");
    }
    assert!(!drawn.contains("TIME_WAIT"), "{drawn}");
}
