//! Short loopback connections as fast as threads can make them.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Moves this process, before it has threads, into a network namespace of its own.
///
/// Without timewait minisocks: they would outlive a round by a minute, take its ports, and make
/// every round slower than the one before. The transitions of full sockets are the same.
pub fn enter_own_namespace() -> Result<()> {
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    unshare(own).context("making namespaces: are you root?")?;
    mount_tracefs().context("mounting tracefs, which rivals need")?;
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .context("running 'ip' (package iproute2)")?;
    ensure!(up.success(), "'ip link set lo up' failed: {up}");
    let limit = "/proc/sys/net/ipv4/tcp_max_tw_buckets";
    fs::write(limit, "0").with_context(|| format!("writing '{limit}'"))
}

/// In our mount namespace, where the machine has none.
fn mount_tracefs() -> nix::Result<()> {
    let place = "/sys/kernel/tracing";
    if Path::new(place).join("events").is_dir() {
        return Ok(());
    }
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none)?;
    mount(none, place, Some("tracefs"), MsFlags::empty(), none)
}

/// What a load did.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: u64,
    pub elapsed: Duration,
}

impl Load {
    pub fn per_second(&self) -> f64 {
        self.connections as f64 / self.elapsed.as_secs_f64()
    }
}

/// Connects, accepts and closes, the client first, on each of so many threads.
pub fn run(threads: u8, duration: Duration) -> Result<Load> {
    let start = Instant::now();
    let until = start + duration;
    let threads: Vec<_> = (1..=threads)
        .map(|n| thread::spawn(move || connections(n, until)))
        .collect();
    let mut connections = 0;
    for thread in threads {
        let made = thread.join().map_err(|_| anyhow!("a load thread died"))?;
        connections += made.context("making connections")?;
    }
    Ok(Load {
        connections,
        elapsed: start.elapsed(),
    })
}

fn connections(n: u8, until: Instant) -> std::io::Result<u64> {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, n), 0))?;
    let address = listener.local_addr()?;
    let mut made = 0;
    while Instant::now() < until {
        let client = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        drop(client);
        drop(server);
        made += 1;
    }
    Ok(made)
}
