//! Once it traces, the tool can no more than count; and where it may do little from the start, it says what
//! that leaves out.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::mpsc,
    thread,
};

use caps::{CapSet, Capability};
use serde_json::Value;

use crate::{
    child,
    netns::Netns,
    observed::Finished,
    skip::{Noise, turn},
    small::{SMALL, namespace, of_netns},
    spawn,
    tool::{Tool, binary, trace},
    workload::{Lane, listen},
};

const LANE: Lane = Lane { test: 15, space: 0 };
const FEW: Lane = Lane { test: 15, space: 1 };

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

/// Runs the tool with nothing but `CAP_BPF` and `CAP_PERFMON`. What a process started by root may do is
/// bounded by the thread that starts it.
fn with_few(arguments: &[&str]) -> Finished {
    let mut command = Command::new(binary());
    command.args(arguments);
    let start = move || {
        for capability in caps::all() {
            if !matches!(capability, Capability::CAP_BPF | Capability::CAP_PERFMON) {
                caps::drop(None, CapSet::Bounding, capability).unwrap();
            }
        }
        caps::clear(None, CapSet::Inheritable).unwrap();
        Tool::started(&mut command).wait()
    };
    thread::spawn(start).join().unwrap()
}

fn json(finished: &Finished) -> Value {
    serde_json::from_slice(&finished.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", finished.diagnostics()))
}

#[test]
fn with_few_privileges_it_says_what_it_misses() {
    let name = "with_few_privileges_it_says_what_it_misses";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    // A CLOSE_WAIT in a namespace that may not be entered.
    let (tell, ready) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let space = Netns::new(move |_| {
        let (listener, _) = listen(SocketAddr::new(FEW.address(1), FEW.port(0)));
        let server = listener.local_addr().unwrap();
        let client = TcpStream::connect(server).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        spawn::close(client);
        child::keep_namespace(server, &tell, &wait);
        spawn::close(accepted);
    });
    let netns = space.inode.to_string();
    let running = space.start();
    ready.recv().unwrap();

    let report = ["report", "--format", "json", "-d", "1", "--netns", &netns];
    let mut all = Command::new(binary());
    let all = json(&Tool::started(all.args(report)).wait());
    assert_eq!(all["close_wait"]["open"], 1, "{all:#}");
    for key in ["namespaces_unreachable", "namespaces_hidden"] {
        assert_eq!(all["completeness"][key], 0, "{key}");
    }
    assert_eq!(all["completeness"]["complete"], true, "{all:#}");

    let sums = [&report[..], &["--aggregate"]].concat();
    for arguments in [&report[..], &sums] {
        let few = with_few(arguments);
        few.assert_success();
        let said = few.diagnostics();
        assert!(said.contains("not all known: "), "{said}");
        assert!(said.contains("CAP_SYS_PTRACE"), "{said}");
        let few = json(&few);
        assert!(
            few["completeness"]["namespaces_hidden"].as_u64().unwrap() >= 1,
            "{few:#}"
        );
        assert_eq!(few["completeness"]["complete"], false, "{few:#}");
    }
    let stuck = with_few(&[
        "stuck",
        "--format",
        "json",
        "--older-than",
        "0",
        "--netns",
        &netns,
    ]);
    let stuck = json(&stuck);
    assert_eq!(stuck["completeness"]["complete"], false, "{stuck:#}");

    let check = with_few(&["check", "--format", "json"]);
    check.assert_success();
    let check = json(&check);
    let degraded = check["degraded"].as_array().unwrap();
    let told = |what: &str, mend: &str| {
        let there = degraded.iter().filter(|d| d["what"] == what);
        let mut mends = there.map(|d| d["mend"].as_str().unwrap());
        assert!(mends.any(|m| m.contains(mend)), "{what}: {check:#}");
    };
    told("sockets older than the trace", "CAP_SYS_PTRACE");
    if check["hooks"]["time_wait"] == "sampling" {
        told("TIME_WAIT", "CAP_SYSLOG");
    }

    go.send(()).unwrap();
    running.join().unwrap();
}

#[test]
fn check_lists_what_is_attached_and_ends_quietly() {
    let name = "check_lists_what_is_attached_and_ends_quietly";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    let mut check = Command::new(binary());
    let check = json(&Tool::started(check.args(["check", "--format", "json"])).wait());
    let programs = check["programs"].as_array().unwrap();
    for hook in ["time_wait", "accept", "snapshot"] {
        let hook = &check["hooks"][hook];
        if hook.is_null() || hook == "sampling" || hook == "sock_diag" {
            continue;
        }
        let is_used = |p: &Value| p["hook"] == *hook && p["used"] == true;
        assert!(programs.iter().any(is_used), "{hook}: {check:#}");
    }
    // Nobody reads.
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    let mut check = Command::new(binary());
    let finished = Tool::started_onto(check.arg("check"), writer.into()).wait();
    finished.assert_success();
    assert_eq!(finished.diagnostics(), "");
}
