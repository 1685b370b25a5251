//! The results: a table for people, JSON for the repository.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    kernel::Cost, look::Look, memory::Memory, recording::Recorded, storm::Storm, user::Stage,
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
    pub look: Vec<Look>,
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
            look: Vec::new(),
        }
    }

    pub fn write_json(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("rendering JSON")?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("writing '{}'", path.display()))
    }

    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a String can't fail.
        let _ = self.write_table(&mut out);
        out
    }

    fn recording_table(&self, out: &mut String) -> std::fmt::Result {
        if self.recording.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nrecordings, one core")?;
        writeln!(
            out,
            "  {:>8} {:>6} {:>12} {:>10} {:>10}",
            "open", "zstd", "bytes/event", "encode ns", "decode ns"
        )?;
        for r in &self.recording {
            writeln!(
                out,
                "  {:>8} {:>6} {:>12.2} {:>10.0} {:>10.0}",
                r.open, r.level, r.bytes_per_event, r.encode_ns.median, r.decode_ns.median
            )?;
        }
        Ok(())
    }

    fn look_table(&self, out: &mut String) -> std::fmt::Result {
        if self.look.is_empty() {
            return Ok(());
        }
        writeln!(out, "\none look of 'stuck' (target: below a second)")?;
        for l in &self.look {
            let s = l.milliseconds;
            writeln!(
                out,
                "  {:<10} {} TIME_WAITs, {} CLOSE_WAITs: {:>5.0} ms ({:.0}..{:.0}), {:.1} MiB resident",
                l.source,
                l.time_waits,
                l.close_waits,
                s.median,
                s.min,
                s.max,
                l.resident_bytes as f64 / f64::from(1 << 20),
            )?;
        }
        Ok(())
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        let m = &self.machine;
        writeln!(
            out,
            "machine: Linux {}, {}, {} cores, load average {:.2} before, {:.2} after",
            m.kernel, m.cpu, m.cores, m.load_before, m.load_after
        )?;
        self.kernel_table(out)?;
        self.storm_table(out)?;
        self.recording_table(out)?;
        self.look_table(out)?;
        writeln!(
            out,
            "\nuser space, one core (target: decode + engine 2 M/s)"
        )?;
        writeln!(
            out,
            "  {:<32} {:>8} {:>9} {:>9} {:>9}",
            "", "open", "ns best", "median", "M/s best"
        )?;
        for s in &self.user {
            writeln!(
                out,
                "  {:<32} {:>8} {:>9.0} {:>9.0} {:>9.2}",
                s.name,
                s.open,
                s.ns_per_event.min,
                s.ns_per_event.median,
                s.events_per_second / 1e6
            )?;
        }
        writeln!(out, "\nmemory of the engine, resident")?;
        for m in &self.memory {
            writeln!(
                out,
                "  {:>9} connections {:>7.1} MiB, at most {:>7.1} MiB; {:>5.0} bytes each",
                m.connections,
                m.resident_bytes as f64 / f64::from(1 << 20),
                m.peak_bytes as f64 / f64::from(1 << 20),
                m.bytes_per_connection
            )?;
        }
        Ok(())
    }

    fn kernel_table(&self, out: &mut String) -> std::fmt::Result {
        let mut threads = 0;
        let mut ours = f64::NAN;
        for c in &self.kernel {
            if c.threads != threads {
                threads = c.threads;
                let of_ours = |o: &&Cost| o.threads == threads && o.case == "tcpdwell";
                let found = self.kernel.iter().find(of_ours);
                ours = found.map_or(f64::NAN, |o| o.ns_per_transition.median);
                writeln!(
                    out,
                    "\nkernel, ns per transition above an empty program, load of {threads} thread(s) \
                     (target: at most 200)"
                )?;
            }
            let s = c.ns_per_transition;
            let range = format!("{:.0}..{:.0}", s.min, s.max);
            let ratio = s.median / ours;
            write!(
                out,
                "  {:<32} {:>8.0} {range:>12} {ratio:>6.2}x ",
                c.case, s.median
            )?;
            for (name, s) in &c.programs {
                write!(out, " {name} {:.0}", s.median)?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn storm_table(&self, out: &mut String) -> std::fmt::Result {
        if self.storm.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "\nstorm, two threads (target: ours loses nothing)\n  {:<32} {:>8} {:>8} {:>11} {:>9} \
             {:>9} {:>8}",
            "", "conn/s", "kept", "transitions", "lost", "skipped", "cpu ns"
        )?;
        for s in &self.storm {
            writeln!(
                out,
                "  {:<32} {:>8.0} {:>7.1}% {:>11} {:>9} {:>9} {:>8.0}",
                s.case,
                s.connections_per_second.median,
                s.throughput_kept.median * 100.0,
                s.transitions,
                s.lost,
                s.skipped,
                s.cpu_ns_per_transition
            )?;
        }
        Ok(())
    }
}
