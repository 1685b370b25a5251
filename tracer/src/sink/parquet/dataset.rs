//! The directory: two tables, each in files by host and hour, and a manifest that comes last.

use std::{
    fmt, fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    column::Column,
    connections::{self, Connection},
    part::{self, Part},
    transitions::{self, Change},
};
use crate::render::completeness::Completeness;

const HOUR_NS: i64 = 3_600_000_000_000;
/// Files of a table that are open at once: around the hour, rows of both come.
const OPEN: usize = 2;
/// A clock that steps from hour to hour makes a file each time: no honest one this many.
const MAX_FILES: usize = 100_000;
/// What engines read as null.
const UNKNOWN: &str = "__HIVE_DEFAULT_PARTITION__";
/// Bytes of an escaped host name; a path's component has room for 255.
const MAX_NAME: usize = 200;
const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// See the module.
pub struct Dataset {
    directory: PathBuf,
    anonymized: bool,
    pub(super) transitions: Table<Change>,
    pub(super) connections: Table<Connection>,
    recordings: Vec<Recording>,
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// A recording that was read, as the manifest has it.
#[derive(Debug, Serialize)]
pub(super) struct Recording {
    #[serde(serialize_with = "text")]
    pub(super) host: Option<Rc<str>>,
    #[serde(serialize_with = "text")]
    pub(super) boot_id: Option<Rc<str>>,
    pub(super) kernel: String,
    pub(super) hooks: Hooks,
    pub(super) start: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
    pub(super) completeness: Completeness,
    /// In the table, but of connections that the recording's filter turned out not to want: no report
    /// counts them.
    pub(super) unwanted_transitions: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Hooks {
    pub(super) state: String,
    pub(super) time_wait: String,
    pub(super) snapshot: String,
    pub(super) owner: String,
}

#[derive(Serialize)]
struct Manifest<'a> {
    schema: &'static str,
    tool: &'static str,
    /// Every recording was read to its end.
    complete: bool,
    anonymized: bool,
    rows: Rows,
    recordings: &'a [Recording],
    files: Vec<&'a File>,
}

#[derive(Serialize)]
struct Rows {
    transitions: u64,
    connections: u64,
}

#[derive(Debug, Serialize)]
struct File {
    table: &'static str,
    path: String,
    #[serde(serialize_with = "text")]
    host: Option<Rc<str>>,
    /// Of the UTC hour in which its rows lie.
    hour: Option<Timestamp>,
    rows: u64,
    bytes: u64,
    sha256: String,
}

#[expect(
    clippy::ref_option,
    reason = "serde's signature: a reference to the field"
)]
fn text<S: serde::Serializer>(text: &Option<Rc<str>>, to: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(to)
}

/// A table's files.
pub(super) struct Table<R: 'static> {
    name: &'static str,
    columns: &'static [Column<R>],
    directory: PathBuf,
    /// The one that was written to last is the last.
    open: Vec<(Place, String, Part<R>)>,
    files: Vec<File>,
    made: usize,
}

/// Where a row belongs.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    host: Option<Rc<str>>,
    /// Hours since 1970, UTC.
    hour: Option<i64>,
}

impl Dataset {
    /// In this directory, which is made, or empty.
    pub fn create(directory: &Path, anonymized: bool) -> Result<Self> {
        let shown = directory.display();
        match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => bail!(
                "exporting to '{shown}': it is not empty, and nothing is written over; name another \
                 directory"
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => fs::create_dir_all(directory)
                .with_context(|| format!("exporting to '{shown}': making the directory"))?,
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                bail!("exporting to '{shown}': it is a file; Parquet takes a directory")
            }
            Err(error) => {
                return Err(error).with_context(|| format!("exporting to '{shown}'"));
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            anonymized,
            transitions: Table::new("transitions", transitions::COLUMNS, directory),
            connections: Table::new("connections", connections::COLUMNS, directory),
            recordings: Vec::new(),
        })
    }

    /// One more recording has been read to its end, or to where reading was broken off.
    pub(super) fn read(&mut self, recording: Recording) {
        self.recordings.push(recording);
    }

    /// Completes all files, and says what there is.
    pub fn finish(mut self, complete: bool) -> Result<()> {
        self.transitions.finish()?;
        self.connections.finish()?;
        let rows = |files: &[File]| files.iter().map(|file| file.rows).sum();
        let (transitions, connections) = (&self.transitions.files, &self.connections.files);
        let manifest = Manifest {
            schema: "tcpdwell.export/1",
            tool: env!("CARGO_PKG_VERSION"),
            complete,
            anonymized: self.anonymized,
            rows: Rows {
                transitions: rows(transitions),
                connections: rows(connections),
            },
            recordings: &self.recordings,
            files: transitions.iter().chain(connections).collect(),
        };
        let path = self.directory.join("_manifest.json");
        let mut file = part::temporary(&path)?;
        let mut text = serde_json::to_vec_pretty(&manifest)?;
        text.push(b'\n');
        file.write_all(&text)
            .with_context(|| format!("writing '{}'", path.display()))?;
        part::complete(file, &path)
    }
}

