//! The ways a trace ends: its command, a reader that goes away, a signal.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::process::Signal;

use crate::{
    child,
    netns::Netns,
    observed::Finished,
    skip::{Noise, turn},
    small::{Amount, SMALL, namespace, work},
    tool::{Tool, binary, trace},
    workload::Lane,
};

/// The command's exit is told, and the tool's own is 0.
fn assert_told(finished: &Finished, code: u8) {
    finished.assert_success();
    finished.completeness();
    let said = finished.diagnostics();
    let code = code.to_string();
    let told = said.lines().any(|line| {
        line.split_once("exit")
            .is_some_and(|(_, rest)| rest.contains(&code))
    });
    assert!(told, "{said}");
}

#[test]
fn command_runs_and_reports_exit() {
    let Some(_turn) = turn("command_runs_and_reports_exit", Noise::Little) else {
        return;
    };
    let mut shell = trace(["--format", "ndjson", "--", "/bin/sh", "-c", "exit 7"]);
    assert_told(&Tool::started(&mut shell).wait(), 7);

    // The command writes to stdout too: the rows go to a file.
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let space = Netns::new(move |netns| {
        let mut command = trace(["--format", "ndjson", "--netns", &netns.to_string()]);
        command.arg("--output").arg(path).arg("--");
        command.args(child::command_line());
        Tool::started(child::exits(&mut command, 9)).wait()
    });
    let inode = space.inode;
    let mut finished = space.run();
    assert_told(&finished, 9);
    finished.stdout = std::fs::read(file.path()).unwrap();
    let rows: Vec<_> = finished.rows();
    let rows: Vec<_> = rows.iter().filter(|r| r.netns == Some(inode)).collect();
    // Listener 2, connection 5 and 5: all of it, although the command ended right after.
    assert_eq!(rows.len(), 12, "{rows:#?}");
    assert!(
        rows.iter()
            .all(|row| row.pid.is_none() || row.pid == rows[0].pid)
    );
}

#[test]
fn broken_pipe_is_quiet() {
    let Some(_turn) = turn("broken_pipe_is_quiet", Noise::Little) else {
        return;
    };
    let over = Arc::new(AtomicBool::new(false));
    let space = Netns::new({
        let over = Arc::clone(&over);
        move |netns| {
            let few = Amount { each: 9, ..SMALL };
            while !over.load(Ordering::Relaxed) {
                work(netns, Lane { test: 7, space: 0 }, few);
            }
        }
    });
    let netns = space.inode.to_string();
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let mut command = trace(["--format", "ndjson", "--netns", &netns]);
    let tool = Tool::started_onto(&mut command, Stdio::from(writer));
    let running = space.start();
    let mut lines = BufReader::new(std::fs::File::from(reader)).lines();
    for _ in 0..3 {
        lines.next().unwrap().unwrap();
    }
    drop(lines);
    let finished = tool.wait();
    over.store(true, Ordering::Relaxed);
    running.join().unwrap();
    finished.assert_success();
    let said = finished.diagnostics().to_lowercase();
    for word in ["error", "panic", "broken pipe"] {
        assert!(!said.contains(word), "{said}");
    }
}

#[test]
fn interrupt_prints_completeness() {
    let Some(_turn) = turn("interrupt_prints_completeness", Noise::Little) else {
        return;
    };
    for (space, signal) in [(0, Signal::INT), (1, Signal::TERM)] {
        let space = namespace(Lane { test: 8, space }, SMALL);
        let netns = space.inode.to_string();
        let tool = Tool::attached(&mut trace(["--format", "ndjson", "--netns", &netns]));
        let ledger = space.run();
        tool.settle();
        tool.signal(signal);
        let finished = tool.wait();
        finished.assert_success();
        let completeness = finished.completeness();
        assert_eq!(completeness.lost, 0, "{completeness:?}");
        // Without the ends of TIME_WAITs at least, and at most with them and the timers in between.
        let all = (ledger.transitions() + ledger.time_waits()) as u64;
        let least = (ledger.transitions() - ledger.late()) as u64;
        assert!(
            (least..=all).contains(&completeness.delivered),
            "{completeness:?}"
        );
        assert_eq!(completeness.unknown_starts, 0, "{completeness:?}");
    }
}

#[test]
fn whoever_reads_that_it_traces_may_end_it() {
    let Some(_turn) = turn("whoever_reads_that_it_traces_may_end_it", Noise::Little) else {
        return;
    };
    for verb in [&["trace"][..], &["report", "--aggregate"]] {
        for _ in 0..3 {
            let finished = Tool::attached(Command::new(binary()).args(verb)).interrupt();
            finished.assert_success();
        }
    }
}
