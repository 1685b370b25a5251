//! Which process holds which socket: from the open files of all processes.

use std::{os::fd::AsRawFd as _, os::unix::net::UnixDatagram, sync::Arc};

use anyhow::{Context as _, Result};
use hashbrown::HashMap;
use tracer_common::snapshot::FileFound;

use crate::engine::{Holder, MAX_HOLDERS};

/// The descriptors of one socket. Nearly all have one.
#[derive(Debug)]
struct Held {
    first: Holder,
    more: Vec<Holder>,
    references: u64,
}

/// Holders by the kernel's address of the `struct socket`, or by the number of its inode.
#[derive(Debug, Default)]
pub(super) struct Holders {
    by_socket: HashMap<u64, Held>,
    nobody: Arc<[Holder]>,
}

/// A socket of our own: its file shows what a socket's file looks like (`socket_file_ops`, whose
/// symbol few kernels show).
#[derive(Debug)]
pub(super) struct Sample(UnixDatagram);

impl Sample {
    /// To be made before the files are listed.
    pub(super) fn new() -> Result<Self> {
        Ok(Self(UnixDatagram::unbound().context("making a socket")?))
    }
}

impl Holders {
    /// From all open files.
    pub(super) fn new(files: &[FileFound], sample: &Sample) -> Self {
        let (us, fd) = (std::process::id(), sample.0.as_raw_fd());
        let ours = |f: &&FileFound| f.tgid == us && i64::from(f.fd) == i64::from(fd);
        let mut holders = Self::default();
        let Some(like) = files.iter().find(ours).map(|f| f.f_op) else {
            return holders;
        };
        for file in files.iter().filter(|f| f.f_op == like) {
            let holder = Holder {
                pid: file.tgid,
                fd: file.fd,
            };
            // The iterator itself holds one while it shows the file.
            let references = file.references.saturating_sub(1);
            holders.add(file.private_data, holder, references);
        }
        holders
    }

    /// One more descriptor of a socket. `references` to its file; 0: not known.
    pub(super) fn add(&mut self, socket: u64, holder: Holder, references: u64) {
        self.by_socket
            .entry(socket)
            .and_modify(|held| held.more.push(holder))
            .or_insert(Held {
                first: holder,
                more: Vec::new(),
                references,
            });
    }

    fn held(&self, socket: u64) -> Option<&Held> {
        self.by_socket.get(&socket).filter(|_| socket != 0)
    }

    /// The only process that holds it; 0: there is none, or several.
    pub(super) fn of(&self, socket: u64) -> u32 {
        match self.held(socket) {
            Some(held) if held.more.iter().all(|h| h.pid == held.first.pid) => held.first.pid,
            _ => 0,
        }
    }

    /// The first descriptors of it, and how many there are.
    pub(super) fn all_of(&self, socket: u64) -> (Arc<[Holder]>, u32) {
        let Some(held) = self.held(socket) else {
            return (Arc::clone(&self.nobody), 0);
        };
        let all = std::iter::once(&held.first).chain(&held.more).copied();
        let count = u32::try_from(1 + held.more.len()).unwrap_or(u32::MAX);
        (all.take(MAX_HOLDERS).collect(), count)
    }

    /// References to its file; `None`: not known.
    pub(super) fn references(&self, socket: u64) -> Option<u32> {
        let references = self.held(socket)?.references;
        u32::try_from(references).ok().filter(|n| *n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_or_none() {
        let sample = Sample::new().unwrap();
        let file = |tgid, fd: i32, f_op, private_data| FileFound {
            tgid,
            fd: fd.unsigned_abs(),
            f_op,
            private_data,
            references: 3,
        };
        let files = [
            file(std::process::id(), sample.0.as_raw_fd(), 7, 1),
            file(10, 3, 7, 100),
            file(10, 4, 7, 100),
            file(10, 5, 7, 200),
            file(11, 5, 7, 200),
            file(12, 5, 8, 300),
        ];
        let holders = Holders::new(&files, &sample);
        assert_eq!(holders.of(100), 10);
        assert_eq!(holders.of(200), 0);
        assert_eq!(holders.of(300), 0, "no socket's file");
        assert_eq!(holders.of(0), 0);
        let (both, count) = holders.all_of(200);
        assert_eq!(both.iter().map(|h| h.pid).collect::<Vec<_>>(), [10, 11]);
        assert_eq!((count, holders.references(200)), (2, Some(2)));
        assert_eq!(holders.all_of(300).1, 0);
        assert_eq!(Holders::new(&files[1..], &sample).of(100), 0);
    }
}
