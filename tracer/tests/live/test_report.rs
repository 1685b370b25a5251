//! `report` says of a workload what the ledger says, to the unit.

use std::{collections::BTreeMap, fs::File, process::Command};

use serde_json::Value;

use crate::{
    hidden,
    ledger::{Ledger, Side},
    netns::Netns,
    observed::Finished,
    skip::{Noise, turn},
    small::{SMALL, work},
    tool::{Tool, binary},
    workload::Lane,
};

const KEYS: [&str; 12] = [
    "schema",
    "host",
    "kernel",
    "window",
    "hooks",
    "completeness",
    "connections",
    "closed_first",
    "states",
    "time_wait",
    "close_wait",
    "groups",
];

fn report<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(binary());
    command.args(["report", "--format", "json"]).args(args);
    command
}

/// A namespace that stays until its file is closed: its number is given to nobody else meanwhile.
fn kept(lane: Lane) -> Netns<(Ledger, File)> {
    Netns::new(move |netns| {
        let file = File::open("/proc/thread-self/ns/net").unwrap();
        (work(netns, lane, SMALL), file)
    })
}

/// Runs the work under `report --netns` with more arguments: again, where something was hidden.
fn run<const N: usize>(lane: Lane, more: [&str; N]) -> (Ledger, Value, Finished) {
    let (ledger, finished) = (0..3)
        .map(|_| run_once(lane, more))
        .find(|(_, finished)| !hidden::happened(&finished.completeness()))
        .expect("a run without anything irregular");
    let report = serde_json::from_slice(&finished.stdout).unwrap();
    (ledger, report, finished)
}

fn run_once<const N: usize>(lane: Lane, more: [&str; N]) -> (Ledger, Finished) {
    let space = kept(lane);
    let netns = space.inode.to_string();
    let mut command = report(["--netns", &netns]);
    let tool = Tool::attached(command.args(more));
    let (ledger, _kept) = space.run();
    // Softirqs of the last packets.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let finished = tool.interrupt();
    finished.assert_success();
    assert_eq!(finished.completeness().lost, 0);
    (ledger, finished)
}

fn number(value: &Value) -> usize {
    let number = value.as_u64().unwrap_or_else(|| panic!("{value}"));
    usize::try_from(number).unwrap()
}

/// How many steps of the ledger, that do not wait for TIME_WAIT.
fn steps(ledger: &Ledger, wanted: impl Fn(&crate::ledger::Step) -> bool) -> usize {
    let steps = ledger.ends.iter().flat_map(|end| &end.steps);
    steps.filter(|step| !step.late && wanted(step)).count()
}

fn ends(ledger: &Ledger, wanted: impl Fn(&crate::ledger::End) -> bool) -> usize {
    ledger.ends.iter().filter(|end| wanted(end)).count()
}

#[test]
fn report_equals_the_ledger() {
    let Some(_turn) = turn("report_equals_the_ledger", Noise::Little) else {
        return;
    };
    let lane = Lane { test: 20, space: 0 };
    let (ledger, report, _) = run(lane, []);
    for key in KEYS {
        assert!(!report[key].is_null(), "{key}: {report:#}");
    }
    assert_eq!(report["schema"], "tcpdwell.report/1");
    assert_eq!(report["completeness"]["complete"], true);

    let c = &report["connections"];
    assert_eq!(
        number(&c["opened"]["active"]),
        ends(&ledger, |e| e.side == Side::Active)
    );
    assert_eq!(
        number(&c["opened"]["passive"]),
        ends(&ledger, |e| e.side == Side::Passive)
    );
    let refused = ends(&ledger, |e| e.fate.end_reason == Some("refused"));
    assert_eq!(number(&c["failed"]["refused"]), refused);
    assert_eq!(
        number(&c["closed"]),
        ends(&ledger, |e| e.fate.closed_first.is_some())
    );
    for none in ["preexisting", "open", "unknown_starts", "unseen_ends"] {
        assert_eq!(c[none], 0, "{none}: {c}");
    }

    let firsts = ledger.closed_first();
    for (first, count) in report["closed_first"].as_object().unwrap() {
        let expected = firsts.get(first).copied().unwrap_or(0);
        assert_eq!(number(count), expected, "{first}");
    }

    for state in [
        "SYN_SENT",
        "SYN_RECV",
        "ESTABLISHED",
        "FIN_WAIT1",
        "CLOSE_WAIT",
        "LAST_ACK",
    ] {
        let figures = &report["states"][state];
        let left = steps(&ledger, |s| s.from == state);
        assert_eq!(
            number(&figures["entered"]),
            steps(&ledger, |s| s.to == state),
            "{state}"
        );
        assert_eq!(number(&figures["left"]), left, "{state}");
        assert_eq!(number(&figures["dwell"]["count"]), left, "{state}");
        assert_eq!(figures["open"], 0, "{state}");
    }
    // A rung that tells of a late FIN at the end only still has it in FIN_WAIT2.
    let waiting = number(&report["states"]["FIN_WAIT2"]["open"])
        + number(&report["time_wait"]["open"])
        + number(&report["states"]["TIME_WAIT"]["left"]);
    assert_eq!(waiting, ledger.time_waits());
    groups_add_up(&report, &ledger);
}

