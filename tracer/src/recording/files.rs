//! The files that a recording goes into, one after another, made so that only their owner reads them.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    meta::{ClockPair, Meta},
    segment::{Progress, Segment},
};
use crate::{clock, engine::Mono};

/// When the next file begins, and how much of what was closed is kept. `None`: never, all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// At so many bytes.
    pub size: Option<u64>,
    /// After so long.
    pub every: Option<Duration>,
    /// At most so many bytes in all.
    pub keep_size: Option<u64>,
    /// What ended longer ago is deleted.
    pub keep_for: Option<Duration>,
}

/// Where a recording goes.
#[derive(Debug)]
pub struct Files {
    place: PathBuf,
    level: i32,
    meta: Meta,
    rotation: Rotation,
    /// When the open one began.
    began: Mono,
    closed: VecDeque<Closed>,
}

/// A file that is complete.
#[derive(Debug)]
struct Closed {
    path: PathBuf,
    bytes: u64,
    ended: Mono,
}

impl Files {
    /// Into `place`: an existing directory, in which a file is made, or the name of a file that is not
    /// there yet.
    pub fn new(place: &Path, level: i32, meta: Meta, rotation: Rotation) -> Self {
        Self {
            place: if place.is_dir() {
                place.join(name(&meta))
            } else {
                place.to_owned()
            },
            level,
            meta,
            rotation,
            began: Mono(0),
            closed: VecDeque::new(),
        }
    }

    /// Makes the next file, and writes what the recording stands on.
    pub fn begin(&mut self, progress: Progress) -> Result<(PathBuf, Segment<File>)> {
        let path = match self.meta.segment {
            0 => self.place.clone(),
            n => numbered(&self.place, n),
        };
        let shown = path.display();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
                "recording to '{shown}': it exists already, and a recording is never written over; \
                 name another file, or a directory"
            ),
            other => other.with_context(|| format!("recording to '{shown}': making the file"))?,
        };
        self.meta.clock = clocks();
        let segment = Segment::begin(file, self.level, &self.meta, progress)
            .with_context(|| format!("recording to '{shown}': writing its first block"))?;
        sync_directory(&path);
        self.meta.segment += 1;
        self.began = clock::monotonic();
        Ok((path, segment))
    }

    /// What both clocks showed when the latest file began.
    pub(super) const fn clock(&self) -> ClockPair {
        self.meta.clock
    }

    /// Whether it is time for the next file.
    pub(super) fn is_due(&self, bytes: u64, now: Mono) -> bool {
        let rotation = &self.rotation;
        rotation.size.is_some_and(|size| bytes >= size)
            || rotation
                .every
                .is_some_and(|every| now.since(self.began) >= every)
    }

    /// A file is complete: those that are one too many are deleted.
    pub(super) fn close(&mut self, path: PathBuf, bytes: u64) {
        let ended = clock::monotonic();
        self.closed.push_back(Closed { path, bytes, ended });
    }

    /// Deletes what is not to be kept, the oldest first. `open`: bytes of the open file.
    pub(super) fn sweep(&mut self, open: u64, now: Mono) {
        let mut bytes: u64 = open + self.closed.iter().map(|closed| closed.bytes).sum::<u64>();
        while let Some(oldest) = self.closed.front() {
            let rotation = &self.rotation;
            let too_many = rotation.keep_size.is_some_and(|keep| bytes > keep);
            let too_old = rotation
                .keep_for
                .is_some_and(|keep| now.since(oldest.ended) > keep);
            if !too_many && !too_old {
                return;
            }
            bytes -= oldest.bytes;
            let shown = oldest.path.display();
            match fs::remove_file(&oldest.path) {
                Ok(()) => log::debug!("'{shown}' is deleted: it is not to be kept"),
                Err(error) => log::warn!("'{shown}' can't be deleted: {error}"),
            }
            self.closed.pop_front();
        }
    }
}

/// The name of a later file: `x.tdw`, `x.000001.tdw`.
fn numbered(first: &Path, number: u64) -> PathBuf {
    let extension = first.extension().map(|e| e.to_string_lossy().into_owned());
    match extension {
        Some(extension) => first.with_extension(format!("{number:06}.{extension}")),
        None => first.with_extension(format!("{number:06}")),
    }
}

/// A name for a recording: host, time, and what makes it the only one.
fn name(meta: &Meta) -> String {
    let host: String = meta.host.chars().map(harmless).collect();
    let wall_ns = i128::from(meta.clock.wall_ns);
    let began = jiff::Timestamp::from_nanosecond(wall_ns).unwrap_or_default();
    let began = began.strftime("%Y%m%dT%H%M%SZ");
    let id = meta.recording.get(..8).unwrap_or_default();
    format!("{host}-{began}-{id}.tdw")
}

/// A host's name may be anything; the name of a file may not.
fn harmless(c: char) -> char {
    if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') {
        c
    } else {
        '_'
    }
}

fn clocks() -> ClockPair {
    let (mono, wall_ns) = clock::pair();
    ClockPair {
        mono_ns: mono.0,
        wall_ns,
    }
}

/// Whether the file has lost its name: what is written to it nobody will find.
pub(super) fn is_removed(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

/// A file's name is safe only with its directory.
fn sync_directory(path: &Path) {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    if let Err(error) = File::open(directory).and_then(|directory| directory.sync_all()) {
        log::debug!("'{}' can't be synced: {error}", directory.display());
    }
}
