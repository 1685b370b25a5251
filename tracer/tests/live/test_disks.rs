//! Disks that are full, may not be written to, or hang: a clear error or nothing at all, never a hang,
//! and what was written before is read.

use std::{
    collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path, process::Command,
    thread, time::Duration,
};

use nix::{
    sys::{
        ptrace,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    process::Signal,
    thread::UnshareFlags,
};

use crate::{
    netns::unshare,
    observed::Finished,
    skip::{Noise, turn},
    steady::Steady,
    tool::{Tool, binary, replay, verify},
};

/// Does something where a disk of these options is mounted, which nobody else sees.
fn with_disk<T: Send>(flags: MountFlags, options: &str, act: impl FnOnce(&Path) -> T + Send) -> T {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let done = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(UnshareFlags::NEWNS);
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", private).unwrap();
            let options = std::ffi::CString::new(options).unwrap();
            mount("none", place, "tmpfs", flags, Some(&*options)).unwrap();
            act(place)
        });
        thread.join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// `verb -o path`, of the connects to this port in this network namespace.
fn onto(verb: &str, path: &Path, port: u16) -> Command {
    let netns = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    let mut command = Command::new(binary());
    command.args([verb, "-o"]).arg(path);
    command.args(["--netns", &netns.to_string(), "--rport", &port.to_string()]);
    command
}

/// Of a [`Steady`] load to this port: how many connections are there from beginning to end, as their
/// clients' sockets tell. Of the others the beginning was before there was a tool, or the end after.
fn whole_lives(finished: &Finished, port: u16) -> u64 {
    const STEPS: [(&str, &str); 3] = [
        ("CLOSE", "SYN_SENT"),
        ("SYN_SENT", "ESTABLISHED"),
        ("ESTABLISHED", "CLOSE"),
    ];
    let mut lives: BTreeMap<u64, Vec<(String, String)>> = BTreeMap::new();
    let rows = finished.rows().into_iter();
    // Until its peer is known, a server's socket may be one that is wanted.
    for row in rows.filter(|row| row.rport == Some(port)) {
        lives.entry(row.conn).or_default().push((row.from, row.to));
    }
    let mut whole = 0;
    for life in lives.values() {
        let steps = STEPS.map(|(from, to)| (from.to_owned(), to.to_owned()));
        let as_it_was = steps.windows(life.len()).any(|part| part == life);
        assert!(as_it_was, "{life:?}");
        whole += u64::from(life.len() == STEPS.len());
    }
    whole
}

#[test]
fn a_full_disk_ends_a_recording_that_can_be_read() {
    let Some(_turn) = turn(
        "a_full_disk_ends_a_recording_that_can_be_read",
        Noise::Little,
    ) else {
        return;
    };
    with_disk(MountFlags::empty(), "size=192k", |place| {
        let path = place.join("full.tdw");
        let load = Steady::start();
        let port = load.port();
        let recorder = Tool::attached(&mut onto("record", &path, port));
        // Room for two full blocks at least. The load goes on, until the tool has ended by itself.
        let finished = recorder.wait();
        let made = load.stop();
        assert_eq!(finished.status.code(), Some(1));
        let said = finished.diagnostics();
        assert!(said.contains("No space left on device"), "{said}");
        let bytes = path.metadata().unwrap().len();
        let safe = format!("{bytes} bytes of whole blocks are safe in it");
        assert!(said.contains(&safe), "{bytes}: {said}");

        let replayed = replay(&path, &["--format", "ndjson"]);
        replayed.assert_success();
        let said = replayed.diagnostics();
        assert!(said.contains("not ended in order"), "{said}");
        let whole = whole_lives(&replayed, port);
        assert!((1..=made).contains(&whole), "{whole} of {made}");
    });
}

