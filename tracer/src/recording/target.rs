//! What a file of a recording is written to: a file, or memory that may become one.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::MetadataExt as _,
};

/// See the module.
#[derive(Debug)]
pub enum Target {
    /// On the disk.
    File(File),
    /// Not yet.
    Memory(Vec<u8>),
}

impl Target {
    /// Waits until the disk has it.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync_data(),
            Self::Memory(_) => Ok(()),
        }
    }

    /// The same file once more, to have it kept by somebody else.
    pub(super) fn on_disk(&self) -> io::Result<Option<File>> {
        match self {
            Self::File(file) => file.try_clone().map(Some),
            Self::Memory(_) => Ok(None),
        }
    }

    /// Whether the file has lost its name: what is written to it nobody will find.
    pub(super) fn is_removed(&self) -> bool {
        match self {
            Self::File(file) => file.metadata().is_ok_and(|metadata| metadata.nlink() == 0),
            Self::Memory(_) => false,
        }
    }

    /// Leaves so many bytes.
    pub(super) fn truncate(&self, bytes: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.set_len(bytes).and_then(|()| file.sync_data()),
            Self::Memory(_) => Ok(()),
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Memory(memory) => memory.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
