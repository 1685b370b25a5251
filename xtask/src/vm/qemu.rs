//! Boots the guest and learns how its command ended. Three serial lines: the kernel's messages, the command's
//! output (this process's stdout, so it shows as it comes), and the status with what the guest left in /out.

use std::fmt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process;
use crate::stopwatch::Stopwatch;

const CONSOLE_LINES: usize = 30;
const POLL: Duration = Duration::from_millis(100);

pub(super) struct Boot<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    pub(super) scratch: &'a Path,
    pub(super) memory: u32,
    pub(super) cpus: u32,
    pub(super) timeout: Duration,
    pub(super) verbose: bool,
    /// Other guests run beside this one: what it prints is shown when it has ended.
    pub(super) is_one_of_several: bool,
}

/// How the guest's command ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Exited(u8),
    TimedOut,
    /// The guest went away without a status: a panic, or QEMU failed.
    Died,
    /// Not booted, because there is no such kernel to be had now.
    Unavailable,
}

impl Outcome {
    /// The exit code that stands for it; `timeout` and shells use the same.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Exited(code) => *code,
            Self::TimedOut => 124,
            Self::Died => 125,
            Self::Unavailable => 0,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(0) => f.write_str("ok"),
            Self::Exited(code) => write!(f, "failed (status {code})"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Died => f.write_str("died without a status"),
            Self::Unavailable => f.write_str("skipped: not in Debian"),
        }
    }
}

impl Boot<'_> {
    /// Boots, waits for the end, and unpacks the guest's /out into `out`.
    pub(super) fn run(&self, out: Option<&Path>) -> Result<Outcome> {
        let console = self.scratch.join("console");
        let control = self.scratch.join("control");
        let output = self.scratch.join("output");
        let said = (self.is_one_of_several).then_some(output.as_path());
        let mut child = self
            .command(&console, said, &control)
            .spawn()
            .context("start qemu-system-x86_64")?;
        let watch = Stopwatch::start();
        let mut ended = None;
        while ended.is_none() && watch.elapsed() < self.timeout {
            std::thread::sleep(POLL);
            ended = child.try_wait().context("wait for QEMU")?;
        }
        if ended.is_none() {
            child.kill().context("stop QEMU")?;
            child.wait().context("wait for QEMU")?;
        }
        let report = std::fs::read_to_string(&control).unwrap_or_default();
        if let Some(dir) = out {
            unpack(&report, self.scratch, dir)?;
        }
        if let Some(said) = said {
            let bytes = std::fs::read(said).unwrap_or_default();
            print!("{}", String::from_utf8_lossy(&bytes));
        }
        let outcome = outcome(&report, ended);
        self.show_console(&console, &outcome);
        Ok(outcome)
    }

    fn command(&self, console: &Path, said: Option<&Path>, control: &Path) -> Command {
        let file = |path: &Path| format!("file:{}", path.display());
        let mut command = Command::new("qemu-system-x86_64");
        command
            // Only the emulator: results must not depend on what the machine's CPU offers. One thread for all
            // of a guest's CPUs: with one each, a guest trips now and then over text that its kernel patches.
            .args(["-accel", "tcg,thread=single", "-cpu", "max"])
            .args([
                "-display",
                "none",
                "-monitor",
                "none",
                "-nic",
                "none",
                "-no-reboot",
            ])
            .args([
                "-m",
                &self.memory.to_string(),
                "-smp",
                &self.cpus.to_string(),
            ])
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.initramfs)
            // Debian's kernels set up one serial line unless told otherwise.
            .args(["-append", "console=ttyS0 panic=-1 quiet 8250.nr_uarts=4"])
            .args(["-serial", &file(console)])
            .args(["-serial", &said.map_or("stdio".into(), file)])
            .args(["-serial", &file(control)])
            .stdin(Stdio::null());
        command
    }

    /// The kernel's messages, all of them if asked for, the last ones if they may say what went wrong.
    fn show_console(&self, console: &Path, outcome: &Outcome) {
        let bytes = std::fs::read(console).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let skip = match (self.verbose, outcome) {
            (true, _) => 0,
            (false, Outcome::Exited(_) | Outcome::Unavailable) => return,
            (false, _) => text.lines().count().saturating_sub(CONSOLE_LINES),
        };
        for line in text.lines().skip(skip) {
            eprintln!("[console] {}", line.trim_end());
        }
    }
}

fn outcome(report: &str, ended: Option<ExitStatus>) -> Outcome {
    let status = report
        .lines()
        .find_map(|line| line.trim_end().strip_prefix("STATUS "));
    match (status.and_then(|status| status.parse().ok()), ended) {
        (Some(code), _) => Outcome::Exited(code),
        (None, None) => Outcome::TimedOut,
        (None, Some(_)) => Outcome::Died,
    }
}

fn unpack(report: &str, scratch: &Path, dir: &Path) -> Result<()> {
    let encoded: String = report
        .lines()
        .filter(|line| !line.starts_with("STATUS "))
        .collect();
    if encoded.trim().is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let file = scratch.join("out.base64");
    std::fs::write(&file, encoded).with_context(|| format!("write {}", file.display()))?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "base64 -d -i \"$0\" | tar -xzf - -C \"$1\""]);
    process::run(shell.arg(&file).arg(dir)).context("unpack what the guest left in /out")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn the_status_decides_whatever_became_of_qemu() {
        let ended = Some(ExitStatus::from_raw(0));
        assert_eq!(outcome("STATUS 0\n", ended), Outcome::Exited(0));
        assert_eq!(outcome("STATUS 101\r\nH4sI\n", None), Outcome::Exited(101));
        assert_eq!(outcome("", ended), Outcome::Died);
        assert_eq!(outcome("", None), Outcome::TimedOut);
    }
}
