//! What `export` makes of a recording: the same that a report makes of it, where it belongs, and with
//! `--anonymize` nothing that names anybody.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;
use tracer::{
    engine::{EventBody, ProcessName},
    recording::{Meta, Progress, Segment},
};

use crate::{made, python};

fn tool<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpdwell"));
    command.args(arguments).output().unwrap()
}

fn export(recording: &Path, to: &str, output: &Path, more: &[&str]) -> Output {
    let mut arguments = vec!["export".as_ref(), recording.as_os_str(), "--to".as_ref()];
    arguments.extend(["-o".as_ref(), output.as_os_str()]);
    arguments.insert(3, to.as_ref());
    arguments.extend(more.iter().map(std::ffi::OsStr::new));
    let output = tool(arguments);
    assert!(
        output.status.success(),
        "{to}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn report(recording: &Path, to: &Path) {
    let format = [
        "report".as_ref(),
        "--format".as_ref(),
        "json".as_ref(),
        "--from".as_ref(),
    ];
    let output = tool(format.into_iter().chain([recording.as_os_str()]));
    assert!(output.status.success());
    fs::write(to, output.stdout).unwrap();
}

/// A recording of this host, on which everybody has a name that is found again.
fn secret(path: &Path, host: &str) {
    let meta = Meta {
        host: host.to_owned(),
        boot_id: Some("secret-boot".to_owned()),
        ..made::meta(1)
    };
    let mut segment = Segment::begin(Vec::new(), 1, &meta, Progress::default()).unwrap();
    for (i, mut event) in made::events(4000).into_iter().enumerate() {
        if i == 0 {
            event.body = EventBody::Clock { wall_ns: 0 };
        }
        match &mut event.body {
            EventBody::Process(fact) => {
                // Those who do something.
                fact.pid = u32::try_from(i % 4).unwrap();
                fact.process.name = ProcessName(*b"secret-comm\0\0\0\0\0");
            }
            EventBody::StateChange(change) => change.unwanted = false,
            EventBody::Cgroup(fact) => fact.path = Arc::from(format!("/secret-path-{i}")),
            EventBody::Clock { wall_ns } => {
                // Three hours, so that there are several files.
                *wall_ns = 1_790_000_000_000_000_000 + 2_700_000_000 * i64::try_from(i).unwrap();
            }
            _ => {}
        }
        segment.push(&event).unwrap();
    }
    fs::write(path, segment.end().unwrap().0).unwrap();
}

fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let recording = directory.path().join("recording.tdw");
    (directory, recording)
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

fn lines(ndjson: &Path) -> Vec<Value> {
    let text = fs::read_to_string(ndjson).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[cfg(feature = "parquet")]
#[test]
fn tables_of_the_golden_recording_say_what_its_report_says() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/v1.tdw");
    let (directory, _) = place();
    let (tables, figures) = (directory.path().join("x"), directory.path().join("r.json"));
    export(&recording, "parquet", &tables, &[]);
    report(&recording, &figures);
    python::run(
        "tables_of_the_golden_recording_say_what_its_report_says",
        "tables.py",
        [&tables, &figures, &python::sql()],
    );
}

#[test]
fn tracks_of_the_golden_recording_are_what_perfetto_reads() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/v1.tdw");
    let (directory, _) = place();
    let (trace, figures) = (directory.path().join("x"), directory.path().join("r.json"));
    export(&recording, "perfetto", &trace, &[]);
    report(&recording, &figures);
    python::run(
        "tracks_of_the_golden_recording_are_what_perfetto_reads",
        "tracks.py",
        [&trace, &figures],
    );
}

