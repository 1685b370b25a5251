//! `cargo xtask vm`: the live tests, or any command, on kernels other than the running one. QEMU emulates the
//! CPU, so neither root nor KVM is needed and the results do not depend on the machine.

mod archive;
mod busybox;
mod initramfs;
mod kernel;
mod libraries;
mod modules;
mod qemu;
mod suites;

use std::fmt::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::{self, available_parallelism};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use self::initramfs::{Copy, Payload};
use self::kernel::Kernel;
use self::qemu::{Boot, Outcome};
use crate::arch::Arch;
use crate::stopwatch::Stopwatch;
use crate::{apt, cargo, paths};

/// The oldest kernel supported, the long-term ones between, the newest that Debian builds.
const ALL: [&str; 4] = ["5.10", "6.1", "6.12", "7.2"];
const DEFAULT: &str = "6.12";

/// Live tests that a merge check has time for on each kernel: the ledgers, where nearly all outcome depends on the
/// kernel. An emulated CPU is ten to thirty times slower, most of all with the verifier: each start counts. In
/// parts that take about as long, each in a guest of its own: a guest keeps one CPU busy.
const LEDGERS: [&[&str]; 3] = [
    &[
        "test_lives::lives_fentry",
        "test_lives::lives_kprobe",
        "test_lives::lives_timer",
    ],
    &[
        "test_exact::",
        "test_owners::",
        "test_storm::storm_accounts_for_everything",
    ],
    &[
        "test_backlog::",
        "test_lives::lives_after",
        "test_older::",
        "test_stuck::every_cause_in_one_look",
        "test_stuck_holders::",
    ],
];

/// The least of them that shows that all of a connection's changes arrive.
const SMOKE: &str = "test_exact::";

/// In a merge check. An emulated guest on a busy machine is slow enough to do, now and then, what a test's
/// workload did not plan (repeated segments, late softirqs): about one guest in ten. What fails three times is broken.
const RETRIES: u32 = 2;

/// Socket dumps and TUN devices are modules on Debian, and nothing in the guest loads modules on demand.
const MODULES: [&str; 3] = ["inet_diag", "tcp_diag", "tun"];

const PROGRAMS: [(&str, &str); 2] = [("xz", "xz-utils"), ("zstd", "zstd")];

#[derive(Debug, Clone, Args)]
pub(crate) struct VmArgs {
    /// A series (6.1: Debian's newest cloud kernel of it), pkg:NAME, or a vmlinuz; repeatable [default: 6.12]
    #[arg(short, long = "kernel", value_name = "KERNEL", conflicts_with = "all")]
    kernels: Vec<String>,
    /// 5.10, 6.1, 6.12 and 7.2
    #[arg(long)]
    all: bool,
    /// Architecture of the guest; programs are cross-built for another than this machine's
    #[arg(long, value_name = "ARCH", default_value_t = Arch::HOST, value_enum)]
    arch: Arch,
    /// Run the live tests whose name contains this ('': all) [default: the ledgers]
    #[arg(long, value_name = "FILTER", conflicts_with = "command")]
    test: Option<String>,
    /// Copy a file or folder into the guest (default: into /root)
    #[arg(short, long = "file", value_name = "SRC[:DST]")]
    files: Vec<String>,
    /// Copy a program into the guest, with the shared libraries it needs
    #[arg(short, long = "bin", value_name = "BIN[:DST]")]
    bins: Vec<String>,
    /// Load a kernel module (and those it depends on) first
    #[arg(short = 'M', long = "module", value_name = "MODULE")]
    modules: Vec<String>,
    /// Unpack what the guest leaves in /out here (with several kernels: into a folder for each)
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Memory of the guest in MB
    #[arg(long, value_name = "MB", default_value_t = 2048)]
    memory: u32,
    /// Processors of the guest
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,
    /// Give up on a kernel after this long
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    timeout: u64,
    /// Boot a guest that failed again, so many times
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// Show the kernel's messages
    #[arg(short, long)]
    verbose: bool,
    /// Run this command (by /bin/sh, in /root) instead of the live tests
    #[arg(last = true)]
    command: Vec<String>,
}

impl VmArgs {
    /// The live tests on every kernel of the matrix, in a time that a merge check has.
    pub(crate) fn all_kernels() -> Self {
        Self {
            kernels: Vec::new(),
            all: true,
            arch: Arch::HOST,
            test: None,
            files: Vec::new(),
            bins: Vec::new(),
            modules: Vec::new(),
            out: None,
            memory: 2048,
            cpus: 2,
            timeout: 480,
            retries: RETRIES,
            verbose: false,
            command: Vec::new(),
        }
    }

