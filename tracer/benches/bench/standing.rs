//! What it costs to begin and to stand by, with few sockets on the host and with many: the time until it
//! traces, and the CPU time while nothing happens.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Serialize;
use tracer::ebpf::RunStats;

use crate::{
    Effort,
    holder::{Ends, hold_sockets},
    load::{limit_minisocks, new_network},
    report::Spread,
    tool::{Place, Running, Tool},
    watching::Watching,
};

/// With so many sockets in ESTABLISHED.
#[derive(Debug, Serialize)]
pub struct Standing {
    pub sockets: usize,
    /// From the start of `trace` until it says that it traces.
    pub start_ms: Spread,
    /// CPU time of its process in that time.
    pub start_cpu_ms: Spread,
    /// CPU time of `report` while nothing happens, in parts per million of a core.
    pub idle_cpu_ppm: Spread,
    /// Run time of its kernel programs meanwhile, in the same; the counting included. Timers of others
    /// are looked at, too.
    pub idle_programs_ppm: Spread,
    /// Resident then.
    pub idle_resident_bytes: u64,
}

/// In a namespace of its own.
pub fn measure(effort: &Effort, place: &Place) -> Result<Vec<Standing>> {
    new_network()?;
    limit_minisocks("0")?;
    let mut measured = Vec::new();
    for sockets in [0, effort.standing] {
        let holders = hold_sockets(sockets, Ends::Both)?;
        // What was made for them is over.
        thread::sleep(Duration::from_millis(500));
        measured.push(with(sockets, effort, place)?);
        drop(holders);
    }
    Ok(measured)
}

fn with(sockets: usize, effort: &Effort, place: &Place) -> Result<Standing> {
    let (mut start, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds * 2 {
        let mut trace = Command::new(env!("CARGO_BIN_EXE_tcpdwell"));
        trace
            .args(["trace", "-o", "/dev/null"])
            .stdout(Stdio::null());
        let begun = Instant::now();
        let watching = Watching::ours(&mut trace)?;
        start.push(begun.elapsed().as_secs_f64() * 1000.0);
        cpu.push(watching.cpu_time()?.as_secs_f64() * 1000.0);
        watching.end()?;
    }
    let running = Tool::Report.start(place)?;
    let Running::Process(watching) = &running else {
        anyhow::bail!("report is a process");
    };
    // It begins with work.
    thread::sleep(Duration::from_secs(2));
    let _counting = RunStats::enable()?;
    let (mut idle, mut programs) = (Vec::new(), Vec::new());
    let spent = || -> Result<(Instant, Duration, Duration)> {
        let in_programs = running.programs()?.iter().map(|p| p.time).sum();
        Ok((Instant::now(), watching.cpu_time()?, in_programs))
    };
    for _ in 0..effort.rounds {
        let before = spent()?;
        thread::sleep(effort.idle);
        let after = spent()?;
        let elapsed = (after.0 - before.0).as_secs_f64();
        let ppm = |before: Duration, after: Duration| {
            after.saturating_sub(before).as_secs_f64() / elapsed * 1e6
        };
        idle.push(ppm(before.1, after.1));
        programs.push(ppm(before.2, after.2));
    }
    let resident = watching.resident()?;
    running.stop().context("ending report")?;
    Ok(Standing {
        sockets,
        start_ms: Spread::of(start),
        start_cpu_ms: Spread::of(cpu),
        idle_cpu_ppm: Spread::of(idle),
        idle_programs_ppm: Spread::of(programs),
        idle_resident_bytes: resident,
    })
}
