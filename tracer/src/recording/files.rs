//! The files that a recording goes into, one after another, made so that only their owner reads them.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    meta::{ClockPair, Meta},
    segment::{Progress, Segment},
    target::Target,
};
use crate::{clock, engine::Mono};

/// What to do about a file that is there.
const NEVER_OVER: &str = "and a recording is never written over; name another file, or a directory";

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
    /// In memory, until it is asked for.
    pub in_memory: bool,
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
    /// Bytes of it that repeat what stood.
    standing: u64,
    /// Files made on the disk.
    made: u64,
    closed: VecDeque<Closed>,
}

/// A file that is complete.
#[derive(Debug)]
struct Closed {
    path: PathBuf,
    bytes: u64,
    ended: Mono,
    /// What is not on the disk.
    kept: Option<Vec<u8>>,
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
            standing: 0,
            made: 0,
            closed: VecDeque::new(),
        }
    }

    /// Makes the next file, and writes what the recording stands on.
    pub fn begin(&mut self, progress: Progress) -> Result<(PathBuf, Segment<Target>)> {
        if self.meta.segment == 0 && self.makes_more() {
            self.refuse_left_overs()?;
        }
        if self.rotation.in_memory && self.meta.segment == 0 {
            // Better now than when there is something to lose.
            let (path, _) = self.make()?;
            fs::remove_file(&path).with_context(|| format!("trying '{}'", path.display()))?;
            self.made = 0;
        }
        let (path, target) = if self.rotation.in_memory {
            (self.place.clone(), Target::Memory(Vec::new()))
        } else {
            let (path, file) = self.make()?;
            (path, Target::File(file))
        };
        self.meta.clock = clocks();
        let shown = path.display();
        let segment = Segment::begin(target, self.level, &self.meta, progress)
            .with_context(|| format!("recording to '{shown}': writing its first block"))?;
        self.meta.segment += 1;
        self.began = clock::monotonic();
        Ok((path, segment))
    }

    /// Whether more files will be made than the first.
    pub(super) const fn makes_more(&self) -> bool {
        let rotation = &self.rotation;
        rotation.in_memory || rotation.size.is_some() || rotation.every.is_some()
    }

    /// Files of an earlier run would be in the way later, when there is something to lose.
    fn refuse_left_overs(&self) -> Result<()> {
        // One that can't be read is noticed when a file is made in it.
        let entries = fs::read_dir(directory(&self.place)).into_iter().flatten();
        let mut paths = entries.flatten().map(|entry| entry.path());
        if let Some(path) = paths.find(|path| is_numbered(&self.place, path)) {
            let place = self.place.display();
            bail!(
                "recording to '{place}': '{}' exists already, {NEVER_OVER}",
                path.display()
            );
        }
        Ok(())
    }

    /// A file that was not there.
    fn make(&mut self) -> Result<(PathBuf, File)> {
        let path = match self.made {
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
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("recording to '{shown}': it exists already, {NEVER_OVER}")
            }
            other => other.with_context(|| format!("recording to '{shown}': making the file"))?,
        };
        sync_directory(&path);
        self.made += 1;
        Ok((path, file))
    }

    /// Writes what is kept in memory into a file, and keeps it no longer; where to, and how many
    /// bytes. `None`: nothing is.
    pub(super) fn write_out(&mut self) -> Result<Option<(PathBuf, u64)>> {
        if !self.rotation.in_memory || self.closed.is_empty() {
            return Ok(None);
        }
        let (path, mut file) = self.make()?;
        let mut bytes = 0;
        for kept in self.closed.iter().filter_map(|closed| closed.kept.as_ref()) {
            file.write_all(kept)
                .with_context(|| format!("recording to '{}'", path.display()))?;
            bytes += kept.len() as u64;
        }
        file.sync_all()
            .with_context(|| format!("recording to '{}': waiting for the disk", path.display()))?;
        self.closed.clear();
        Ok(Some((path, bytes)))
    }

    /// What both clocks showed when the latest file began.
    pub(super) const fn clock(&self) -> ClockPair {
        self.meta.clock
    }

    /// The open file begins with so many bytes that tell what stood.
    pub(super) const fn began_with(&mut self, bytes: u64) {
        self.standing = bytes;
    }

    /// Whether it is time for the next file. A file is never more than half repetition.
    pub(super) fn is_due(&self, bytes: u64, now: Mono) -> bool {
        let rotation = &self.rotation;
        let enough = bytes >= 2 * self.standing;
        rotation.size.is_some_and(|size| enough && bytes >= size)
            || rotation
                .every
                .is_some_and(|every| now.since(self.began) >= every)
    }

    /// A file is complete.
    pub(super) fn close(&mut self, path: PathBuf, bytes: u64, target: Target) {
        let kept = match target {
            Target::Memory(kept) => Some(kept),
            Target::File(_) => None,
        };
        self.closed.push_back(Closed {
            path,
            bytes,
            ended: clock::monotonic(),
            kept,
        });
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
            if oldest.kept.is_none()
                && let Err(error) = fs::remove_file(&oldest.path)
            {
                log::warn!("'{}' can't be deleted: {error}", oldest.path.display());
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

/// Whether [`numbered`] may come to name this file.
fn is_numbered(first: &Path, path: &Path) -> bool {
    let number = |path: &Path| {
        // `x.000001.tdw` less the extension that it shares with `x.tdw`.
        let stem = match first.extension() {
            Some(_) => Path::new(path.file_stem()?),
            None => Path::new(path.file_name()?),
        };
        stem.extension()?.to_str()?.parse::<u64>().ok()
    };
    number(path).is_some_and(|n| numbered(first, n).file_name() == path.file_name())
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

/// Where a file lies.
fn directory(path: &Path) -> &Path {
    let parent = path.parent();
    parent
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// A file's name is safe only with its directory.
fn sync_directory(path: &Path) {
    let directory = directory(path);
    if let Err(error) = File::open(directory).and_then(|directory| directory.sync_all()) {
        log::debug!("'{}' can't be synced: {error}", directory.display());
    }
}