    /// That the programs work on another architecture than this machine's: one kernel, the least ledger.
    pub(crate) fn smoke(arch: Arch) -> Self {
        Self {
            all: false,
            arch,
            test: Some(SMOKE.into()),
            ..Self::all_kernels()
        }
    }

    fn kernels(&self) -> Vec<&str> {
        if self.all {
            ALL.to_vec()
        } else if self.kernels.is_empty() {
            vec![DEFAULT]
        } else {
            self.kernels.iter().map(String::as_str).collect()
        }
    }

    fn payload(&self, repo: &Path) -> Result<Payload> {
        let mut copies = Vec::new();
        for (specs, program) in [(&self.files, false), (&self.bins, true)] {
            for spec in specs {
                copies.push(Copy::parse(spec, program)?);
            }
        }
        if self.command.is_empty() {
            let live = cargo::build_live_tests(repo, self.arch)?;
            let tool = cargo::build_tool(repo, self.arch)?;
            copies.push(Copy::program(live, "/root/live"));
            copies.push(Copy::program(tool, "/root/tcpdwell"));
        }
        Ok(Payload {
            arch: self.arch,
            busybox: busybox::find(self.arch)?,
            copies,
        })
    }

    /// What is run on each kernel, each in a guest of its own.
    fn commands(&self) -> Vec<String> {
        if !self.command.is_empty() {
            return vec![self.command.join(" ")];
        }
        let filters = match &self.test {
            Some(filter) => vec![filter.clone()],
            None => LEDGERS.map(|part| part.join(" ")).to_vec(),
        };
        let live = |filter| {
            format!(
                "TCPDWELL_LIVE=1 TCPDWELL_SCALE=0.2 TCPDWELL_BIN=/root/tcpdwell /root/live \
                 --test-threads=4 {filter}"
            )
        };
        filters.into_iter().map(live).collect()
    }
}

pub(crate) fn execute(args: &VmArgs) -> Result<ExitCode> {
    apt::ensure_programs(&PROGRAMS)?;
    apt::ensure_programs(&[qemu::package(args.arch)])?;
    let payload = args.payload(&paths::repository()?)?;
    let kernels = args.kernels();
    // One after the other: apt serves one at a time.
    let found: Vec<_> = kernels
        .into_iter()
        .map(|k| (k, kernel::find(k, args.arch)))
        .collect();
    let commands = args.commands();
    let mut guests = Vec::new();
    for (kernel, files) in &found {
        for (part, command) in commands.iter().enumerate() {
            guests.push(Guest {
                label: label(kernel, part, commands.len()),
                kernel,
                files,
                command,
            });
        }
    }
    let several = guests.len() > 1;
    // An emulated guest keeps one CPU busy, however many it thinks that it has.
    let at_once = available_parallelism().map_or(1, NonZero::get);
    let left = Mutex::new(guests.iter().enumerate());
    let next = || left.lock().ok()?.next();
    let worker = || {
        let mut rows = Vec::new();
        while let Some((at, guest)) = next() {
            println!("--- kernel {}", guest.label);
            let mut row = Row::of(guest, || boot(args, guest, several, &payload));
            while row.failed() && row.retries < args.retries {
                println!("--- kernel {}, again", guest.label);
                let again = Row::of(guest, || boot(args, guest, several, &payload));
                row = Row {
                    retries: row.retries + 1,
                    ..again
                };
            }
            rows.push((at, row));
        }
        rows
    };
    let mut rows: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(worker)).collect();
        let rows = workers.into_iter().filter_map(|w| w.join().ok());
        rows.flatten().collect()
    });
    rows.sort_by_key(|(at, _)| *at);
    let rows: Vec<Row<'_>> = rows.into_iter().map(|(_, row)| row).collect();
    print!("{}", table(&rows));
    Ok(exit_code(&rows))
}

/// The folder of what was fetched for guests of this architecture.
fn cache(arch: Arch) -> Result<PathBuf> {
    match arch {
        Arch::Amd64 => paths::cache("vm"),
        Arch::Arm64 => paths::cache("vm-arm64"),
    }
}

/// What is booted, and for what.
struct Guest<'a> {
    label: String,
    kernel: &'a str,
    files: &'a Result<Option<Kernel>>,
    command: &'a str,
}

/// A kernel, and which part of so many.
fn label(kernel: &str, part: usize, parts: usize) -> String {
    if parts == 1 {
        kernel.to_owned()
    } else {
        format!("{kernel} ({} of {parts})", part + 1)
    }
}

