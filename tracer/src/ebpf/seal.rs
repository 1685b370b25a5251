//! What a process that has all it needs can't do any more, whoever takes it over.

use anyhow::{Context as _, Result};
use landlock::{ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetStatus};
use nix::sys::prctl::set_no_new_privs;

/// What is sealed is what this version of the kernel's interface knows; older kernels seal less.
const KNOWN: ABI = ABI::V5;

/// No program that is started from here on has more privileges than this thread.
pub fn no_new_privileges() -> Result<()> {
    set_no_new_privs().context("giving up the privileges of programs that are started later")
}

/// This thread, and those that it starts, can't open files to write to, make or remove any, nor listen
/// or connect by TCP. What is open stays so. How much of that the kernel (5.13, with Landlock) does.
///
/// Not for who looks at others' descriptors: Landlock hides them with what else `ptrace` may see
/// (`hook_ptrace_access_check`, security/landlock).
pub(super) fn seal() -> Result<RulesetStatus> {
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_write(KNOWN))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(KNOWN)))
        .and_then(Ruleset::create);
    let sealed = rules.and_then(landlock::RulesetCreated::restrict_self);
    sealed
        .map(|sealed| sealed.ruleset)
        .context("giving up writing files")
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::ErrorKind, net::TcpListener, thread};

    use super::*;

    #[test]
    fn what_is_sealed_writes_no_files_and_listens_to_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("written");
        let sealed = thread::spawn(move || {
            let status = seal().unwrap();
            let no_file = File::create(path).map_err(|e| e.kind()).err();
            let no_listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.kind()).err();
            // Reading stays.
            std::fs::read("/proc/self/status").unwrap();
            (status, no_file, no_listener)
        });
        let (status, no_file, no_listener) = sealed.join().unwrap();
        match status {
            RulesetStatus::FullyEnforced => {
                assert_eq!(no_file, Some(ErrorKind::PermissionDenied));
                assert_eq!(no_listener, Some(ErrorKind::PermissionDenied));
            }
            RulesetStatus::PartiallyEnforced => {
                assert_eq!(no_file, Some(ErrorKind::PermissionDenied));
            }
            RulesetStatus::NotEnforced => {
                eprintln!("skipped: what_is_sealed...: this kernel has no Landlock");
            }
        }
    }
}