#[test]
fn output_to_a_full_disk_ends_with_an_error() {
    let Some(_turn) = turn("output_to_a_full_disk_ends_with_an_error", Noise::Little) else {
        return;
    };
    with_disk(MountFlags::empty(), "size=48k", |place| {
        let path = place.join("rows");
        let load = Steady::start();
        let finished = Tool::attached(&mut onto("trace", &path, load.port())).wait();
        load.stop();
        assert_eq!(finished.status.code(), Some(1));
        let said = finished.diagnostics();
        assert!(said.contains("No space left on device"), "{said}");
        assert!(said.contains("rows"), "it names the file: {said}");
    });
}

#[test]
fn a_disk_that_may_not_be_written_to_is_told_at_once() {
    let name = "a_disk_that_may_not_be_written_to_is_told_at_once";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    with_disk(MountFlags::RDONLY, "size=48k", |place| {
        for verb in ["record", "trace"] {
            let path = place.join(verb);
            let finished = Tool::started(&mut onto(verb, &path, 1)).wait();
            assert_eq!(finished.status.code(), Some(1), "{verb}");
            let said = finished.diagnostics();
            assert!(said.contains("Read-only file system"), "{verb}: {said}");
            assert!(said.contains(path.to_str().unwrap()), "{verb}: {said}");
        }
    });
}

/// The thread of a recorder that writes: stopped as by a disk that does not answer, while the others go
/// on. Only the thread that stopped it can let it go.
struct Hanging(Pid);

impl Hanging {
    fn stop(tool: &Tool) -> Self {
        let tasks = fs::read_dir(format!("/proc/{}/task", tool.id())).unwrap();
        let writer = tasks.map(|task| task.unwrap().path()).find(|task| {
            let name = fs::read_to_string(task.join("comm"));
            name.is_ok_and(|name| name.trim() == "recorder")
        });
        let writer = writer.expect("a thread that writes");
        let id = writer.file_name().unwrap().to_str().unwrap();
        let id = Pid::from_raw(id.parse().unwrap());
        ptrace::seize(id, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(id).unwrap();
        let stopped = waitpid(id, Some(WaitPidFlag::__WALL)).unwrap();
        assert!(
            matches!(
                stopped,
                WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)
            ),
            "{stopped:?}"
        );
        Self(id)
    }

    fn go_on(self) {
        ptrace::detach(self.0, None).unwrap();
    }
}

#[test]
fn a_disk_that_hangs_holds_up_nobody() {
    let Some(_turn) = turn("a_disk_that_hangs_holds_up_nobody", Noise::Little) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hangs.tdw");
    let load = Steady::start();
    let port = load.port();
    let recorder = Tool::attached(&mut onto("record", &path, port));
    load.more(100);
    let hanging = Hanging::stop(&recorder);
    let before = path.metadata().unwrap().len();
    // Of far more than a block; the ring holds it all, but so does the queue.
    load.more(3000);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(path.metadata().unwrap().len(), before, "nothing is written");
    hanging.go_on();
    load.more(100);
    let made = load.stop();
    recorder.signal(Signal::INT);
    let finished = recorder.wait();
    finished.assert_success();
    let completeness = finished.completeness();
    assert_eq!(completeness.lost, 0, "{completeness:?}");
    let replayed = replay(&path, &["--format", "ndjson"]);
    replayed.assert_success();
    assert_eq!(replayed.completeness(), completeness);
    let whole = whole_lives(&replayed, port);
    assert!((3200..=made).contains(&whole), "{whole} of {made}");
}

#[test]
fn a_signal_ends_a_recording_in_order() {
    let Some(_turn) = turn("a_signal_ends_a_recording_in_order", Noise::Little) else {
        return;
    };
    for signal in [Signal::TERM, Signal::HUP] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ended.tdw");
        let load = Steady::start();
        let port = load.port();
        let recorder = Tool::attached(&mut onto("record", &path, port));
        load.more(200);
        recorder.signal(signal);
        let finished = recorder.wait();
        load.stop();
        finished.assert_success();
        finished.completeness();
        let (code, said) = verify(&path);
        assert_eq!(code, Some(0), "{said}");
        let replayed = replay(&path, &["--format", "ndjson"]);
        assert_eq!(replayed.completeness(), finished.completeness());
        assert!(whole_lives(&replayed, port) >= 199);
    }
}
