//! Standard output, or a file.

use std::{
    fs::File,
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
    /// The file, made anew, or standard output.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let (target, is_terminal): (Box<dyn Write>, bool) = match path {
            Some(path) => {
                let file = File::create(path)
                    .with_context(|| format!("--output: creating '{}'", path.display()))?;
                (Box::new(file), false)
            }
            None => (Box::new(io::stdout()), io::stdout().is_terminal()),
        };
        Ok(Self {
            target,
            path: path.map(Path::to_path_buf),
            buffer: BytesMut::with_capacity(2 * CHUNK),
            is_terminal,
        })
    }

    /// For what prints nothing.
    pub fn nowhere() -> Self {
        Self {
            target: Box::new(io::sink()),
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
        let written = self
            .target
            .write_all(&self.buffer)
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
