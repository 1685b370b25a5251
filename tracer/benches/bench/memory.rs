//! Memory per followed connection: the growth of a process of its own, which nothing else disturbs.

use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use procfs::process::Process;
use serde::Serialize;
use tracer::{
    decode::Decoder,
    engine::{Engine, Event, EventBody, Limits},
};

use crate::synthetic::{established, processes};

/// The engine with so many connections open.
#[derive(Debug, Serialize)]
pub struct Memory {
    pub connections: usize,
    /// Resident, more than before the first.
    pub resident_bytes: u64,
    /// The most that was resident on the way: tables grow by moving.
    pub peak_bytes: u64,
    pub bytes_per_connection: f64,
}

pub fn measure() -> Result<Vec<Memory>> {
    [10_000, 100_000, 1_000_000].map(of).into_iter().collect()
}

fn of(connections: usize) -> Result<Memory> {
    let output = Command::new(std::env::current_exe().context("finding this program")?)
        .args(["--memory", &connections.to_string()])
        .output()
        .context("starting this program again")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(resident_bytes)), Some(Ok(peak_bytes))) = (numbers.next(), numbers.next()) else {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(anyhow!("measuring memory: {error}"));
    };
    Ok(Memory {
        connections,
        resident_bytes,
        peak_bytes,
        bytes_per_connection: resident_bytes as f64 / connections as f64,
    })
}

/// Prints two numbers for [`measure`].
pub fn measure_this_process(connections: usize) -> Result<()> {
    let mut engine = Engine::new(Limits::default());
    let mut updates = Vec::with_capacity(8192);
    let mut take = |event: &Event| {
        engine.handle_event(event, &mut updates);
        updates.clear();
    };
    let decoded = |record: &[u8]| {
        Decoder::default()
            .event(record)
            .map_err(|error| anyhow!("decoding: {error:?}"))
    };
    for process in processes() {
        take(&decoded(&process)?);
    }
    let (before, _) = resident()?;
    for (i, record) in established(connections).enumerate() {
        let event = decoded(&record)?;
        take(&event);
        if i % 1024 == 0 {
            let body = EventBody::Watermark;
            take(&Event { body, ..event });
        }
    }
    let (after, peak) = resident()?;
    ensure!(engine.open() == connections, "only {} open", engine.open());
    println!("{} {}", after - before, peak - before);
    Ok(())
}

/// Resident now, and at most so far; bytes.
fn resident() -> Result<(u64, u64)> {
    let status = Process::myself()
        .and_then(|process| process.status())
        .context("reading this process's memory")?;
    let bytes = |kib: Option<u64>| kib.map_or(0, |kib| kib * 1024);
    Ok((bytes(status.vmrss), bytes(status.vmhwm)))
}
