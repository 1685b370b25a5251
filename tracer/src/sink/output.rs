//! Standard output, or a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use bytes::BytesMut;

/// Bytes that are gathered before they are written.
const CHUNK: usize = 64 * 1024;

/// A place that bytes are written to.
pub struct Output {
    target: Box<dyn Write>,
    path: Option<PathBuf>,
    /// What is in it still from before.
    stale: Option<File>,
    buffer: BytesMut,
    is_terminal: bool,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Output {
    /// The file, made anew, or standard output. What a file has is gone with the first write: not if it comes
    /// to none.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let mut stale = None;
        let (target, is_terminal): (Box<dyn Write>, bool) = match path {
            Some(path) => {
                let mut options = OpenOptions::new();
                let opened = options.write(true).create(true).truncate(false).open(path);
                let of_it = || format!("--output: creating '{}'", path.display());
                let file = opened.with_context(of_it)?;
                if file.metadata().with_context(of_it)?.is_file() {
                    stale = Some(file.try_clone().with_context(of_it)?);
                }
                (Box::new(file), false)
            }
            None => (Box::new(io::stdout()), io::stdout().is_terminal()),
        };
        Ok(Self {
            target,
            stale,
            path: path.map(Path::to_path_buf),
            buffer: BytesMut::with_capacity(2 * CHUNK),
            is_terminal,
        })
    }

    /// For what prints nothing.
    pub fn nowhere() -> Self {
        Self {
            target: Box::new(io::sink()),
            stale: None,
            path: None,
            buffer: BytesMut::new(),
            is_terminal: false,
        }
    }

    /// Whether a person watches.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Where to render to.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Writes if much has gathered. `false`: nobody reads any more.
    pub fn flush_if_full(&mut self) -> Result<bool> {
        if self.buffer.len() < CHUNK {
            return Ok(true);
        }
        self.flush()
    }

    /// Writes what has gathered. `false`: nobody reads any more.
    pub fn flush(&mut self) -> Result<bool> {
        let emptied = self.stale.take().map_or(Ok(()), |file| file.set_len(0));
        let written = emptied
            .and_then(|()| self.target.write_all(&self.buffer))
            .and_then(|()| self.target.flush());
        self.buffer.clear();
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error).with_context(|| match &self.path {
                Some(path) => format!("writing to '{}'", path.display()),
                None => "writing to standard output".to_owned(),
            }),
        }
    }
}
