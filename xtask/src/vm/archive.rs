//! Writes the `newc` cpio format, which is what the kernel unpacks as its first file system. Written here and
//! not compressed: unpacking would run on the emulated CPU.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_600;

pub(super) struct Archive<W> {
    out: W,
    inode: u32,
    seen: BTreeSet<PathBuf>,
}

struct Entry<'a> {
    path: &'a Path,
    mode: u32,
    device: (u32, u32),
    data: &'a [u8],
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            inode: 0,
            seen: BTreeSet::new(),
        }
    }

    /// A folder and those above it. The kernel creates no parents by itself.
    pub(super) fn folder(&mut self, path: &Path) -> io::Result<()> {
        let Some(name) = inside(path) else {
            return Ok(());
        };
        if !self.seen.insert(name.to_path_buf()) {
            return Ok(());
        }
        if let Some(parent) = name.parent() {
            self.folder(parent)?;
        }
        self.entry(&Entry {
            path: name,
            mode: FOLDER,
            device: (0, 0),
            data: &[],
        })
    }

    /// A file with its folders. The first of several files of one name is kept.
    pub(super) fn file(&mut self, path: &Path, permissions: u32, data: &[u8]) -> io::Result<()> {
        let Some(name) = inside(path) else {
            return Ok(());
        };
        if let Some(parent) = name.parent() {
            self.folder(parent)?;
        }
        if !self.seen.insert(name.to_path_buf()) {
            return Ok(());
        }
        self.entry(&Entry {
            path: name,
            mode: FILE | permissions,
            device: (0, 0),
            data,
        })
    }

    pub(super) fn character_device(&mut self, path: &Path, device: (u32, u32)) -> io::Result<()> {
        let Some(name) = inside(path) else {
            return Ok(());
        };
        self.entry(&Entry {
            path: name,
            mode: CHARACTER_DEVICE,
            device,
            data: &[],
        })
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.entry(&Entry {
            path: Path::new("TRAILER!!!"),
            mode: 0,
            device: (0, 0),
            data: &[],
        })?;
        self.out.flush()
    }

    fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let name = entry.path.as_os_str().as_encoded_bytes();
        let size = |bytes: &[u8], extra: usize| {
            u32::try_from(bytes.len() + extra)
                .map_err(|_| io::Error::other("larger than cpio can hold"))
        };
        self.inode += 1;
        let fields = [
            self.inode,
            entry.mode,
            0, // owner
            0, // group
            1, // links
            0, // time
            size(entry.data, 0)?,
            0, // the device it came from
            0,
            entry.device.0,
            entry.device.1,
            size(name, 1)?,
            0, // no checksum
        ];
        write!(self.out, "070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(name)?;
        self.out.write_all(&[0])?;
        self.pad(6 + 8 * fields.len() + name.len() + 1)?;
        self.out.write_all(entry.data)?;
        self.pad(entry.data.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out
            .write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }
}

/// `path` as the archive spells it, without the leading slash. None for the root, which exists.
fn inside(path: &Path) -> Option<&Path> {
    let path = path.strip_prefix("/").unwrap_or(path);
    (path.as_os_str() != "").then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_their_files_and_once() {
        let mut out = Vec::new();
        let mut archive = Archive::new(&mut out);
        archive
            .file(Path::new("/a/b/one"), 0o755, b"hello")
            .unwrap();
        archive.file(Path::new("/a/b/two"), 0o644, b"").unwrap();
        archive
            .file(Path::new("/a/b/one"), 0o755, b"again")
            .unwrap();
        archive.finish().unwrap();
        assert_eq!(out.len() % 4, 0);
        let text = String::from_utf8_lossy(&out);
        let names: Vec<&str> = text
            .split("070701")
            .skip(1)
            .map(|entry| entry[104..].split('\0').next().unwrap())
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/one", "a/b/two", "TRAILER!!!"]);
        assert!(text.contains("hello") && !text.contains("again"));
    }
}