#[cfg(feature = "parquet")]
#[test]
fn no_host_name_leads_out_of_the_directory() {
    let (directory, recording) = place();
    let host = "../../../x=1%2f/\u{e9}\n";
    secret(&recording, host);
    let tables = directory.path().join("deep/down/here");
    export(&recording, "parquet", &tables, &[]);
    let elsewhere = files(directory.path());
    let elsewhere: Vec<_> = elsewhere
        .iter()
        .filter(|f| !f.starts_with(&tables))
        .collect();
    assert_eq!(elsewhere, [&recording]);
    let manifest = fs::read(tables.join("_manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let parts = manifest["files"].as_array().unwrap();
    assert!(
        parts.len() >= 6,
        "{}: an hour has its own files",
        parts.len()
    );
    for part in parts {
        assert_eq!(part["host"], host);
        let path = part["path"].as_str().unwrap();
        assert!(
            path.contains("/host=..%2F..%2F..%2Fx%3D1%252f%2F%C3%A9%0A/date=2026-09-"),
            "{path}"
        );
    }

    // As many rows as lines, and the same connections.
    let plain = directory.path().join("plain");
    export(&recording, "ndjson", &plain, &[]);
    let transitions = lines(&plain);
    let transitions = transitions.iter().filter(|l| l["event"] == "transition");
    assert_eq!(manifest["rows"]["transitions"], transitions.count());
    let figures = directory.path().join("r.json");
    report(&recording, &figures);
    python::run(
        "no_host_name_leads_out_of_the_directory",
        "tables.py",
        [&tables, &figures, &python::sql()],
    );
}

#[cfg(feature = "parquet")]
#[test]
fn a_directory_that_holds_something_is_left_alone() {
    let (directory, recording) = place();
    secret(&recording, "host-1");
    let arguments = |more: &[&str]| {
        let begin = ["export", "--to", "parquet", recording.to_str().unwrap()];
        tool(begin.iter().chain(more))
    };
    let before = files(directory.path());
    let refused = arguments(&["-o", directory.path().to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("it is not empty"), "{said}");
    assert_eq!(files(directory.path()), before);
    let refused = arguments(&[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("-o DIR is needed"), "{said}");
}

/// All that the rows of a Parquet file say, as text.
#[cfg(feature = "parquet")]
fn rows(path: &Path) -> String {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    let rows: Vec<_> = rows.map(|row| row.unwrap().to_string()).collect();
    rows.join("\n")
}

/// All that an export says, file names included.
fn said(recording: &Path, to: &str, output: &Path, more: &[&str]) -> String {
    export(recording, to, output, more);
    if !output.is_dir() {
        return String::from_utf8_lossy(&fs::read(output).unwrap()).into_owned();
    }
    let mut said = String::new();
    let mut files = files(output);
    files.sort();
    for file in files {
        said.push_str(&file.strip_prefix(output).unwrap().display().to_string());
        #[cfg(feature = "parquet")]
        if file.extension().is_some_and(|e| e == "parquet") {
            said.push_str(&rows(&file));
            continue;
        }
        said.push_str(&fs::read_to_string(&file).unwrap());
    }
    said
}

#[test]
fn nobody_is_named_in_what_is_anonymous() {
    let (directory, recording) = place();
    secret(&recording, "secret-host");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("key"), "of sixteen bytes").unwrap();
    let key = path("key");
    let anonymous = ["--anonymize", key.to_str().unwrap()];

    export(&recording, "ndjson", &path("plain"), &[]);
    let addresses: BTreeSet<String> = lines(&path("plain"))
        .iter()
        .flat_map(|line| [line["laddr"].clone(), line["raddr"].clone()])
        .filter_map(|address| address.as_str().map(str::to_owned))
        .filter(|address| address != "0.0.0.0" && address != "::")
        .collect();
    assert!(addresses.len() > 100, "{}", addresses.len());

    let formats = ["ndjson", "csv", "perfetto", "parquet"];
    let formats = &formats[..formats.len() - usize::from(!cfg!(feature = "parquet"))];
    for to in formats {
        let before = said(&recording, to, &path(&format!("{to}-before")), &[]);
        let after = said(&recording, to, &path(&format!("{to}-after")), &anonymous);
        let again = said(&recording, to, &path(&format!("{to}-after2")), &anonymous);
        assert!(before.contains("secret-comm"), "{to}");
        assert!(!after.contains("secret"), "{to}");
        assert!(after == again, "{to}: the same key, the same names");
        // An address is a whole one: no digit, letter, dot or colon beside it.
        let whole = |text: &str| -> BTreeSet<String> {
            let beside = |c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':');
            let words = text.split(beside).filter(|word| !word.is_empty());
            let words = words.flat_map(|word| [word, word.rsplit_once(':').map_or("", |w| w.0)]);
            words.map(str::to_owned).collect()
        };
        let (before, after) = (whole(&before), whole(&after));
        let known = addresses.iter().filter(|a| before.contains(*a)).count();
        assert!(
            known > addresses.len() / 2,
            "{to}: {known} of {}",
            addresses.len()
        );
        let left: Vec<_> = addresses.intersection(&after).collect();
        assert!(left.is_empty(), "{to}: {left:?}");
    }

    // The rows are the same but for who is named.
    export(&recording, "ndjson", &path("after"), &anonymous);
    let (before, after) = (lines(&path("plain")), lines(&path("after")));
    let told = |lines: &[Value]| -> Vec<Value> {
        let told = lines
            .iter()
            .filter(|l| l["event"] != "cgroup" && l["event"] != "start");
        told.map(|line| {
            let mut line = line.clone();
            for name in ["laddr", "raddr", "comm"] {
                line[name] = Value::Null;
            }
            line
        })
        .collect()
    };
    assert_eq!(told(&before), told(&after));
    assert!(after.iter().all(|line| line["comm"].is_null()));

    fs::write(path("key"), "of 16 bytes, too").unwrap();
    export(&recording, "ndjson", &path("other"), &anonymous);
    assert_ne!(lines(&path("other")), after, "another key");
}
