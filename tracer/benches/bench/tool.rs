//! What is attached while a load runs: nothing, the empty program, ours, a rival.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use procfs::process::Process;
use tracer::ebpf::{EmptyProgram, ProgramCost, programs};

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Nothing,
    Empty,
    /// `tcpdwell trace` to NDJSON in /dev/null, with these further arguments.
    Ours(&'static [&'static str]),
    /// libbpf-tools' tcpstates to /dev/null.
    Tcpstates,
}

/// A tool that watches.
pub enum Running {
    Nothing,
    Empty { _attached: EmptyProgram },
    Process(Watching),
}

/// A tool's process.
pub struct Watching {
    child: Child,
    said: JoinHandle<Vec<String>>,
}

/// What it says of itself.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// TCP state changes it looked at, where it tells.
    pub seen: Option<u64>,
    /// Events it knows it lost.
    pub lost: u64,
}

impl Tool {
    /// Starts it, and waits until it is attached.
    pub fn start(self) -> Result<Running> {
        Ok(match self {
            Self::Nothing => Running::Nothing,
            Self::Empty => Running::Empty {
                _attached: EmptyProgram::attach()?,
            },
            Self::Ours(arguments) => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_tcpdwell"));
                command.args(["trace", "--format", "ndjson", "-o", "/dev/null"]);
                command.args(arguments);
                Running::Process(Watching::ours(command)?)
            }
            Self::Tcpstates => Running::Process(Watching::tcpstates()?),
        })
    }
}

impl Watching {
    fn ours(mut command: Command) -> Result<Self> {
        let (watching, ready) = Self::spawn(&mut command, "tracing TCP state changes")?;
        if ready.recv_timeout(Duration::from_secs(20)).is_err() {
            let said = watching.end()?;
            bail!("tcpdwell did not start: {}", said.join("; "));
        }
        Ok(watching)
    }

    fn tcpstates() -> Result<Self> {
        let (watching, _) = Self::spawn(&mut Command::new("tcpstates"), "")?;
        // It does not say when it is attached: shortly after its program is there.
        let patience = Instant::now() + Duration::from_secs(20);
        while program_ids(&watching.pid_text())?.is_empty() {
            if Instant::now() > patience {
                let said = watching.end()?;
                bail!("tcpstates did not start: {}", said.join("; "));
            }
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(300));
        Ok(watching)
    }

    /// Starts a process that reports when it has said this on stderr.
    fn spawn(command: &mut Command, awaited: &'static str) -> Result<(Self, Receiver<()>)> {
        let name = command.get_program().to_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", name.display()))?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let (tell, ready) = channel();
        let said = thread::spawn(move || listen(stderr, awaited, &tell));
        Ok((Self { child, said }, ready))
    }

    fn pid_text(&self) -> String {
        self.child.id().to_string()
    }

    /// Ends it as Ctrl-C does; what it said.
    fn end(mut self) -> Result<Vec<String>> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // It may have ended by itself, having failed.
        let _ = kill(pid, Signal::SIGINT);
        self.child.wait().context("waiting for the tool")?;
        self.said.join().map_err(|_| anyhow!("the listener died"))
    }
}

fn listen(stderr: ChildStderr, awaited: &str, tell: &Sender<()>) -> Vec<String> {
    let mut said = Vec::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.contains(awaited) {
            // Nobody may be waiting any more.
            let _ = tell.send(());
        }
        said.push(line);
    }
    said
}

impl Running {
    /// Its programs, by the descriptors it holds: others may have loaded some of the same name.
    pub fn programs(&self) -> Result<Vec<ProgramCost>> {
        let pid = match self {
            Self::Nothing => return Ok(Vec::new()),
            Self::Empty { .. } => "self".to_owned(),
            Self::Process(watching) => watching.pid_text(),
        };
        let ids = program_ids(&pid)?;
        let mut found = programs()?;
        found.retain(|program| ids.contains(&program.id));
        Ok(found)
    }

    /// The time its process has spent, in user and kernel mode.
    pub fn cpu_time(&self) -> Result<Duration> {
        let Self::Process(watching) = self else {
            return Ok(Duration::ZERO);
        };
        let stat = Process::new(watching.child.id().cast_signed())
            .and_then(|process| process.stat())
            .context("reading the tool's CPU time")?;
        let ticks = stat.utime + stat.stime;
        Ok(Duration::from_millis(
            ticks * 1000 / procfs::ticks_per_second(),
        ))
    }

    /// Ends it.
    pub fn stop(self) -> Result<Account> {
        let Self::Process(watching) = self else {
            return Ok(Account::default());
        };
        Ok(account(&watching.end()?))
    }
}

/// Our completeness line, or the sum of the rival's "lost N events on CPU #C".
fn account(said: &[String]) -> Account {
    let mut account = Account::default();
    for line in said {
        for word in line.split(' ') {
            match word.split_once('=') {
                Some(("seen", n)) => account.seen = n.parse().ok(),
                Some(("lost", n)) => account.lost = n.parse().unwrap_or(0),
                _ => {}
            }
        }
        let lost = line.strip_prefix("lost ").and_then(|l| l.split_once(' '));
        account.lost += lost.and_then(|(n, _)| n.parse::<u64>().ok()).unwrap_or(0);
    }
    account
}

fn program_ids(pid: &str) -> Result<BTreeSet<u32>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("listing '{folder}'"))? {
        // Descriptors come and go while we look.
        let Ok(text) = entry.and_then(|entry| fs::read_to_string(entry.path())) else {
            continue;
        };
        ids.extend(text.lines().filter_map(|line| {
            let id = line.strip_prefix("prog_id:")?;
            id.trim().parse::<u32>().ok()
        }));
    }
    Ok(ids)
}
