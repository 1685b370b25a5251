//! A process name is chosen by the process: nothing of it may reach a terminal as it is.

use std::{sync::mpsc, thread};

use crate::{
    child,
    netns::Netns,
    skip::{Noise, turn},
    small::of_netns,
    tool::{self, Tool, trace},
    workload::{Lane, listen},
};

const HOSTILE: &[u8] = b"\x1b[31mevil\xff\"";

#[test]
fn hostile_comm() {
    let Some(_turn) = turn("hostile_comm", Noise::Little) else {
        return;
    };
    let lane = Lane { test: 6, space: 0 };
    let (tell_child, child) = mpsc::channel();
    let space = Netns::new(move |_| {
        let address = (lane.address(1), lane.port(0)).into();
        let (listener, _) = listen(address);
        let mut child = child::connects(address, 5, HOSTILE);
        tell_child.send(child.id()).unwrap();
        drop(child.stdin.take());
        thread::scope(|scope| {
            scope.spawn(|| child::serve(&listener, 5));
        });
        assert!(tool::wait(&mut child).success());
    });
    let inode = space.inode;
    let netns = inode.to_string();
    let json = Tool::attached(&mut trace(["--format", "ndjson", "--netns", &netns]));
    let lines = Tool::attached(&mut trace(["-w", "--netns", &netns]));
    let csv = Tool::attached(&mut trace(["--format", "csv", "--netns", &netns]));
    space.run();
    let [json, lines, csv] = [json, lines, csv].map(|tool| {
        tool.settle();
        let finished = tool.interrupt();
        finished.assert_success();
        finished
    });

    for finished in [&json, &lines] {
        assert!(
            !finished.stdout.contains(&0x1b),
            "{}",
            finished.stdout.escape_ascii()
        );
    }
    for finished in [&json, &lines, &csv] {
        let text = str::from_utf8(&finished.stdout).expect("UTF-8");
        assert!(text.contains("evil"), "{text}");
    }
    json.assert_keys();
    let rows = json.rows();
    let rows = of_netns(&rows, &[inode], lane);
    let pid = child.recv().unwrap();
    // The end of TIME_WAIT comes with that of the namespace, or not before ours.
    let of_child: Vec<_> = rows
        .iter()
        .filter(|row| row.pid == Some(pid) && row.from != "TIME_WAIT")
        .collect();
    assert_eq!(of_child.len(), 5 * 5, "{rows:#?}");
    for row in of_child {
        assert_eq!(row.comm.as_deref(), Some("\u{1b}[31mevil\u{fffd}\""));
    }
}
