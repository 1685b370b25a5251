//! Reading what the kernel side counted.

use std::{fs, os::fd::AsRawFd as _, thread, time::Duration};

use anyhow::{Context as _, Result};
use aya::{
    maps::{MapData, PerCpuArray},
    programs::ProgramFd,
};
use tracer_common::counters::{COUNTERS, Counters};

/// The per-CPU counters' map.
pub(super) type CounterMap = PerCpuArray<MapData, [u64; COUNTERS]>;

/// Sums over all programs and CPUs.
pub(super) fn sum(map: &CounterMap) -> Result<Counters> {
    let mut total = Counters::default();
    for values in map.iter() {
        let values = values.context("reading the kernel-side counters")?;
        for words in values.iter() {
            total.add(&Counters::from_words(*words));
        }
    }
    Ok(total)
}

/// How often the kernel skipped a program because it was running on that CPU already.
///
/// From the `recursion_misses` line of the program's fdinfo (5.12, kernel/bpf/syscall.c). Kernels
/// without the line have no such guard on raw and BTF tracepoints (it came later, in 6.2): nothing
/// is skipped there.
pub(super) fn recursion_misses(program: &ProgramFd) -> Result<u64> {
    use std::os::fd::AsFd as _;
    let path = format!("/proc/self/fdinfo/{}", program.as_fd().as_raw_fd());
    let info = fs::read_to_string(&path).with_context(|| format!("reading '{path}'"))?;
    Ok(recursion_misses_in(&info).unwrap_or(0))
}

/// The same from the text of the fdinfo.
pub fn recursion_misses_in(info: &str) -> Option<u64> {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"));
    line?.trim().parse().ok()
}

/// How many runs nobody stood in for, while programs go on: one that is being caught is not missed. Where
/// tracepoints can be preempted (7.0) that takes as long as the task is away.
pub(super) fn settled(missed: impl Fn() -> Result<u64>) -> Option<u64> {
    const LOOKS: usize = 50;
    const APART: Duration = Duration::from_millis(1);
    let mut least = missed().ok()?;
    for _ in 1..LOOKS {
        if least == 0 {
            break;
        }
        thread::sleep(APART);
        least = least.min(missed().ok()?);
    }
    Some(least)
}
