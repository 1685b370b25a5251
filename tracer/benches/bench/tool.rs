//! What is attached while a load runs: nothing, the empty program, ours, a rival.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde::Serialize;
use tempfile::TempDir;
use tracer::ebpf::{AttachedYardstick, ProgramCost, Yardstick, programs};

use crate::{load::MARK, watching::Watching};

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Nothing,
    /// A program that is none of a tool.
    Bare(Yardstick),
    /// `tcpdwell trace` to NDJSON in a file, with these further arguments.
    Trace(&'static [&'static str]),
    /// `tcpdwell record`.
    Record,
    /// `tcpdwell report --format json`: prints nothing until it ends.
    Report,
    /// `tcpdwell report --aggregate`, which streams nothing.
    Aggregate,
    /// libbpf-tools' tcpstates.
    Tcpstates,
    /// A bpftrace program that prints what tcpstates does, less the time.
    Bpftrace,
    /// perf on the tracepoint.
    Perf,
}

/// A case: what it is called, and what is attached.
pub type Case = (&'static str, Tool);

/// What others are measured above.
pub const EMPTY: Case = ("empty program", Tool::Bare(Yardstick::Empty));
/// What no tool that streams gets below.
pub const LEAST: Case = (
    "clock and a line in a ring buffer",
    Tool::Bare(Yardstick::Least),
);
/// What the targets were set above.
pub const LEAN: Case = ("64 bytes, by helpers", Tool::Bare(Yardstick::Lean));

const SCRIPT: &str = r#"tracepoint:sock:inet_sock_set_state { printf("%-7d %-16s %-15s %-5d %-15s %-5d %d %d\n", pid, comm, ntop(args->family, args->saddr), args->sport, ntop(args->family, args->daddr), args->dport, args->oldstate, args->newstate); }"#;

/// Where tools write: in memory if possible, so that no disk is measured.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        place
            .map(Self)
            .context("making a folder for what is written")
    }

    /// The one file.
    pub fn file(&self) -> PathBuf {
        self.0.path().join("written")
    }

    /// Instead of what a tool would write.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        std::fs::write(self.file(), bytes).context("writing it")
    }

    /// For the next tool.
    pub fn clear(&self) -> Result<()> {
        match std::fs::remove_file(self.file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("removing what was written")
            }
            _ => Ok(()),
        }
    }
}

/// A tool that watches.
pub enum Running {
    Nothing,
    Bare { _attached: AttachedYardstick },
    Process(Watching),
}

/// What it says of itself.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// TCP state changes it looked at, where it tells.
    pub seen: Option<u64>,
    /// Events it knows it lost, where it tells.
    pub lost: Option<u64>,
}

/// A case that could not be measured here.
#[derive(Debug, Serialize)]
pub struct LeftOut {
    pub case: &'static str,
    pub because: String,
}

/// Starts and ends each once: those that can't be measured here are left out, and why is said. Ours as
/// it is by default, and what it is measured against, must work.
pub fn possible(cases: &[Case], place: &Place, left_out: &mut Vec<LeftOut>) -> Result<Vec<Case>> {
    let mut found = Vec::new();
    for (case, tool) in cases {
        match tool.start(place).and_then(Running::stop) {
            Ok(_) => found.push((*case, *tool)),
            Err(error) if tool.is_required() => return Err(error),
            Err(error) => {
                let because = format!("{error:#}");
                if left_out.iter().all(|out| out.case != *case) {
                    left_out.push(LeftOut { case, because });
                }
            }
        }
        place.clear()?;
    }
    Ok(found)
}

impl Tool {
    /// Cookies for tracing programs, which [`LEAN`] asks for, came later than ours need (5.12).
    const fn is_required(self) -> bool {
        match self {
            Self::Bare(yardstick) => !matches!(yardstick, Yardstick::Lean),
            other => matches!(other, Self::Nothing | Self::Trace([])),
        }
    }

