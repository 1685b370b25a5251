//! What programs cost the kernel: run time, run count and skipped runs of any loaded program.
//!
//! For `cargo xtask bench`. The kernel counts run time only while somebody asks for it (5.8,
//! `BPF_ENABLE_STATS`), and the asking costs each run some 40 ns: the empty program shows how much.

use std::{os::fd::OwnedFd, time::Duration};

use anyhow::{Context as _, Result};
use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{BtfTracePoint, ProgramInfo, loaded_programs},
    sys::{Stats, enable_stats},
};

use super::{counters, object};

/// The kernel counts run times as long as this lives.
#[derive(Debug)]
pub struct RunStats {
    _held: OwnedFd,
}

impl RunStats {
    /// Switches the counting on.
    pub fn enable() -> Result<Self> {
        let held = enable_stats(Stats::RunTime).context("switching BPF run statistics on")?;
        Ok(Self { _held: held })
    }
}

/// What one program did since it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramCost {
    /// Never reused by the kernel.
    pub id: u32,
    /// At most 15 bytes of its name.
    pub name: String,
    /// Runs while the counting was on.
    pub runs: u64,
    /// Time in these, the cost of counting included.
    pub time: Duration,
    /// Runs skipped because the program was running on that CPU already. Always counted.
    pub skipped: u64,
}

/// All programs loaded now, whoever loaded them.
pub fn programs() -> Result<Vec<ProgramCost>> {
    let mut found = Vec::new();
    for info in loaded_programs() {
        let info = info.context("listing the loaded BPF programs")?;
        // One that was unloaded since it was listed is not of interest.
        found.extend(cost(&info).ok());
    }
    Ok(found)
}

fn cost(info: &ProgramInfo) -> Result<ProgramCost> {
    let fd = info.fd()?;
    Ok(ProgramCost {
        id: info.id(),
        name: String::from_utf8_lossy(info.name()).into_owned(),
        runs: info.run_count(),
        time: info.run_time(),
        skipped: counters::recursion_misses(&fd)?,
    })
}

/// A program that does nothing, attached where ours are: what they are measured against. Dropping
/// it detaches.
pub struct EmptyProgram {
    _ebpf: Ebpf,
}

impl EmptyProgram {
    /// Loads and attaches it.
    pub fn attach() -> Result<Self> {
        let btf = Btf::from_sys_fs().context("the kernel's BTF")?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("EVENTS", 4096)
            .load(object::bytes())
            .context("creating the maps")?;
        let program: &mut BtfTracePoint = ebpf
            .program_mut("set_state_empty")
            .context("the object has no program set_state_empty")?
            .try_into()?;
        program
            .load("inet_sock_set_state", &btf)
            .context("loading set_state_empty")?;
        program.attach().context("attaching set_state_empty")?;
        Ok(Self { _ebpf: ebpf })
    }
}

impl std::fmt::Debug for EmptyProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmptyProgram").finish_non_exhaustive()
    }
}
