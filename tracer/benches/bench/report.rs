//! The results, and the machine they hold for: JSON for the repository.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    dashboard::Dashboard, kernel::Cost, look::Look, memory::Memory, recording::Recorded,
    standing::Standing, storm::Storm, tool::LeftOut, user::Stage,
};

/// Of several rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            min: at(0),
            max: at(last),
        }
    }
}

/// What the figures hold for. No name of a host, no path.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    /// Of the last minute: above zero before means that something else was running.
    pub load_before: f64,
    pub load_after: f64,
    /// Programs of others on BPF tracing hooks could be among these.
    pub programs_loaded_before: usize,
}

impl Machine {
    pub fn look() -> Result<Self> {
        let read =
            |path: &str| fs::read_to_string(path).with_context(|| format!("reading '{path}'"));
        let cpuinfo = read("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then_some(value.trim())
        });
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu: model.unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load_before: load_average()?,
            load_after: f64::NAN,
            // Not permitted: then nothing of the kernel is measured either.
            programs_loaded_before: tracer::ebpf::programs().map_or(0, |found| found.len()),
        })
    }
}

pub fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("reading '/proc/loadavg'")?;
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().context("reading '/proc/loadavg'")
}

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: &'static str,
    pub version: &'static str,
    pub quick: bool,
    pub machine: Machine,
    pub kernel: Vec<Cost>,
    pub storm: Vec<Storm>,
    pub user: Vec<Stage>,
    pub memory: Vec<Memory>,
    pub recording: Vec<Recorded>,
    pub top: Option<Dashboard>,
    pub standing: Vec<Standing>,
    pub look: Vec<Look>,
    /// What could not be measured on this machine.
    pub left_out: Vec<LeftOut>,
}

impl Report {
    pub fn new(machine: Machine, quick: bool) -> Self {
        Self {
            schema: "tcpdwell.bench/1",
            version: env!("CARGO_PKG_VERSION"),
            quick,
            machine,
            kernel: Vec::new(),
            storm: Vec::new(),
            user: Vec::new(),
            memory: Vec::new(),
            recording: Vec::new(),
            top: None,
            standing: Vec::new(),
            look: Vec::new(),
            left_out: Vec::new(),
        }
    }

    pub fn write_json(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("rendering JSON")?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("writing '{}'", path.display()))
    }
}