/// Each group's rows are all there is, and each port has what the ledger says.
fn groups_add_up(report: &Value, ledger: &Ledger) {
    let connections = ends(ledger, |e| e.side != Side::Listener);
    for (name, rows) in report["groups"].as_object().unwrap() {
        let rows = rows.as_array().unwrap();
        let sum: usize = rows.iter().map(|row| number(&row["connections"])).sum();
        assert_eq!(sum, connections, "{name}");
    }
    let mut served: BTreeMap<u64, usize> = BTreeMap::new();
    for end in ledger.ends.iter().filter(|e| e.side == Side::Passive) {
        *served.entry(end.key.lport.into()).or_default() += 1;
    }
    let rows = report["groups"]["local_port"].as_array().unwrap();
    let told: BTreeMap<u64, usize> = rows
        .iter()
        .filter(|row| row["kind"] == "key")
        .map(|row| (row["key"].as_u64().unwrap(), number(&row["connections"])))
        .collect();
    assert_eq!(told, served);
}

#[test]
fn a_report_counts_what_its_filter_wants() {
    let Some(_turn) = turn("a_report_counts_what_its_filter_wants", Noise::Little) else {
        return;
    };
    // Owned by this process, but where a connection was reset before anybody read from it.
    let lane = Lane { test: 20, space: 0 };
    let me = std::process::id().to_string();
    let (ledger, report, _) = run(lane, ["-p", &me]);
    let active = ends(&ledger, |e| e.side == Side::Active);
    assert_eq!(number(&report["connections"]["opened"]["active"]), active);
    let rows = report["groups"]["process"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(rows[0]["pid"].to_string(), me);
    // Whoever was accepted for and closed is known from its opening on.
    let closed = ends(&ledger, |e| {
        e.side == Side::Passive && e.fate.end_reason != Some("reset")
    });
    assert!(number(&report["connections"]["opened"]["passive"]) >= closed);
    let established = &report["states"]["ESTABLISHED"];
    assert_eq!(established["entered"], established["left"]);

    let nobody = Lane { test: 20, space: 1 };
    let (_, report, _) = run(nobody, ["--comm", "no such name"]);
    assert_eq!(report["connections"]["opened"]["active"], 0);
    assert_eq!(report["states"]["ESTABLISHED"]["entered"], 0);

    let waited = Lane { test: 20, space: 2 };
    let (ledger, report, _) = run(waited, ["--state", "close-wait"]);
    let second = ends(&ledger, |e| e.fate.end_reason == Some("closed"));
    assert_eq!(number(&report["connections"]["closed"]), second);
    assert_eq!(number(&report["closed_first"]["remote"]), second);
    assert_eq!(report["closed_first"]["local"], 0);
}

#[test]
fn a_report_for_people_fits_their_screen() {
    let Some(_turn) = turn("a_report_for_people_fits_their_screen", Noise::Little) else {
        return;
    };
    let space = kept(Lane { test: 20, space: 0 });
    let netns = space.inode.to_string();
    let mut command = Command::new(binary());
    command.args(["report", "--netns", &netns]);
    let tool = Tool::attached(&mut command);
    let (ledger, _kept) = space.run();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let finished = tool.interrupt();
    finished.assert_success();
    let text = String::from_utf8(finished.stdout).unwrap();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let closed = ends(&ledger, |e| e.fate.closed_first.is_some());
    assert!(text.contains(&format!(" of {closed} (")), "{text}");
    assert!(text.contains("  complete: "), "{text}");
}
