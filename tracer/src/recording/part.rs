//! Which recordings there are in some files: a file may hold several, and a recording may take several
//! files.

use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    header::BlockType,
    meta::Meta,
    reader::{BlockReader, Next},
};

/// What of one recording lies together in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The file.
    pub path: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The recording's number in every header.
    pub tag: u32,
    /// Blocks of the recording before it.
    pub seq: u64,
    /// Times of its first and its last event, in ns of kernel time; `None`: no event is in it.
    pub span: Option<(u64, u64)>,
    /// What it stands on; `None`: that block is missing.
    pub meta: Option<Meta>,
}

/// The parts of a file, in its order. Looks at headers only.
pub fn parts(path: &Path) -> Result<Vec<Part>> {
    let reading = || format!("reading the recording '{}'", path.display());
    let file = File::open(path).with_context(reading)?;
    let length = file.metadata().with_context(reading)?.len();
    let mut reader = BlockReader::new(file, 0).with_context(reading)?;
    let mut parts: Vec<Part> = Vec::new();
    loop {
        let (offset, header) = match reader.skim().with_context(reading)? {
            Next::Block { offset, header } => (offset, header),
            Next::Damage { .. } => continue,
            Next::End => break,
        };
        if parts.last().is_none_or(|part| part.tag != header.recording) {
            // What is damaged before the first block belongs to it.
            let offset = if parts.is_empty() { 0 } else { offset };
            parts.push(Part {
                path: path.to_owned(),
                offset,
                bytes: 0,
                tag: header.recording,
                seq: header.seq,
                span: None,
                meta: None,
            });
        }
        if header.kind == BlockType::Events
            && header.count > 0
            && let Some(part) = parts.last_mut()
        {
            let (first, last) = part.span.unwrap_or((header.first_ts, header.last_ts));
            part.span = Some((first.min(header.first_ts), last.max(header.last_ts)));
        }
        if header.kind == BlockType::Meta
            && let Some(part) = parts.last_mut()
            && part.meta.is_none()
        {
            part.meta = serde_json::from_slice(reader.payload()).ok();
        }
    }
    let mut end = length;
    for part in parts.iter_mut().rev() {
        part.bytes = end - part.offset;
        end = part.offset;
    }
    Ok(parts)
}

/// The recordings in these files, each with its parts in order. A file that is given twice is read once.
pub fn recordings(paths: &[PathBuf]) -> Result<Vec<Vec<Part>>> {
    let mut recordings: Vec<Vec<Part>> = Vec::new();
    let mut read = HashSet::new();
    for path in paths {
        let reading = || format!("reading the recording '{}'", path.display());
        let file = fs::metadata(path).with_context(reading)?;
        if !read.insert((file.dev(), file.ino())) {
            log::warn!("'{}' is given twice, and read once", path.display());
            continue;
        }
        let found = parts(path)?;
        anyhow::ensure!(
            !found.is_empty(),
            "'{}' is no recording: no intact block is in it",
            path.display()
        );
        for part in found {
            match recordings.iter_mut().find(|r| r[0].tag == part.tag) {
                Some(recording) => recording.push(part),
                None => recordings.push(vec![part]),
            }
        }
    }
    for recording in &mut recordings {
        recording.sort_by_key(|part| part.seq);
    }
    Ok(recordings)
}
