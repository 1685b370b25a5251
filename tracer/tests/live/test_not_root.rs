//! Without the capabilities: what is needed is said, and the exit code is 3.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
};

use crate::{
    skip::{Noise, turn},
    spawn, tool,
};

const NOBODY: u32 = 65_534;

#[test]
fn not_root_exits_3() {
    let Some(_turn) = turn("not_root_exits_3", Noise::Little) else {
        return;
    };
    // The build directory may be closed to others.
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("tcpdwell");
    // A process started meanwhile would hold the file open for writing: "text file busy".
    spawn::alone(|| fs::copy(tool::binary(), &copy)).unwrap();
    for path in [directory.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(&copy);
    command
        .args(["trace", "--format", "ndjson"])
        .uid(NOBODY)
        .gid(NOBODY);
    let finished = tool::Tool::started(&mut command).wait();
    let said = finished.diagnostics();
    assert_eq!(finished.status.code(), Some(3), "{said}");
    assert!(
        said.contains("CAP_BPF") && said.contains("CAP_PERFMON"),
        "{said}"
    );
    assert!(finished.rows().is_empty());
}
