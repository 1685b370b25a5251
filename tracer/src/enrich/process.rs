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
        uid: real_uid(&fs::read(format!("/proc/{pid}/status")).ok()?)?,
        cgroup: cgroup(&process).unwrap_or(0),
    })
}

/// The first of the users in that file, where a name stands, too, which may be any bytes (fs/proc/array.c,
/// `task_state`).
pub fn real_uid(status: &[u8]) -> Option<u32> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let users = lines.find_map(|line| line.strip_prefix(b"Uid:"))?;
    let first = users
        .trim_ascii_start()
        .split(u8::is_ascii_whitespace)
        .next()?;
    std::str::from_utf8(first).ok()?.parse().ok()
}

/// `RLIMIT_NOFILE` of a process; `None`: there is none, or the process is gone.
pub(super) fn file_limit(pid: u32) -> Option<u64> {
    max_open_files(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)
}

/// The soft limit, from the text of that file (fs/proc/base.c, `proc_pid_limits`).
pub fn max_open_files(limits: &str) -> Option<u64> {
    let mut lines = limits.lines();
    let rest = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Whether a process is stopped: `T`, or `t` by a debugger.
pub(super) fn is_stopped(pid: u32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat"));
    let state = stat.ok().and_then(|stat| state_in(&stat));
    matches!(state, Some(b'T' | b't'))
}

/// The letter of the state, from the bytes of that file: behind the name, which may be any bytes, brackets
/// too.
pub fn state_in(stat: &[u8]) -> Option<u8> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end..)?.strip_prefix(b") ")?.first().copied()
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
    use rustix::process::{Resource, getrlimit};

    use super::*;

    #[test]
    fn of_this_process() {
        let this = describe(std::process::id()).unwrap();
        let comm = fs::read("/proc/self/comm").unwrap();
        assert_eq!(this.name.bytes(), comm.strip_suffix(b"\n").unwrap());
        assert_eq!(describe(u32::MAX), None);
    }

    #[test]
    fn a_name_does_not_hide_a_user() {
        let status = b"Name:\tk\xe9id\nUmask:\t0022\nUid:\t33\t0\t0\t0\nGid:\t1\n";
        assert_eq!(real_uid(status), Some(33));
        for other in [&b""[..], b"Name:\tUid:\t33\n", b"Uid:\tx\n", b"Uid:"] {
            assert_eq!(real_uid(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_name_does_not_hide_a_state() {
        assert_eq!(state_in(b"1 (sh) S 0 1 1"), Some(b'S'));
        assert_eq!(state_in(b"1 (a) S \xff) T 0 1 1"), Some(b'T'));
        for other in [&b"1 (sh)"[..], b"1 (sh) ", b"S", b""] {
            assert_eq!(state_in(other), None);
        }
    }

    #[test]
    fn how_many_files_a_process_may_have() {
        let limit = getrlimit(Resource::Nofile).current;
        assert_eq!(file_limit(std::process::id()), limit);
        let none = "Limit Soft Limit\nMax open files   unlimited  unlimited  files\n";
        assert_eq!(max_open_files(none), None);
    }
}
