//! What `record` writes is what `trace` sees; and a recorder that is killed loses a second at most.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    clock::{mono_ns, until},
    hidden,
    netns::{Netns, sysctl},
    observed::Finished,
    row::Row,
    skip::{Noise, turn},
    small::{SMALL, namespace, of_netns},
    test_diagnose::{TEST, connections, finding, ip},
    tool::{PATIENCE, Tool, binary, replay, trace, verify},
    workload::{Lane, listen},
};

/// `CAP_BPF`, include/uapi/linux/capability.h.
const CAP_BPF: u64 = 1 << 39;

fn record(path: &Path, netns: u32) -> Command {
    let mut command = Command::new(binary());
    command.args(["record", "-o"]).arg(path);
    command.args(["--netns", &netns.to_string()]);
    command
}

/// A place for recordings, gone afterwards.
fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("of-a-test.tdw");
    (directory, path)
}

#[test]
fn a_recording_says_what_trace_said() {
    let Some(_turn) = turn("a_recording_says_what_trace_said", Noise::Little) else {
        return;
    };
    let lane = Lane { test: 16, space: 0 };
    let space = namespace(lane, SMALL);
    let inode = space.inode;
    let (_directory, path) = place();
    let live = Tool::attached(&mut trace([
        "--format",
        "ndjson",
        "--netns",
        &inode.to_string(),
    ]));
    let recorder = Tool::attached(&mut record(&path, inode));
    let ledger = space.run();
    live.purged(ledger.time_waits());
    let (live, recorder) = (live.interrupt(), recorder.interrupt());
    recorder.assert_success();
    assert_eq!(recorder.completeness().lost, 0);
    assert!(recorder.stdout.is_empty(), "record prints no data");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, said) = verify(&path);
    assert_eq!(code, Some(0), "{said}");

    let replayed = replay(&path, &["--format", "ndjson", "--strict"]);
    replayed.assert_success();
    replayed.assert_keys();
    assert_eq!(replayed.completeness(), recorder.completeness());
    let identities = |finished: &Finished| {
        let rows = finished.rows();
        let rows = of_netns(&rows, &[inode], lane);
        hidden::exact(&ledger, &rows, &finished.completeness());
        let mut identities: Vec<_> = rows.into_iter().map(Row::identity).collect();
        identities.sort();
        identities
    };
    assert_eq!(identities(&live), identities(&replayed));

    // A filter means on a recording what it means in the kernel.
    let port = lane.port(0).to_string();
    let some = replay(&path, &["--format", "ndjson", "-L", &port]);
    some.assert_success();
    let (all, rows) = (replayed.rows(), some.rows());
    let wanted = all.iter().filter(|row| row.lport == Some(lane.port(0)));
    assert_eq!(rows.len(), wanted.count());
    assert!(!rows.is_empty() && rows.len() < all.len());
    some.completeness();
}

#[test]
fn a_killed_recorder_loses_a_second_at_most() {
    let Some(_turn) = turn("a_killed_recorder_loses_a_second_at_most", Noise::Little) else {
        return;
    };
    let netns = fs::metadata("/proc/self/ns/net").unwrap();
    let netns = u32::try_from(std::os::unix::fs::MetadataExt::ino(&netns)).unwrap();
    let (_directory, path) = place();
    // Without looks it needs no privileges.
    let recorder = Tool::attached(record(&path, netns).args(["--look-every", "0"]));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for stream in listener.incoming() {
            let mut byte = [0];
            if stream.unwrap().read(&mut byte).unwrap_or(0) == 0 {
                return;
            }
        }
    });
    let began = mono_ns();
    while mono_ns() - began < 3_000_000_000 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"x").unwrap();
    }
    let tasks = fs::read_dir(format!("/proc/{}/task", recorder.id())).unwrap();
    let tasks: Vec<_> = tasks.map(|task| task.unwrap().path()).collect();
    assert!(tasks.len() > 1, "the recorder has a thread of its own");
    for task in tasks {
        let status = fs::read_to_string(task.join("status")).unwrap();
        let held = status.lines().find_map(|l| l.strip_prefix("CapPrm:"));
        let held = u64::from_str_radix(held.unwrap().trim(), 16).unwrap();
        assert_eq!(held & !CAP_BPF, 0, "{}: {held:x}", task.display());
    }
    let killed = mono_ns();
    recorder.signal(Signal::KILL);
    recorder.wait();
    drop(TcpStream::connect(address).unwrap());
    server.join().unwrap();

    let replayed = replay(&path, &["--format", "ndjson"]);
    replayed.assert_success();
    assert!(
        replayed.diagnostics().contains("not ended in order"),
        "{}",
        replayed.diagnostics()
    );
    let strict = replay(&path, &["--strict", "-L", "1"]);
    assert_eq!(strict.status.code(), Some(1));
    let ours = |row: &&Row| row.rport == Some(address.port()) || row.lport == Some(address.port());
    let rows = replayed.rows();
    let last = rows.iter().filter(ours).map(|row| row.mono_ns).max();
    let last = last.expect("what came in the first two seconds");
    let missing = Duration::from_nanos(killed - last);
    eprintln!("killed: {missing:?} of {} transitions missing", rows.len());
    assert!(missing < Duration::from_millis(1100), "{missing:?}");
    let (code, said) = verify(&path);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not ended in order"), "{said}");
}

