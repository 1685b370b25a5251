//! Which process holds which socket: from the open files of all processes.

use std::os::{fd::AsRawFd as _, unix::net::UnixDatagram};

use anyhow::{Context as _, Result};
use hashbrown::HashMap;
use tracer_common::snapshot::FileFound;

/// Who holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// This process alone.
    One(u32),
    /// Several: which of them uses it can't be told.
    Several,
}

/// Holders by the kernel's address of the `struct socket`.
#[derive(Debug, Default)]
pub(super) struct Holders(HashMap<u64, Holder>);

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
        let Some(like) = files.iter().find(ours).map(|f| f.f_op) else {
            return Self::default();
        };
        let mut holders = HashMap::new();
        for file in files.iter().filter(|f| f.f_op == like) {
            holders
                .entry(file.private_data)
                .and_modify(|holder| {
                    if *holder != Holder::One(file.tgid) {
                        *holder = Holder::Several;
                    }
                })
                .or_insert(Holder::One(file.tgid));
        }
        Self(holders)
    }

    /// The only process that holds it; 0: there is none, or several.
    pub(super) fn of(&self, socket: u64) -> u32 {
        match self.0.get(&socket) {
            Some(Holder::One(pid)) if socket != 0 => *pid,
            _ => 0,
        }
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
            references: 1,
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
        assert_eq!(Holders::new(&files[1..], &sample).of(100), 0);
    }
}
