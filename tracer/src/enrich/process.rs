//! What /proc knows of a process.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use procfs::process::Process as Procfs;

use super::cgroup::path_of;
use crate::engine::{Process, ProcessName};

/// Where the unified hierarchy of cgroups is, alone or beside the old ones.
const CGROUPS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// The process as the kernel programs would describe it; `None`: it is gone.
pub(super) fn describe(pid: u32) -> Option<Process> {
    let process = Procfs::new(i32::try_from(pid).ok()?).ok()?;
    let mut name = [0; 16];
    // Not by `stat`: that is text, and a name may be any bytes.
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
    let length = comm.len().min(15);
    name[..length].copy_from_slice(&comm[..length]);
    Some(Process {
        name: ProcessName(name),
        uid: process.status().ok()?.ruid,
        cgroup: cgroup(&process).unwrap_or(0),
    })
}

fn cgroup(process: &Procfs) -> Option<u64> {
    let path = path_of(process)?;
    let path = path.trim_start_matches('/');
    CGROUPS.iter().find_map(|root| {
        let metadata = fs::metadata(Path::new(root).join(path)).ok()?;
        let root = Path::new(root).join("cgroup.controllers");
        root.exists().then(|| metadata.ino())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_process() {
        let this = describe(std::process::id()).unwrap();
        let comm = fs::read("/proc/self/comm").unwrap();
        assert_eq!(this.name.bytes(), comm.strip_suffix(b"\n").unwrap());
        assert_eq!(describe(u32::MAX), None);
    }
}