fn boot(args: &VmArgs, guest: &Guest<'_>, several: bool, payload: &Payload) -> Result<Outcome> {
    let kernel = guest.kernel;
    let files = guest.files.as_ref().map_err(|why| anyhow!("{why:#}"))?;
    let Some(kernel_files) = files else {
        // The matrix outlives a series; somebody who asks for one wants to know.
        if args.all {
            return Ok(Outcome::Unavailable);
        }
        bail!(
            "Debian has no cloud kernel {kernel} now: give another series, pkg:NAME or the path of a vmlinuz"
        );
    };
    let scratch = tempfile::tempdir().context("create a scratch folder")?;
    let modules = match &kernel_files.modules {
        Some(tree) => modules::load(tree, &MODULES, &args.modules)?,
        None => Vec::new(),
    };
    let initramfs = scratch.path().join("initramfs");
    payload.write(&initramfs, &modules, guest.command)?;
    let boot = Boot {
        arch: args.arch,
        kernel: &kernel_files.image,
        initramfs: &initramfs,
        scratch: scratch.path(),
        memory: args.memory,
        cpus: args.cpus,
        timeout: Duration::from_secs(args.timeout),
        verbose: args.verbose,
        is_one_of_several: several,
    };
    let out = args.out.as_ref().map(|dir| {
        if args.kernels().len() > 1 {
            dir.join(kernel)
        } else {
            dir.clone()
        }
    });
    boot.run(out.as_deref())
}

struct Row<'a> {
    guest: &'a str,
    /// None: it did not come to a boot.
    outcome: Option<Outcome>,
    /// Of the last go.
    seconds: f64,
    retries: u32,
}

impl<'a> Row<'a> {
    /// The first go.
    fn of(guest: &'a Guest<'_>, boot: impl FnOnce() -> Result<Outcome>) -> Self {
        let watch = Stopwatch::start();
        // One kernel that cannot be had must not hide what the others say.
        let outcome = boot();
        if let Err(error) = &outcome {
            eprintln!("xtask: kernel {}: {error:#}", guest.label);
        }
        Row {
            guest: &guest.label,
            outcome: outcome.ok(),
            seconds: watch.seconds(),
            retries: 0,
        }
    }

    fn code(&self) -> u8 {
        self.outcome.as_ref().map_or(1, Outcome::code)
    }

    fn failed(&self) -> bool {
        self.code() != 0
    }

    fn result(&self) -> String {
        let mut result = self
            .outcome
            .as_ref()
            .map_or("not booted".into(), Outcome::to_string);
        if self.retries > 0 {
            // Writing to a String cannot fail.
            let _ = write!(result, ", retries: {}", self.retries);
        }
        result
    }
}

fn table(rows: &[Row<'_>]) -> String {
    let mut text = format!("{:<14} {:<32} {:>7}\n", "KERNEL", "RESULT", "SECONDS");
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<14} {:<32} {:>7.1}",
            row.guest,
            row.result(),
            row.seconds
        );
    }
    text
}

/// The status of the one command, or whether all of several succeeded.
fn exit_code(rows: &[Row<'_>]) -> ExitCode {
    let worst = rows.iter().map(Row::code).max().unwrap_or(0);
    // A run that booted nothing has shown nothing.
    if rows
        .iter()
        .all(|row| row.outcome == Some(Outcome::Unavailable))
    {
        return ExitCode::FAILURE;
    }
    ExitCode::from(if rows.len() == 1 { worst } else { worst.min(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_every_kernel() {
        let row = |guest, outcome, retries| Row {
            guest,
            outcome,
            seconds: 9.04,
            retries,
        };
        let rows = [
            row("5.10 (1 of 3)", Some(Outcome::Exited(0)), 1),
            row("6.1", Some(Outcome::Exited(101)), 1),
            row("6.12", Some(Outcome::TimedOut), 0),
            row("7.2", None, 0),
            row("7.3", Some(Outcome::Unavailable), 0),
        ];
        assert_eq!(
            table(&rows),
            "\
KERNEL         RESULT                           SECONDS
5.10 (1 of 3)  ok, retries: 1                       9.0
6.1            failed (status 101), retries: 1      9.0
6.12           timed out                            9.0
7.2            not booted                           9.0
7.3            skipped: not in Debian               9.0
"
        );
        assert_eq!(exit_code(&rows), ExitCode::from(1));
        assert_eq!(exit_code(&rows[..1]), ExitCode::SUCCESS);
        let [rest @ .., skipped] = rows.as_slice() else {
            panic!("no rows")
        };
        assert_eq!(exit_code(std::slice::from_ref(skipped)), ExitCode::FAILURE);
        assert_eq!(exit_code(rest), ExitCode::from(1));
        assert_eq!(exit_code(&rows[1..2]), ExitCode::from(101));
    }
}
