//! What one look of `stuck` costs where there is much to see: time and memory, by either source.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use procfs::process::Process;
use serde::Serialize;

use crate::{
    Effort,
    holder::{Ends, hold_sockets},
    load::{limit_minisocks, new_network},
    report::Spread,
};

/// Connections between the same two addresses on the same port: below the range of ports.
const PER_LISTENER: usize = 10_000;

/// One way to look.
#[derive(Debug, Serialize)]
pub struct Look {
    pub source: &'static str,
    pub time_waits: usize,
    pub close_waits: usize,
    /// From the start of the process to its end.
    pub milliseconds: Spread,
    /// The most that was resident.
    pub resident_bytes: u64,
}

/// In a namespace of its own.
pub fn measure(effort: &Effort) -> Result<Vec<Look>> {
    new_network()?;
    limit_minisocks("1000000")?;
    let (time_waits, close_waits) = effort.looked_at;
    let holders = hold_sockets(close_waits, Ends::Server)?;
    let mut looks = Vec::new();
    for source in ["iterators", "sock_diag"] {
        // They go after a minute: enough are made before each.
        let there = time_wait(time_waits)?;
        let (mut times, mut resident_bytes) = (Vec::new(), 0);
        for _ in 0..effort.rounds {
            let (time, resident) = look(source, close_waits)?;
            times.push(time.as_secs_f64() * 1000.0);
            resident_bytes = resident_bytes.max(resident);
        }
        looks.push(Look {
            source,
            time_waits: there,
            close_waits,
            milliseconds: Spread::of(times),
            resident_bytes,
        });
    }
    drop(holders);
    Ok(looks)
}

/// Runs the tool as one would.
fn look(source: &str, expected: usize) -> Result<(Duration, u64)> {
    let start = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_tcpdwell"))
        .args([
            "stuck",
            "--older-than",
            "0",
            "--limit",
            "1",
            "--snapshot-source",
            source,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .context("starting tcpdwell")?;
    let pid = child.id().cast_signed();
    let watching = thread::spawn(move || peak(pid));
    let output = child.wait_with_output().context("waiting for tcpdwell")?;
    let time = start.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    if !said.starts_with(&format!("{expected} sockets in CLOSE_WAIT")) {
        bail!("stuck by {source} said: {said}");
    }
    Ok((time, watching.join().unwrap_or(0)))
}

/// The most that is resident of a process until it ends.
fn peak(pid: i32) -> u64 {
    let mut peak = 0;
    let read = || Process::new(pid).ok()?.status().ok()?.vmhwm;
    while let Some(kib) = read() {
        peak = peak.max(kib * 1024);
        thread::sleep(Duration::from_millis(2));
    }
    peak
}

fn listener(n: usize) -> Result<TcpListener> {
    let last = u8::try_from(n + 1).context("too many connections")?;
    TcpListener::bind((Ipv4Addr::new(127, 0, 0, last), 0)).context("listening")
}

/// TIME_WAITs, for a minute each.
fn time_wait(count: usize) -> Result<usize> {
    for first in (0..count).step_by(PER_LISTENER) {
        let listener = listener(100 + first / PER_LISTENER)?;
        for _ in 0..PER_LISTENER.min(count - first) {
            let client = TcpStream::connect(listener.local_addr()?)?;
            let (server, _) = listener.accept()?;
            drop(client);
            drop(server);
        }
    }
    let text = fs::read_to_string("/proc/net/sockstat").context("reading sockstat")?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "tw");
    let there = words.nth(1).context("no 'tw' in sockstat")?;
    there.parse().context("sockstat")
}
