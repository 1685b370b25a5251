//! A tool's process: started until it watches, asked what it spends, ended as Ctrl-C does.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::{
    sys::signal::{Signal, kill},
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

/// Nobody takes longer to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// A rival is attached so long after it shows that it soon will be.
const SOON: Duration = Duration::from_millis(300);
/// Nobody takes longer to work off what a load left behind: what it has not told by then is lost.
const LEFT_BEHIND: Duration = Duration::from_secs(10);

/// See the module.
pub struct Watching {
    child: Child,
    said: JoinHandle<Vec<String>>,
}

impl Watching {
    /// One of ours: it says when it traces.
    pub fn ours(command: &mut Command) -> Result<Self> {
        let (watching, ready) = Self::spawn(command, "tracing TCP state changes")?;
        if ready.recv_timeout(PATIENCE).is_err() {
            let (status, said) = watching.end()?;
            bail!("it did not start ({status}): {}", said.join("; "));
        }
        Ok(watching)
    }

    /// A rival of this Debian package: it is attached soon after something shows.
    pub fn rival(
        command: &mut Command,
        package: &str,
        shows: impl Fn(&Self) -> Result<bool>,
    ) -> Result<Self> {
        let (mut watching, _) = Self::spawn(command, "")
            .with_context(|| format!("is the Debian package {package} installed?"))?;
        let begun = Instant::now();
        loop {
            let ended = watching.child.try_wait().context("asking for its status")?;
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let (status, said) = watching.end()?;
                bail!("it did not start ({status}): {}", said.join("; "));
            }
            if shows(&watching)? {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(SOON);
        Ok(watching)
    }

    /// Starts a process that reports when it has said this on stderr.
    fn spawn(command: &mut Command, awaited: &'static str) -> Result<(Self, Receiver<()>)> {
        let name = command.get_program().to_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", name.display()))?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let (tell, ready) = channel();
        let said = thread::spawn(move || listen(stderr, awaited, &tell));
        Ok((Self { child, said }, ready))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The BPF programs that it holds.
    pub fn program_ids(&self) -> Result<BTreeSet<u32>> {
        program_ids(&self.pid().to_string())
    }

    /// Whether it has something of this name in its memory.
    pub fn has_mapped(&self, what: &str) -> Result<bool> {
        let path = format!("/proc/{}/maps", self.pid());
        let maps = fs::read_to_string(&path).with_context(|| format!("reading '{path}'"))?;
        Ok(maps.contains(what))
    }

    /// The time that all its threads have spent, in user and kernel mode.
    pub fn cpu_time(&self) -> Result<Duration> {
        let clock = clock_getcpuclockid(self.pid());
        let time = clock.and_then(clock_gettime);
        time.map(Duration::from)
            .context("reading the tool's CPU time")
    }

    /// What is resident of it now, in bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = procfs::process::Process::new(self.pid().as_raw())
            .and_then(|process| process.status())
            .context("reading the tool's memory")?;
        Ok(status.vmrss.unwrap_or(0) * 1024)
    }

    /// Waits until it does next to nothing.
    pub fn settle(&self) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(250);
        let begun = Instant::now();
        let mut before = self.cpu_time()?;
        while begun.elapsed() < LEFT_BEHIND {
            thread::sleep(LOOK);
            let now = self.cpu_time()?;
            if now.saturating_sub(before) < LOOK / 25 {
                break;
            }
            before = now;
        }
        Ok(())
    }

    /// Ends it as Ctrl-C does; what it said.
    pub fn end(mut self) -> Result<(ExitStatus, Vec<String>)> {
        // It may have ended by itself, having failed.
        let _ = kill(self.pid(), Signal::SIGINT);
        let status = self.child.wait().context("waiting for the tool")?;
        let said = self.said.join().map_err(|_| anyhow!("the listener died"))?;
        Ok((status, said))
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

/// The BPF programs that a process holds.
pub fn program_ids(pid: &str) -> Result<BTreeSet<u32>> {
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
