//! What is exported of a recording of real traffic is what its report says, as other programs read it.

use std::process::Command;

use crate::{
    python,
    skip::{Noise, turn},
    small::{SMALL, namespace},
    tool::{Tool, binary},
    workload::Lane,
};

#[test]
fn exports_of_a_recording_say_what_its_report_says() {
    const TEST: &str = "exports_of_a_recording_say_what_its_report_says";
    let Some(_turn) = turn(TEST, Noise::Little) else {
        return;
    };
    let lane = Lane { test: 41, space: 0 };
    let space = namespace(lane, SMALL);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut record = Command::new(binary());
    record.args(["record", "-o"]).arg(path("made.tdw"));
    record.args(["--netns", &space.inode.to_string()]);
    let recorder = Tool::attached(&mut record);
    let ledger = space.run();
    recorder.interrupt().assert_success();

    let run = |arguments: &[&str], output: &str| {
        let mut command = Command::new(binary());
        command.args(arguments).arg(path("made.tdw"));
        command.arg("-o").arg(path(output));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
    };
    run(&["report", "--format", "json", "--from"], "report.json");
    run(&["export", "--to", "perfetto"], "trace.pftrace");
    let report = std::fs::read(path("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let opened = &report["connections"]["opened"]["active"];
    assert!(opened.as_u64() > Some(50), "{opened}: {ledger:?}");
    let tracks = [path("trace.pftrace"), path("report.json")];
    python::run(TEST, "tracks.py", tracks);
    #[cfg(feature = "parquet")]
    {
        run(&["export", "--to", "parquet"], "tables");
        let tables = [path("tables"), path("report.json"), python::sql()];
        python::run(TEST, "tables.py", tables);
    }
}
