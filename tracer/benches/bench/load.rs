//! Short loopback connections: as fast as threads can make them, at a pace, or so many with their
//! TIME_WAITs. Every server listens in 127.77.0.0/24, by which rows are known as ours.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
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

/// How an address of the load begins, in whatever is printed of it.
pub const MARK: &[u8] = b"127.77.0.";

/// Moves this process, before it has threads, into a network namespace of its own.
///
/// Without timewait minisocks: they would outlive a round by a minute, take its ports, and make
/// every round slower than the one before. The transitions of full sockets are the same.
pub fn enter_own_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace: are you root?")?;
    mount_tracefs().context("mounting tracefs, which rivals need")?;
    new_network()?;
    limit_minisocks("0")
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

/// A network namespace for this thread, and what it starts, with `lo` up.
pub fn new_network() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace: are you root?")?;
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .context("running 'ip' (package iproute2)")?;
    ensure!(up.success(), "'ip link set lo up' failed: {up}");
    Ok(())
}

/// How many timewait minisocks this thread's network namespace takes.
pub fn limit_minisocks(most: &str) -> Result<()> {
    let limit = "/proc/sys/net/ipv4/tcp_max_tw_buckets";
    fs::write(limit, most).with_context(|| format!("writing '{limit}'"))
}

/// What a load did.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: u64,
    /// Of connections and listeners.
    pub transitions: u64,
    pub elapsed: Duration,
}

impl Load {
    pub fn per_second(&self) -> f64 {
        self.connections as f64 / self.elapsed.as_secs_f64()
    }
}

/// When a thread has made enough.
#[derive(Clone, Copy)]
enum Enough {
    At(Instant),
    Made(u64),
}

/// Transitions of both ends of a connection; those of a listener.
const TRANSITIONS: (u64, u64) = (10, 2);

/// Connects, accepts and closes, the client first, on each of so many threads.
pub fn run(threads: u8, duration: Duration) -> Result<Load> {
    let start = Instant::now();
    let until = Enough::At(start + duration);
    let threads: Vec<_> = (1..=threads)
        .map(|n| thread::spawn(move || connections(n, until)))
        .collect();
    let listeners = threads.len() as u64;
    let mut connections = 0;
    for thread in threads {
        let made = thread.join().map_err(|_| anyhow!("a load thread died"))?;
        connections += made.context("making connections")?;
    }
    Ok(Load {
        connections,
        transitions: TRANSITIONS.0 * connections + TRANSITIONS.1 * listeners,
        elapsed: start.elapsed(),
    })
}

/// Connections with their TIME_WAITs, in a network namespace that is gone soon after: and with it the
/// minisocks, which end there.
pub fn whole(connections_made: u64) -> Result<()> {
    let work = thread::spawn(move || {
        new_network()?;
        limit_minisocks("1000000")?;
        connections(1, Enough::Made(connections_made)).context("making connections")
    });
    let made = work.join().map_err(|_| anyhow!("a load thread died"))??;
    ensure!(made == connections_made, "{made} connections made");
    Ok(())
}

/// So many connections a second, for so long, with their TIME_WAITs.
pub fn paced(per_second: u32, duration: Duration) -> Result<u64> {
    let work = thread::spawn(move || -> Result<u64> {
        new_network()?;
        limit_minisocks("1000000")?;
        let (listener, address) = listen(1)?;
        let start = Instant::now();
        let mut made = 0;
        while start.elapsed() < duration {
            let due = start.elapsed().as_millis() as u64 * u64::from(per_second) / 1000;
            while made < due {
                connection(&listener, address)?;
                made += 1;
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(made)
    });
    work.join().map_err(|_| anyhow!("a load thread died"))?
}

fn connections(n: u8, enough: Enough) -> std::io::Result<u64> {
    let (listener, address) = listen(n)?;
    let mut made = 0;
    loop {
        let is_enough = match enough {
            Enough::At(until) => Instant::now() >= until,
            Enough::Made(count) => made >= count,
        };
        if is_enough {
            return Ok(made);
        }
        connection(&listener, address)?;
        made += 1;
    }
}

fn listen(n: u8) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 77, 0, n), 0))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn connection(listener: &TcpListener, address: SocketAddr) -> std::io::Result<()> {
    let client = TcpStream::connect(address)?;
    let (server, _) = listener.accept()?;
    drop(client);
    drop(server);
    Ok(())
}
