//! One file in the making: under a name that no engine reads until it is complete.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use parquet::file::writer::SerializedFileWriter;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::column::{self, Column};

/// Rows of a row group: what is held in memory before it is written.
const GROUP: usize = 65_536;

/// See the module.
pub(super) struct Part<R: 'static> {
    columns: &'static [Column<R>],
    rows: Vec<R>,
    count: u64,
    path: PathBuf,
    writer: SerializedFileWriter<Hashed>,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// In hexadecimal.
    pub(super) sha256: String,
}

struct Hashed {
    file: NamedTempFile,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that will be `path` when it is complete, and is gone if it never is.
pub(super) fn temporary(path: &Path) -> Result<NamedTempFile> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)
        .with_context(|| format!("making the directory '{}'", directory.display()))?;
    tempfile::Builder::new()
        .prefix(".")
        .suffix(".tmp")
        // As for any new file: the umask has its say.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .with_context(|| format!("making a file in '{}'", directory.display()))
}

/// Gives a complete file its name.
pub(super) fn complete(file: NamedTempFile, path: &Path) -> Result<()> {
    let writing = || format!("writing '{}'", path.display());
    file.as_file().sync_all().with_context(writing)?;
    file.persist_noclobber(path).with_context(writing)?;
    Ok(())
}

impl<R> Part<R> {
    pub(super) fn begin(
        table: &'static str,
        columns: &'static [Column<R>],
        path: PathBuf,
    ) -> Result<Self> {
        let hashed = Hashed {
            file: temporary(&path)?,
            hash: Sha256::new(),
            bytes: 0,
        };
        let schema = column::schema(table, columns)?;
        let properties = Arc::new(column::properties(columns)?);
        let writer = SerializedFileWriter::new(hashed, schema, properties)
            .with_context(|| format!("writing '{}'", path.display()))?;
        Ok(Self {
            columns,
            rows: Vec::new(),
            count: 0,
            path,
            writer,
        })
    }

    pub(super) fn push(&mut self, row: R) -> Result<()> {
        self.rows.push(row);
        if self.rows.len() < GROUP {
            return Ok(());
        }
        self.write_rows()
    }

    fn write_rows(&mut self) -> Result<()> {
        let mut write = || {
            let mut group = self.writer.next_row_group()?;
            column::write(self.columns, &self.rows, &mut group)?;
            group.close().map(|_| ())
        };
        write().with_context(|| format!("writing '{}'", self.path.display()))?;
        self.count += self.rows.len() as u64;
        self.rows.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Finished> {
        if !self.rows.is_empty() {
            self.write_rows()?;
        }
        let hashed = self.writer.into_inner();
        let hashed = hashed.with_context(|| format!("writing '{}'", self.path.display()))?;
        complete(hashed.file, &self.path)?;
        Ok(Finished {
            rows: self.count,
            bytes: hashed.bytes,
            sha256: format!("{:x}", hashed.hash.finalize()),
        })
    }
}
