//! What `top` takes of a core while 10,000 transitions happen a second.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    sys::signal::{Signal, kill},
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde::Serialize;

use crate::{Effort, load, report::Spread};

/// Ten transitions each.
const CONNECTIONS_PER_SECOND: u32 = 1000;

/// A terminal that shows all panels: columns, rows.
const SIZE: (u16, u16) = (120, 40);

/// The dashboard.
#[derive(Debug, Serialize)]
pub struct Dashboard {
    pub transitions_per_second: f64,
    /// Of one core, by its process.
    pub cpu_percent: Spread,
    pub resident_bytes: u64,
}

pub fn measure(effort: &Effort) -> Result<Dashboard> {
    let (mut child, terminal) = start()?;
    let drawn = thread::spawn(move || discard(terminal));
    let measured = watch(&child, effort);
    let ended = kill(pid(&child), Signal::SIGTERM).context("ending top");
    child.wait().context("waiting for top")?;
    ended?;
    let drawn = drawn.join().map_err(|_| anyhow!("the terminal died"))?;
    anyhow::ensure!(drawn > 2000, "top drew {drawn} bytes only");
    measured
}

fn watch(child: &Child, effort: &Effort) -> Result<Dashboard> {
    // Its first look, and the first frames.
    thread::sleep(Duration::from_secs(3));
    let length = effort.idle * u32::try_from(effort.rounds).unwrap_or(1);
    let work = thread::spawn(move || {
        let begun = Instant::now();
        let made = load::paced(CONNECTIONS_PER_SECOND, length + Duration::from_secs(2));
        made.map(|made| made as f64 / begun.elapsed().as_secs_f64())
    });
    thread::sleep(Duration::from_secs(1));
    let mut percent = Vec::new();
    for _ in 0..effort.rounds {
        let (begun, before) = (Instant::now(), cpu_time(child)?);
        thread::sleep(effort.idle);
        let spent = cpu_time(child)?.saturating_sub(before);
        percent.push(100.0 * spent.as_secs_f64() / begun.elapsed().as_secs_f64());
    }
    let per_second = work.join().map_err(|_| anyhow!("the load died"))??;
    let status = procfs::process::Process::new(pid(child).as_raw())
        .and_then(|process| process.status())
        .context("reading top's memory")?;
    Ok(Dashboard {
        transitions_per_second: per_second * 10.0,
        cpu_percent: Spread::of(percent),
        resident_bytes: status.vmrss.unwrap_or(0) * 1024,
    })
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn cpu_time(child: &Child) -> Result<Duration> {
    let clock = clock_getcpuclockid(pid(child));
    let time = clock.and_then(clock_gettime);
    time.map(Duration::from).context("reading top's CPU time")
}

/// In a terminal; what it draws can be read from the file.
fn start() -> Result<(Child, File)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .context("opening a terminal")?;
    grantpt(&master).context("granting the terminal")?;
    unlockpt(&master).context("unlocking the terminal")?;
    let name = ptsname(&master, Vec::new()).context("naming the terminal")?;
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().context("naming the terminal")?)
        .context("opening the terminal's other end")?;
    let size = Winsize {
        ws_col: SIZE.0,
        ws_row: SIZE.1,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&slave, size).context("sizing the terminal")?;
    let stream = || -> Result<Stdio> {
        let copy = slave.try_clone().context("copying the terminal")?;
        Ok(Stdio::from(copy))
    };
    let child = Command::new(env!("CARGO_BIN_EXE_tcpdwell"))
        .arg("top")
        .env("TERM", "xterm-256color")
        .stdin(stream()?)
        .stdout(stream()?)
        .stderr(stream()?)
        .spawn()
        .context("starting top")?;
    Ok((child, File::from(master)))
}

/// Reads until nobody draws any more; how many bytes.
fn discard(mut terminal: File) -> usize {
    let mut chunk = vec![0; 1 << 16];
    let mut drawn = 0;
    while let Ok(length @ 1..) = terminal.read(&mut chunk) {
        drawn += length;
    }
    drawn
}
