//! Disks that are full, may not be written to, or hang: a clear error or nothing at all, never a hang,
//! and what was written before is read.

use std::{fs, path::Path, thread, time::Duration};

use nix::{
    sys::{
        ptrace,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use rustix::{
    mount::{MountFlags, mount},
    process::Signal,
};

use crate::{
    netns::own_mounts,
    skip::{Noise, turn},
    steady::{Steady, onto, whole_lives},
    tool::{Tool, replay},
};

/// Does something where a disk of these options is mounted, which nobody else sees.
fn with_disk<T: Send>(flags: MountFlags, options: &str, act: impl FnOnce(&Path) -> T + Send) -> T {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let done = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            own_mounts();
            let options = std::ffi::CString::new(options).unwrap();
            mount("none", place, "tmpfs", flags, Some(&*options)).unwrap();
            act(place)
        });
        thread.join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
        assert!(
            said.contains("until it failed: completeness: seen="),
            "{said}"
        );
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
