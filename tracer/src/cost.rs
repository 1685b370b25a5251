//! What the tool itself costs, as the kernel counts it.

use std::{collections::BTreeMap, fmt, fs, time::Duration};

use crate::{clock, engine::Mono};

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct OwnCost {
    /// Time of this process on a CPU, in percent of one.
    #[serde(serialize_with = "three_decimals")]
    pub cpu_percent: f64,
    /// Memory in use; `None`: not known.
    pub resident_bytes: Option<u64>,
    /// Of the kernel programs; `None`: the kernel does not count it (`kernel.bpf_stats_enabled`), or none ran.
    pub programs: Option<ProgramCost>,
    /// The kernel counts it.
    #[serde(skip)]
    pub is_counted: bool,
}

/// What the kernel programs cost.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct ProgramCost {
    /// Time of a run, the counting included.
    #[serde(serialize_with = "three_decimals")]
    pub ns_per_run: f64,
    /// In percent of one CPU.
    #[serde(serialize_with = "three_decimals")]
    pub cpu_percent: f64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn three_decimals<S: serde::Serializer>(figure: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((figure * 1000.0).round() / 1000.0)
}

/// Looks every so often: shorter than this is too coarse.
const EVERY: Duration = Duration::from_secs(5);

/// Measures it, again and again.
#[derive(Debug)]
pub struct Meter {
    at: Mono,
    cpu: Duration,
    /// By program: runs, and ns in them.
    programs: BTreeMap<u32, (u64, u64)>,
    latest: Option<OwnCost>,
}

impl Meter {
    /// Begins.
    pub fn start() -> Self {
        Self {
            at: clock::monotonic(),
            cpu: clock::process_cpu(),
            programs: programs(),
            latest: None,
        }
    }

    /// The latest figures.
    pub fn look(&mut self) -> Option<OwnCost> {
        let now = clock::monotonic();
        let elapsed = now.since(self.at);
        // A first figure soon, then steady ones.
        let patience = self.latest.map_or(Duration::from_secs(1), |_| EVERY);
        if elapsed < patience {
            return self.latest;
        }
        let (cpu, counted) = (clock::process_cpu(), programs());
        self.latest = Some(self.cost(elapsed, cpu, &counted));
        (self.at, self.cpu, self.programs) = (now, cpu, counted);
        self.latest
    }

    /// Of all the time since it began, if [`Self::look`] was never asked.
    pub fn total(&self) -> OwnCost {
        let elapsed = clock::monotonic().since(self.at);
        self.cost(elapsed, clock::process_cpu(), &programs())
    }

    #[expect(clippy::cast_precision_loss, reason = "figures of three digits")]
    fn cost(
        &self,
        elapsed: Duration,
        cpu: Duration,
        counted: &BTreeMap<u32, (u64, u64)>,
    ) -> OwnCost {
        let (mut runs, mut ns) = (0, 0);
        for (id, now) in counted {
            let then = self.programs.get(id).unwrap_or(now);
            runs += now.0.saturating_sub(then.0);
            ns += now.1.saturating_sub(then.1);
        }
        let percent = |time: Duration| 100.0 * time.as_secs_f64() / elapsed.as_secs_f64();
        OwnCost {
            cpu_percent: percent(cpu.saturating_sub(self.cpu)),
            resident_bytes: resident(),
            programs: (runs > 0).then(|| ProgramCost {
                ns_per_run: ns as f64 / runs as f64,
                cpu_percent: percent(Duration::from_nanos(ns)),
            }),
            is_counted: runs > 0 || is_counted(),
        }
    }
}

impl fmt::Display for OwnCost {
    #[expect(clippy::cast_precision_loss, reason = "figures of three digits")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "own cost: {:.2} % of a CPU", self.cpu_percent)?;
        if let Some(bytes) = self.resident_bytes {
            write!(f, ", {:.1} MiB resident", bytes as f64 / f64::from(1 << 20))?;
        }
        match &self.programs {
            Some(programs) => write!(
                f,
                "; kernel programs {:.0} ns a run, {:.3} % of a CPU",
                programs.ns_per_run, programs.cpu_percent
            ),
            None if self.is_counted => f.write_str("; kernel programs did not run"),
            None => {
                f.write_str("; kernel programs not counted (kernel.bpf_stats_enabled=1 counts)")
            }
        }
    }
}

/// Whether the kernel counts for everybody. Whom it counts for alone (`BPF_ENABLE_STATS`) shows in runs only.
fn is_counted() -> bool {
    fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").is_ok_and(|on| on.trim() == "1")
}

fn resident() -> Option<u64> {
    let memory = procfs::process::Process::myself().ok()?.statm().ok()?;
    Some(memory.resident * procfs::page_size())
}

/// Runs and ns of the programs that this process holds, by id. Lists its descriptors.
fn programs() -> BTreeMap<u32, (u64, u64)> {
    let entries = fs::read_dir("/proc/self/fdinfo").into_iter().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    texts.filter_map(|text| counted(&text)).collect()
}

/// A program's figures in its fdinfo (kernel/bpf/syscall.c, `bpf_prog_show_fdinfo`).
fn counted(fdinfo: &str) -> Option<(u32, (u64, u64))> {
    let value = |key: &str| {
        let line = fdinfo.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse::<u64>().ok()
    };
    let id = u32::try_from(value("prog_id:")?).ok()?;
    Some((id, (value("run_cnt:")?, value("run_time_ns:")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_program() {
        let text = "pos:\t0\nprog_type:\t26\nprog_id:\t42\nrun_time_ns:\t1800\nrun_cnt:\t10\nrecursion_misses:\t0\n";
        assert_eq!(counted(text), Some((42, (10, 1800))));
        assert_eq!(counted("pos:\t0\nflags:\t02\n"), None);
    }

    #[test]
    fn not_counted_is_not_the_same_as_not_run() {
        let mut cost = OwnCost::default();
        assert!(cost.to_string().contains("kernel programs not counted"));
        cost.is_counted = true;
        assert!(cost.to_string().contains("kernel programs did not run"));
    }

    #[test]
    fn this_process_costs_something() {
        let mut meter = Meter::start();
        let began = clock::monotonic();
        while clock::monotonic().since(began) < Duration::from_millis(1100) {
            std::hint::black_box(0);
        }
        let total = meter.total().to_string();
        assert!(total.contains("% of a CPU, "), "{total}");
        let cost = meter.look().unwrap();
        assert!(
            cost.cpu_percent > 1.0 && cost.resident_bytes.unwrap() > 100_000,
            "{cost:?}"
        );
    }
}
