//! The files that a recording goes into, made so that only their owner reads them.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    meta::Meta,
    segment::{Progress, Segment},
};

/// Where a recording goes.
#[derive(Debug)]
pub struct Files {
    place: PathBuf,
    in_directory: bool,
    level: i32,
    meta: Meta,
}

impl Files {
    /// Into `place`: an existing directory, in which a file is made, or the name of a file that is not
    /// there yet.
    pub fn new(place: &Path, level: i32, meta: Meta) -> Self {
        Self {
            in_directory: place.is_dir(),
            place: place.to_owned(),
            level,
            meta,
        }
    }

    /// Makes the file, and writes what the recording stands on.
    pub fn begin(&self) -> Result<(PathBuf, Segment<File>)> {
        let path = self.path();
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
        let segment = Segment::begin(file, self.level, &self.meta, Progress::default())
            .with_context(|| format!("recording to '{shown}': writing its first block"))?;
        Ok((path, segment))
    }

    fn path(&self) -> PathBuf {
        if !self.in_directory {
            return self.place.clone();
        }
        let host: String = self.meta.host.chars().map(harmless).collect();
        let wall_ns = i128::from(self.meta.clock.wall_ns);
        let began = jiff::Timestamp::from_nanosecond(wall_ns).unwrap_or_default();
        let began = began.strftime("%Y%m%dT%H%M%SZ");
        let id = self.meta.recording.get(..8).unwrap_or_default();
        self.place.join(format!("{host}-{began}-{id}.tdw"))
    }
}

/// A host's name may be anything; the name of a file may not.
fn harmless(c: char) -> char {
    if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') {
        c
    } else {
        '_'
    }
}

/// Whether the file has lost its name: what is written to it nobody will find.
pub(super) fn is_removed(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}