impl<R> Table<R> {
    fn new(name: &'static str, columns: &'static [Column<R>], directory: &Path) -> Self {
        Self {
            name,
            columns,
            directory: directory.to_owned(),
            open: Vec::with_capacity(OPEN),
            files: Vec::new(),
            made: 0,
        }
    }

    /// One row; `ts_ns`: since 1970.
    pub(super) fn push(
        &mut self,
        host: Option<&Rc<str>>,
        ts_ns: Option<i64>,
        row: R,
    ) -> Result<()> {
        let hour = ts_ns.map(|ns| ns.div_euclid(HOUR_NS));
        let is_here = |(place, _, _): &(Place, String, Part<R>)| {
            place.hour == hour && place.host.as_ref() == host
        };
        match self.open.iter().rposition(is_here) {
            Some(at) if at + 1 == self.open.len() => {}
            Some(at) => {
                let used = self.open.remove(at);
                self.open.push(used);
            }
            None => self.begin(Place {
                host: host.cloned(),
                hour,
            })?,
        }
        match self.open.last_mut() {
            Some((_, _, part)) => part.push(row),
            None => Ok(()),
        }
    }

    fn begin(&mut self, place: Place) -> Result<()> {
        if self.open.len() >= OPEN {
            let oldest = self.open.remove(0);
            self.end(oldest)?;
        }
        if self.made >= MAX_FILES {
            bail!(
                "exporting to '{}': more than {MAX_FILES} files: the recording's clock steps from \
                 hour to hour; export fewer recordings at a time, or as ndjson",
                self.directory.display()
            );
        }
        let path = format!("{}/{}/part-{:05}.parquet", self.name, place, self.made);
        let part = Part::begin(self.name, self.columns, self.directory.join(&path))?;
        self.made += 1;
        self.open.push((place, path, part));
        Ok(())
    }

    fn end(&mut self, (place, path, part): (Place, String, Part<R>)) -> Result<()> {
        let finished = part.finish()?;
        let second = |hour: i64| Timestamp::from_second(hour.checked_mul(3600)?).ok();
        self.files.push(File {
            table: self.name,
            path,
            host: place.host,
            hour: place.hour.and_then(second),
            rows: finished.rows,
            bytes: finished.bytes,
            sha256: finished.sha256,
        });
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        for open in std::mem::take(&mut self.open) {
            self.end(open)?;
        }
        Ok(())
    }
}

/// As Hive names directories.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_deref().map_or(UNKNOWN.to_owned(), escape);
        let second = self.hour.and_then(|hour| hour.checked_mul(3600));
        match second.and_then(|second| Timestamp::from_second(second).ok()) {
            Some(hour) => write!(f, "host={host}/{}", hour.strftime("date=%Y-%m-%d/hour=%H")),
            None => write!(f, "host={host}/date={UNKNOWN}/hour={UNKNOWN}"),
        }
    }
}

/// A host's name as part of a path, whatever it is.
fn escape(host: &str) -> String {
    let escaped = utf8_percent_encode(host, &ESCAPED).to_string();
    if escaped == UNKNOWN {
        return escaped.replacen('_', "%5F", 1);
    }
    if escaped.len() <= MAX_NAME {
        return escaped;
    }
    // Cut, never within an escape, and told apart by what all of it hashes to.
    let mut hash = format!("{:x}", Sha256::digest(host.as_bytes()));
    hash.truncate(16);
    let mut kept = String::new();
    for c in host.chars() {
        let c = utf8_percent_encode(c.encode_utf8(&mut [0; 4]), &ESCAPED).to_string();
        if kept.len() + c.len() > MAX_NAME - 17 {
            break;
        }
        kept.push_str(&c);
    }
    format!("{kept}~{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_host_name_leaves_its_place() {
        assert_eq!(escape("web-1.example"), "web-1.example");
        assert_eq!(
            escape("../../etc/x=1\n\0%"),
            "..%2F..%2Fetc%2Fx%3D1%0A%00%25"
        );
        assert_eq!(escape(UNKNOWN), "%5F_HIVE_DEFAULT_PARTITION__");
        let (one, other) = ("ü".repeat(300), "ü".repeat(301));
        assert!(escape(&one).len() <= MAX_NAME);
        assert_ne!(escape(&one), escape(&other));
        let place = Place {
            host: Some("a/b".into()),
            hour: Some(493_548),
        };
        assert_eq!(place.to_string(), "host=a%2Fb/date=2026-04-21/hour=12");
        let nowhere = Place {
            host: None,
            hour: Some(i64::MAX),
        };
        assert_eq!(
            nowhere.to_string(),
            format!("host={UNKNOWN}/date={UNKNOWN}/hour={UNKNOWN}")
        );
    }

    #[test]
    fn what_is_there_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("mine"), "x").unwrap();
        let refused = Dataset::create(directory.path(), false).unwrap_err();
        assert!(refused.to_string().contains("not empty"), "{refused}");
        let file = directory.path().join("mine");
        let refused = Dataset::create(&file, false).unwrap_err();
        assert!(refused.to_string().contains("is a file"), "{refused}");
    }
}