#[test]
fn a_recorder_says_so_when_it_can_not_go_on() {
    let Some(_turn) = turn("a_recorder_says_so_when_it_can_not_go_on", Noise::Little) else {
        return;
    };
    let (_directory, path) = place();
    let recorder = Tool::attached(&mut record(&path, 1));
    fs::remove_file(&path).unwrap();
    let finished = recorder.wait();
    assert_eq!(finished.status.code(), Some(1));
    let said = finished.diagnostics();
    assert!(said.contains("the file was removed"), "{said}");

    // What is there is never written over.
    fs::write(&path, "mine").unwrap();
    let refused = Tool::started(&mut record(&path, 1)).wait();
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.diagnostics().contains("exists already"));
    // Nor begun where it could not go on.
    let other = path.with_file_name("other.tdw");
    fs::write(other.with_extension("000007.tdw"), "mine").unwrap();
    fs::write(other.with_extension("old.tdw"), "no matter").unwrap();
    let mut rotating = record(&other, 1);
    let refused = Tool::started(rotating.args(["--rotate-every", "1h"])).wait();
    assert_eq!(refused.status.code(), Some(1));
    let said = refused.diagnostics();
    assert!(said.contains("other.000007.tdw' exists already"), "{said}");
    assert!(!other.exists());
    assert_eq!(fs::read(&path).unwrap(), b"mine");

    // A full disk.
    let full = path.with_extension("full");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let refused = Tool::started(&mut record(&full, 1)).wait();
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn a_flight_recorder_writes_when_it_is_asked() {
    let Some(_turn) = turn("a_flight_recorder_writes_when_it_is_asked", Noise::Little) else {
        return;
    };
    let lane = Lane { test: 17, space: 0 };
    let space = namespace(lane, SMALL);
    let inode = space.inode;
    let (_directory, path) = place();
    let recorder = Tool::attached(record(&path, inode).args(["--flight", "10m"]));
    assert!(!path.exists());
    let ledger = space.run();
    // The ends of the last TIME_WAITs come with the end of the namespace.
    thread::sleep(Duration::from_secs(1));
    recorder.signal(Signal::USR1);
    until(PATIENCE, || {
        verify(&path).1.contains(": intact").then_some(())
    });
    let finished = recorder.interrupt();
    finished.assert_success();
    let second = path.with_extension("000001.tdw");
    let (code, said) = verify(&second);
    assert_eq!(code, Some(0), "{said}");
    let mut both = trace(["--format", "ndjson", "--strict", "--from"]);
    let output = both.args([&second, &path]).output().unwrap();
    let replayed = Finished::from(output);
    replayed.assert_success();
    assert_eq!(replayed.completeness(), finished.completeness());
    let rows = replayed.rows();
    let rows = of_netns(&rows, &[inode], lane);
    let opened = rows.iter().filter(|row| row.to == "SYN_SENT").count();
    let expected = ledger.ends.iter().flat_map(|end| &end.steps);
    assert_eq!(
        opened,
        expected.filter(|step| step.from == "SYN_SENT").count()
    );
}

#[test]
fn a_flight_recorder_writes_when_something_is_the_matter() {
    let Some(_turn) = turn(
        "a_flight_recorder_writes_when_something_is_the_matter",
        Noise::Little,
    ) else {
        return;
    };
    let (_directory, path) = place();
    let flight = path.clone();
    // Settings are those of the tool's namespace.
    let finished = Netns::new(move |netns| {
        sysctl("tcp_max_tw_buckets", "64");
        let mut command = record(&flight, netns);
        let tool = Tool::attached(command.args(["--flight", "10m", "--on-finding"]));
        assert!(!flight.exists());
        let address = SocketAddr::new(
            ip(TEST),
            Lane {
                test: TEST,
                space: 0,
            }
            .port(0),
        );
        let (listener, _) = listen(address);
        connections(&listener, address, 100, true);
        let written = until(PATIENCE, || {
            verify(&flight).1.contains(": intact").then_some(())
        });
        let finished = tool.interrupt();
        assert!(written.is_some(), "{}", finished.diagnostics());
        finished
    })
    .run();
    finished.assert_success();
    let said = finished.diagnostics();
    let found = "tcpdwell: warning: time_wait_overflow: net.ipv4.tcp_max_tw_buckets=64: ";
    assert_eq!(said.matches(found).count(), 1, "{said}");
    assert!(said.contains("holds the latest"), "{said}");
    // What was written tells the same.
    let mut command = Command::new(binary());
    command.args(["diagnose", "--format", "json", "--from"]);
    let output = command.arg(&path).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = finding(&said, "time_wait_overflow");
    let figure = |name: &str| found["evidence"][name].as_u64().unwrap();
    assert_eq!(figure("overflow") + figure("time_wait_entered"), 100);
}
