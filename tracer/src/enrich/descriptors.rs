//! Who holds which socket, by /proc: the links in `/proc/PID/fd` tell the sockets' inodes.

use std::{fs, io::ErrorKind, os::unix::ffi::OsStrExt as _};

use hashbrown::{HashMap, HashSet};

use super::holders::Holders;
use crate::engine::Holder;

/// What the descriptors of all processes tell.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// By inode.
    pub(super) holders: Holders,
    /// Files that each process has open.
    pub(super) open_files: HashMap<u32, u32>,
    /// Processes that may not be looked into.
    pub(super) unreadable: usize,
}

/// Of all processes; only sockets with these inodes are remembered.
pub(super) fn of_all(wanted: &HashSet<u64>) -> Held {
    let mut held = Held::default();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = number(&process.file_name()) else {
            continue;
        };
        match fs::read_dir(process.path().join("fd")) {
            Ok(descriptors) => held.take(pid, descriptors, wanted),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => held.unreadable += 1,
            // It is gone.
            Err(_) => {}
        }
    }
    held
}

impl Held {
    fn take(&mut self, pid: u32, descriptors: fs::ReadDir, wanted: &HashSet<u64>) {
        let mut open = 0;
        for descriptor in descriptors.flatten() {
            let Some(fd) = number(&descriptor.file_name()) else {
                continue;
            };
            open += 1;
            let target = fs::read_link(descriptor.path()).ok();
            let inode = target.and_then(|t| socket_inode(t.as_os_str().as_bytes()));
            if let Some(inode) = inode.filter(|inode| wanted.contains(inode)) {
                self.holders.add(inode, Holder { pid, fd }, 0);
            }
        }
        self.open_files.insert(pid, open);
    }
}

/// The inode in `socket:[123]`, as the link of a descriptor in /proc has it.
pub fn socket_inode(target: &[u8]) -> Option<u64> {
    let digits = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn number(name: &std::ffi::OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::AsRawFd as _};

    use super::*;

    #[test]
    fn of_this_process() {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = socket_inode(link.as_os_str().as_bytes()).unwrap();
        let held = of_all(&HashSet::from_iter([inode]));
        assert_eq!(held.holders.of(inode), std::process::id());
        assert!(held.open_files[&std::process::id()] > 3);
        assert_eq!(of_all(&HashSet::new()).holders.of(inode), 0);
    }

    #[test]
    fn only_sockets_have_inodes() {
        for other in ["pipe:[5]", "/tmp/socket:[5]", "socket:[]", "socket:[5"] {
            assert_eq!(socket_inode(other.as_bytes()), None, "{other}");
        }
    }
}
