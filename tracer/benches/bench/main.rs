//! What tcpdwell costs, beside what its rivals cost: `cargo xtask bench`.
//!
//! Everything is measured in one run, in interleaved rounds, and told as medians, because figures of
//! different runs on a shared machine can't be compared.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a benchmark reads the clock and prints; its numbers are small"
)]

mod dashboard;
mod holder;
mod kernel;
mod load;
mod look;
mod memory;
mod recording;
mod report;
mod standing;
mod storm;
mod synthetic;
mod table;
mod tool;
mod user;
mod watching;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use report::{Machine, Report};
use tool::Place;

#[derive(Debug, Parser)]
struct Args {
    /// Fewer and shorter rounds: to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Write the results to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only this part.
    #[arg(long, value_name = "PART", value_enum)]
    only: Option<Part>,
    /// In a process of its own: the memory of so many connections.
    #[arg(long, hide = true)]
    memory: Option<usize>,
    /// In a process of its own: hold sockets.
    #[arg(long, hide = true)]
    hold: Option<String>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// What needs no kernel.
    User,
    /// Recordings: size and speed.
    Recording,
    /// Kernel time per transition.
    Kernel,
    /// Throughput and loss.
    Storm,
    /// One look at many sockets.
    Look,
    /// Starting, and standing by.
    Standing,
    /// The dashboard.
    Top,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: usize,
    kernel_load: Duration,
    storm: Duration,
    records: usize,
    /// TIME_WAITs and CLOSE_WAITs.
    looked_at: (usize, usize),
    /// Connections whose every cost is counted.
    whole: u64,
    /// Sockets that are there at a start.
    standing: usize,
    /// For so long nothing happens, or a dashboard is watched.
    idle: Duration,
}

const FULL: Effort = Effort {
    rounds: 5,
    kernel_load: Duration::from_secs(1),
    storm: Duration::from_secs(3),
    records: 1_000_000,
    looked_at: (100_000, 20_000),
    whole: 5000,
    standing: 100_000,
    idle: Duration::from_secs(5),
};

const QUICK: Effort = Effort {
    rounds: 1,
    kernel_load: Duration::from_millis(200),
    storm: Duration::from_millis(700),
    records: 200_000,
    looked_at: (10_000, 2_000),
    whole: 1000,
    standing: 10_000,
    idle: Duration::from_secs(2),
};

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(connections) = args.memory {
        memory::measure_this_process(connections)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(what) = &args.hold {
        holder::hold(what)?;
        return Ok(ExitCode::SUCCESS);
    }
    let effort = if args.quick { QUICK } else { FULL };
    let mut report = Report::new(Machine::look()?, args.quick);
    let place = Place::new()?;
    let wanted = |part| args.only.is_none_or(|only| only == part);
    if wanted(Part::User) {
        report.user = user::measure(&effort)?;
        report.memory = memory::measure()?;
    }
    if wanted(Part::Recording) {
        report.recording = recording::measure(&effort, &place)?;
    }
    if wanted(Part::Kernel) || wanted(Part::Storm) {
        nobody_counts()?;
        load::enter_own_namespace()?;
    }
    if wanted(Part::Kernel) {
        report.kernel = kernel::measure(&effort, &place, &mut report.left_out)?;
    }
    if wanted(Part::Storm) {
        report.storm = storm::measure(&effort, &place, &mut report.left_out)?;
    }
    if wanted(Part::Top) {
        report.top = Some(dashboard::measure(&effort)?);
    }
    if wanted(Part::Standing) {
        report.standing = standing::measure(&effort, &place)?;
    }
    if wanted(Part::Look) {
        report.look = look::measure(&effort)?;
    }
    report.machine.load_after = report::load_average()?;
    print!("{}", table::table(&report));
    if let Some(path) = &args.json {
        report.write_json(path)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// While the kernel counts the run time of all programs, whoever asked for it, every one is dearer.
fn nobody_counts() -> Result<()> {
    const SETTING: &str = "/proc/sys/kernel/bpf_stats_enabled";
    let set = fs::read_to_string(SETTING).with_context(|| format!("reading '{SETTING}'"))?;
    let set = set.trim();
    ensure!(
        set == "0",
        "'{SETTING}' is {set}: that makes programs dearer; set it to 0 as long as this runs"
    );
    Ok(())
}
