//! A kernel without BTF: the classic tracepoint, said so, and just as right.

use std::{fs, path::Path, thread};

use rustix::mount::mount_bind;

use crate::{
    compare, hidden,
    netns::own_mounts,
    skip::{Noise, turn},
    small::{SMALL, namespace, of_lane},
    tool::{Tool, trace},
    workload::Lane,
};

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// What the rest of the machine sees of mounts, and of tracefs.
fn outside() -> (String, usize) {
    let mounts = fs::read_to_string("/proc/1/mountinfo").unwrap();
    let entries = fs::read_dir("/sys/kernel/tracing").map_or(0, Iterator::count);
    (mounts, entries)
}

/// The tool, where the kernel seems to have no BTF.
fn tool_without_btf() -> Tool {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let path = empty.path().to_owned();
    // Mount namespaces belong to threads, and children inherit them.
    let thread = thread::spawn(move || {
        own_mounts();
        mount_bind(&path, BTF).unwrap();
        Tool::attached(&mut trace(["--format", "ndjson", "--state-source", "auto"]))
    });
    thread.join().unwrap()
}

#[test]
fn without_btf_falls_back() {
    let Some(_turn) = turn("without_btf_falls_back", Noise::Little) else {
        return;
    };
    assert!(Path::new(BTF).exists(), "nothing to hide on this kernel");
    let before = outside();
    let lane = Lane { test: 9, space: 0 };
    let space = namespace(lane, SMALL);
    let tool = tool_without_btf();
    assert_eq!(outside(), before, "tracefs is mounted for the tool alone");
    let ledger = space.run().without_time_wait();
    tool.settle();
    let finished = tool.interrupt();
    finished.assert_success();
    let said = finished.diagnostics();
    assert!(said.contains("tracepoint"), "{said}");
    let completeness = finished.completeness();
    let rows = finished.rows();
    let rows = of_lane(&rows, lane);
    assert!(
        rows.iter()
            .all(|r| r.pid.is_none() && r.comm.is_none() && r.netns.is_none())
    );
    match completeness.recursion {
        Some(0) => {
            hidden::exact(&ledger, &rows, &completeness);
        }
        recursion => {
            let verdict = compare::compare(&ledger, &rows);
            assert!(
                verdict.missing <= recursion.unwrap_or(u64::MAX),
                "{verdict:?}"
            );
        }
    }
}
