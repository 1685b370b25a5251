//! Boots the guest and learns how its command ended. Three serial lines: the kernel's messages, the command's
//! output (this process's stdout, so it shows as it comes), and the status with what the guest left in /out.

use std::fmt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::process;
use crate::stopwatch::Stopwatch;

const CONSOLE_LINES: usize = 30;
const POLL: Duration = Duration::from_millis(100);

pub(super) struct Boot<'a> {
    pub(super) arch: Arch,
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
            .with_context(|| format!("start {}", package(self.arch).0))?;
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
        let said = said.map_or("stdio".into(), file);
        let mut command = Command::new(package(self.arch).0);
        command
            // Only the emulator: results must not depend on what the machine's CPU offers. One thread for all
            // of a guest's CPUs: with one each, a guest trips now and then over text that its kernel patches.
            .args(["-accel", "tcg,thread=single"])
            .args(machine(self.arch))
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
            .args(["-append", &format!("{} panic=-1 quiet", lines(self.arch))])
            .args(["-serial", &file(console)])
            .args(serial(self.arch, "said", &said))
            .args(serial(self.arch, "control", &file(control)))
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

/// The emulator of an architecture, and Debian's package that has it.
pub(super) const fn package(arch: Arch) -> (&'static str, &'static str) {
    match arch {
        Arch::Amd64 => ("qemu-system-x86_64", "qemu-system-x86"),
        Arch::Arm64 => ("qemu-system-aarch64", "qemu-system-arm"),
    }
}

/// The machine and its CPU. arm64's `max` would sign every return address, which is slow to emulate, and has wider
/// addresses than older kernels boot with.
const fn machine(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::Amd64 => &["-cpu", "max"],
        Arch::Arm64 => &["-machine", "virt", "-cpu", "neoverse-n1"],
    }
}

/// The serial lines as the guest's kernel calls them: its own messages, and what `init` is told of the others.
const fn lines(arch: Arch) -> &'static str {
    match arch {
        // Debian's kernels set up one serial line unless told otherwise.
        Arch::Amd64 => "console=ttyS0 8250.nr_uarts=4 said=/dev/ttyS1 control=/dev/ttyS2",
        Arch::Arm64 => "console=ttyAMA0 said=/dev/ttyS0 control=/dev/ttyS1",
    }
}

/// One more serial line. The arm64 board has one, so the others are cards.
fn serial(arch: Arch, name: &str, backend: &str) -> Vec<String> {
    match arch {
        Arch::Amd64 => vec!["-serial".into(), backend.into()],
        Arch::Arm64 => vec![
            "-chardev".into(),
            chardev(name, backend),
            "-device".into(),
            format!("pci-serial,chardev={name}"),
        ],
    }
}

/// `-serial file:PATH` and `-serial stdio` as a named device.
fn chardev(name: &str, backend: &str) -> String {
    match backend.split_once(':') {
        Some((kind, path)) => format!("{kind},id={name},path={path}"),
        None => format!("{backend},id={name}"),
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
    fn a_serial_line_is_a_card_where_the_board_has_but_one() {
        assert_eq!(
            serial(Arch::Amd64, "said", "file:/x"),
            ["-serial", "file:/x"]
        );
        assert_eq!(
            serial(Arch::Arm64, "said", "file:/x")[1],
            "file,id=said,path=/x"
        );
        assert_eq!(serial(Arch::Arm64, "said", "stdio")[1], "stdio,id=said");
    }

    #[test]
    fn the_status_decides_whatever_became_of_qemu() {
        let ended = Some(ExitStatus::from_raw(0));
        assert_eq!(outcome("STATUS 0\n", ended), Outcome::Exited(0));
        assert_eq!(outcome("STATUS 101\r\nH4sI\n", None), Outcome::Exited(101));
        assert_eq!(outcome("", ended), Outcome::Died);
        assert_eq!(outcome("", None), Outcome::TimedOut);
    }
}
