//! SIGTERM and SIGHUP end every verb in order: as Ctrl-C does, with all that was seen until then.

use std::{fs, os::unix::process::CommandExt as _, process::Command, thread, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    observed::Finished,
    skip::{Noise, turn},
    steady::{Steady, onto, whole_lives},
    tool::{Tool, binary, replay, trace, verify},
};

const SIGNALS: [Signal; 2] = [Signal::TERM, Signal::HUP];

/// Connections that are there from beginning to end while it watches. One more may end as it begins.
const WATCHED: u64 = 200;

/// What a verb has written and said that is ended so while it watches a load, and the load's port.
fn ended(verb: &[&str], signal: Signal) -> (Finished, u16) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ended");
    let load = Steady::start();
    let port = load.port();
    let tool = Tool::attached(onto(verb[0], &path, port).args(&verb[1..]));
    load.more(WATCHED);
    tool.signal(signal);
    let mut finished = tool.wait();
    load.stop();
    finished.assert_success();
    let completeness = finished.completeness();
    assert_eq!(completeness.lost, 0, "{verb:?}: {completeness:?}");
    if verb[0] == "record" {
        let (code, said) = verify(&path);
        assert_eq!(code, Some(0), "{said}");
        let replayed = replay(&path, &["--format", "ndjson"]);
        assert_eq!(replayed.completeness(), completeness);
        finished.stdout = replayed.stdout;
    } else {
        finished.stdout = fs::read(&path).unwrap();
    }
    (finished, port)
}

#[test]
fn a_signal_ends_a_recording_in_order() {
    let Some(_turn) = turn("a_signal_ends_a_recording_in_order", Noise::Little) else {
        return;
    };
    for signal in SIGNALS {
        let (replayed, port) = ended(&["record"], signal);
        assert!(whole_lives(&replayed, port) >= WATCHED - 1);
    }
}

#[test]
fn a_signal_ends_a_trace_in_order() {
    let Some(_turn) = turn("a_signal_ends_a_trace_in_order", Noise::Little) else {
        return;
    };
    for signal in SIGNALS {
        let (traced, port) = ended(&["trace", "--format", "ndjson"], signal);
        assert!(whole_lives(&traced, port) >= WATCHED - 1);
        let last = traced
            .stdout
            .trim_ascii_end()
            .rsplit(|b| *b == b'\n')
            .next();
        let last: serde_json::Value = serde_json::from_slice(last.unwrap()).unwrap();
        assert_eq!(last["event"], "end", "{last}");
    }
}

#[test]
fn a_signal_ends_what_adds_up_in_order() {
    let name = "a_signal_ends_what_adds_up_in_order";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    for signal in SIGNALS {
        let (report, _) = ended(&["report", "--format", "json"], signal);
        let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
        let opened = report["connections"]["opened"]["active"].as_u64().unwrap();
        assert!(opened >= WATCHED - 1, "{report:#}");
        let (drawn, _) = ended(&["hist", "--state", "established"], signal);
        let drawn = String::from_utf8(drawn.stdout).unwrap();
        let (_, count) = drawn.split_once("count=").unwrap();
        let count: u64 = count.split(' ').next().unwrap().parse().unwrap();
        assert!(count >= WATCHED - 1, "{drawn}");
    }
}

/// Ctrl-C goes to both.
#[test]
fn an_interrupted_command_may_end_in_its_own_time() {
    let Some(_turn) = turn(
        "an_interrupted_command_may_end_in_its_own_time",
        Noise::Little,
    ) else {
        return;
    };
    let slow = "trap 'sleep 0.3; exit 7' INT; echo trapped >&2; while :; do sleep 0.02; done";
    let mut command = trace(["-L", "1", "--", "sh", "-c", slow]);
    let tool = Tool::attached(command.process_group(0));
    thread::sleep(Duration::from_millis(500));
    let group = Pid::from_raw(i32::try_from(tool.id()).unwrap()).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    let finished = tool.wait();
    finished.assert_success();
    let said = finished.diagnostics();
    assert!(
        said.contains("the command 'sh' ended: exit status: 7"),
        "{said}"
    );
}

#[test]
fn what_is_to_outlive_its_terminal_does() {
    let name = "what_is_to_outlive_its_terminal_does";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    command.arg(binary()).args(["trace", "-L", "1"]);
    let tool = Tool::attached(&mut command);
    tool.signal(Signal::HUP);
    // It would have ended by then.
    thread::sleep(Duration::from_millis(700));
    let stat = fs::read_to_string(format!("/proc/{}/stat", tool.id())).unwrap();
    assert!(!stat.contains(") Z "), "{stat}");
    tool.interrupt().assert_success();
}

#[test]
fn what_a_run_would_replace_stays_if_it_can_not_begin() {
    let name = "what_a_run_would_replace_stays_if_it_can_not_begin";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kept");
    fs::write(&path, "from before").unwrap();
    let classic = ["--state-source", "tracepoint", "--tw-source", "timer"];
    for (arguments, code, word) in [
        (&classic[..], 3, "tells of no TIME_WAIT"),
        (&["--strict", "-d", "1"], 2, "--from"),
        (&["-d", "1", "--", "/none/such"], 1, "/none/such"),
    ] {
        let mut command = Command::new(binary());
        command.args(["trace", "-o"]).arg(&path).args(arguments);
        let finished = command.output().unwrap();
        let said = String::from_utf8_lossy(&finished.stderr);
        assert_eq!(finished.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "from before");
    }
    let mut command = trace(["-L", "1", "-d", "0.1", "--format", "csv", "-o"]);
    let finished = command.arg(&path).output().unwrap();
    assert_eq!(finished.status.code(), Some(0));
    let written = fs::read_to_string(&path).unwrap();
    assert!(
        !written.is_empty() && !written.contains("before"),
        "{written}"
    );
}
