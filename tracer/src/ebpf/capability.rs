//! What this process may do.

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability, CapsHashSet};
use landlock::RulesetStatus;

use super::seal::{no_new_privileges, seal};

/// Linux capabilities that matter here, capability.h.
const KNOWN: [(u32, &str); 8] = [
    (1, "CAP_DAC_OVERRIDE"),
    (12, "CAP_NET_ADMIN"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (24, "CAP_SYS_RESOURCE"),
    (34, "CAP_SYSLOG"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];

const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// The effective set.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Of this process.
    pub fn of_this_process() -> Result<Self> {
        let status = procfs::process::Process::myself()
            .and_then(|me| me.status())
            .context("reading this process's capabilities from /proc/self/status")?;
        Ok(Self(status.capeff))
    }

    const fn has(self, number: u32) -> bool {
        self.0 >> number & 1 == 1
    }

    /// Those of the effective set that matter here.
    pub fn names(self) -> Vec<&'static str> {
        KNOWN
            .iter()
            .filter(|(number, _)| self.has(*number))
            .map(|(_, name)| *name)
            .collect()
    }

    /// What tracing needs and is not there.
    pub fn missing(self) -> Vec<&'static str> {
        if self.has(SYS_ADMIN) {
            return Vec::new();
        }
        let needed = [(BPF, "CAP_BPF"), (PERFMON, "CAP_PERFMON")];
        needed
            .into_iter()
            .filter(|(number, _)| !self.has(*number))
            .map(|(_, name)| name)
            .collect()
    }
}

/// Gives up all privileges but what reading the kernel side's counters takes, and writing files. To be
/// called when everything is attached and opened; what the process starts afterwards has none either.
///
/// Kernels before 5.19 want `CAP_BPF` for every lookup in a map, whoever opened it
/// (`unprivileged_bpf_disabled`, kernel/bpf/syscall.c).
pub fn drop_privileges() -> Result<()> {
    keep(&[Capability::CAP_BPF])?;
    match seal()? {
        RulesetStatus::FullyEnforced => {
            log::debug!("no file can be written any more, no port opened");
        }
        RulesetStatus::PartiallyEnforced => log::debug!("most writing of files is given up"),
        RulesetStatus::NotEnforced => log::debug!("writing files can't be given up: no Landlock"),
    }
    Ok(())
}

/// The same, but for what another look at the sockets takes: opening iterators, entering network
/// namespaces (`setns` wants `CAP_SYS_ADMIN` over each), and /proc of other users' processes.
pub fn keep_privileges_to_look() -> Result<()> {
    keep(&[
        Capability::CAP_BPF,
        Capability::CAP_PERFMON,
        Capability::CAP_SYS_ADMIN,
        Capability::CAP_SYS_PTRACE,
        Capability::CAP_DAC_READ_SEARCH,
    ])
}

/// Gives up all others, for programs that are started later, too.
fn keep(wanted: &[Capability]) -> Result<()> {
    let held = caps::read(None, CapSet::Permitted).context("reading our capabilities")?;
    let kept: CapsHashSet = held
        .into_iter()
        .filter(|cap| wanted.contains(cap))
        .collect();
    caps::clear(None, CapSet::Inheritable).context("giving up inheritable capabilities")?;
    caps::set(None, CapSet::Effective, &kept).context("giving up effective capabilities")?;
    caps::set(None, CapSet::Permitted, &kept).context("giving up permitted capabilities")?;
    no_new_privileges()
}