    /// Starts it, and waits until it is attached.
    pub fn start(self, place: &Place) -> Result<Running> {
        let written = place.file();
        let ours = |verb: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tcpdwell"));
            command.arg(verb).arg("-o").arg(&written);
            command.stdout(Stdio::null());
            command
        };
        let onto_file = |name: &str| -> Result<Command> {
            let mut command = Command::new(name);
            let file = File::create(&written).context("making the file to write to")?;
            command.stdout(file);
            Ok(command)
        };
        Ok(Running::Process(match self {
            Self::Nothing => return Ok(Running::Nothing),
            Self::Bare(yardstick) => {
                return Ok(Running::Bare {
                    _attached: yardstick.attach()?,
                });
            }
            Self::Trace(arguments) => {
                let mut command = ours("trace");
                command.args(["--format", "ndjson"]).args(arguments);
                Watching::ours(&mut command)?
            }
            Self::Record => Watching::ours(&mut ours("record"))?,
            Self::Report => Watching::ours(ours("report").args(["--format", "json"]))?,
            Self::Aggregate => Watching::ours(ours("report").arg("--aggregate"))?,
            Self::Tcpstates => {
                Watching::rival(&mut onto_file("tcpstates")?, "libbpf-tools", has_programs)?
            }
            Self::Bpftrace => {
                let mut command = onto_file("bpftrace")?;
                Watching::rival(command.args(["-e", SCRIPT]), "bpftrace", has_programs)?
            }
            Self::Perf => {
                let mut command = Command::new("perf");
                command
                    .args(["record", "-q", "-B", "-N", "-a"])
                    .args(["-e", "sock:inet_sock_set_state", "-o"])
                    .arg(&written)
                    .stdout(Stdio::null());
                Watching::rival(&mut command, "linux-perf", has_perf_buffers)?
            }
        }))
    }

    /// Transitions of the load that it had to tell when it ended; `None`: it shows no single one.
    pub fn delivered(self, place: &Place) -> Result<Option<u64>> {
        let written = place.file();
        let read = |mut command: Command| {
            let mut child = command
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .context("starting what reads it")?;
            let count = count(child.stdout.take().context("stdout is piped")?)?;
            let status = child.wait().context("waiting for what reads it")?;
            ensure!(status.success(), "what reads it failed: {status}");
            Ok(count)
        };
        match self {
            Self::Nothing | Self::Bare(_) | Self::Report | Self::Aggregate => Ok(None),
            Self::Trace(_) | Self::Tcpstates | Self::Bpftrace => {
                let file = File::open(&written).context("reading what was written")?;
                count(file).map(Some)
            }
            Self::Record => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_tcpdwell"));
                command.args(["trace", "--format", "ndjson", "--from"]);
                command.arg(&written);
                read(command).map(Some)
            }
            Self::Perf => {
                let mut command = Command::new("perf");
                command.args(["script", "-F", "trace", "-i"]).arg(&written);
                read(command).map(Some)
            }
        }
    }

    /// Whether it counts in its `lost` whatever it does not deliver.
    pub const fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Trace(_) | Self::Record | Self::Report | Self::Aggregate
        )
    }
}

/// Lines that name an address of the load.
fn count(from: impl Read) -> Result<u64> {
    let mut from = BufReader::with_capacity(1 << 20, from);
    let mut line = Vec::new();
    let mut count = 0;
    while from.read_until(b'\n', &mut line).context("reading it")? > 0 {
        count += u64::from(line.windows(MARK.len()).any(|part| part == MARK));
        line.clear();
    }
    Ok(count)
}

fn has_programs(watching: &Watching) -> Result<bool> {
    Ok(!watching.program_ids()?.is_empty())
}

/// perf has mapped its buffers: what comes next is to enable the events.
fn has_perf_buffers(watching: &Watching) -> Result<bool> {
    watching.has_mapped("anon_inode:[perf_event]")
}

impl Running {
    /// Its programs, by the descriptors it holds: others may have loaded some of the same name.
    pub fn programs(&self) -> Result<Vec<ProgramCost>> {
        let ids = match self {
            Self::Nothing => return Ok(Vec::new()),
            Self::Bare { .. } => crate::watching::program_ids("self")?,
            Self::Process(watching) => watching.program_ids()?,
        };
        let mut found = programs()?;
        found.retain(|program| ids.contains(&program.id));
        Ok(found)
    }

    /// The time its process has spent, in user and kernel mode.
    pub fn cpu_time(&self) -> Result<Duration> {
        match self {
            Self::Process(watching) => watching.cpu_time(),
            _ => Ok(Duration::ZERO),
        }
    }

    /// Waits until it has worked off what the load left behind.
    pub fn settle(&self) -> Result<()> {
        match self {
            Self::Process(watching) => watching.settle(),
            _ => Ok(()),
        }
    }

    /// Ends it.
    pub fn stop(self) -> Result<Account> {
        let Self::Process(watching) = self else {
            return Ok(Account::default());
        };
        let (status, said) = watching.end()?;
        // perf ends as whoever sends the signal wants it, once it has written all.
        if !status.success() && status.signal() != Some(Signal::SIGINT as i32) {
            bail!("it failed ({status}): {}", said.join("; "));
        }
        Ok(account(&said))
    }
}

/// Our completeness line and what a recording misses, or the sum of a rival's "lost N events".
fn account(said: &[String]) -> Account {
    let mut account = Account::default();
    let mut lost = |n: Option<u64>| {
        if let Some(n) = n {
            *account.lost.get_or_insert(0) += n;
        }
    };
    for line in said {
        let words: Vec<&str> = line.split_whitespace().collect();
        for word in &words {
            match word.split_once('=') {
                Some(("seen", n)) => account.seen = n.parse().ok(),
                Some(("lost", n)) => lost(n.parse().ok()),
                _ => {}
            }
        }
        // tcpstates: "lost 5 events on CPU #1"; bpftrace: "Lost 5 events".
        if let ["lost" | "Lost", n, "events", ..] = words[..] {
            lost(n.parse().ok());
        }
        // record: "...; 5 events are missing, because the disk was too slow".
        for part in words.windows(4) {
            if let [n, "events", "are", "missing,"] = part {
                lost(n.parse().ok());
            }
        }
    }
    account
}
