//! Sockets that are there: held by processes of their own, since the limit of open files is each
//! process's.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files of one process: below what most systems let one have.
const PER_HOLDER: usize = 10_000;

/// Which ends of a connection are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Both: two sockets in ESTABLISHED.
    Both,
    /// The server's, in CLOSE_WAIT.
    Server,
}

impl Ends {
    const fn sockets(self) -> usize {
        match self {
            Self::Both => 2,
            Self::Server => 1,
        }
    }
}

/// A process that holds sockets. Dropping it ends it.
pub struct Holder(Child);

/// Holds so many sockets, in this network namespace.
pub fn hold_sockets(count: usize, ends: Ends) -> Result<Vec<Holder>> {
    let processes = 0..count.div_ceil(PER_HOLDER);
    let holders = processes.map(|n| {
        let sockets = PER_HOLDER.min(count - n * PER_HOLDER);
        Holder::start(n, sockets / ends.sockets(), ends)
    });
    holders.collect()
}

impl Holder {
    fn start(n: usize, connections: usize, ends: Ends) -> Result<Self> {
        let both = u8::from(ends == Ends::Both);
        let mut child = Command::new(std::env::current_exe().context("finding this program")?)
            .args(["--hold", &format!("{n},{connections},{both}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting this program again")?;
        let mut ready = [0];
        let stdout = child.stdout.as_mut().context("stdout is piped")?;
        stdout.read_exact(&mut ready).context("a holder failed")?;
        Ok(Self(child))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It ends with its stdin; if it has ended already, all the better.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What a holder does: `n,connections,both`.
pub fn hold(what: &str) -> Result<()> {
    let numbers: Vec<usize> = what
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("--hold N,CONNECTIONS,BOTH")?;
    let [n, connections, both] = numbers[..] else {
        anyhow::bail!("--hold N,CONNECTIONS,BOTH");
    };
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).context("raising the limit of open files")?;
    let last = u8::try_from(n + 1).context("too many holders")?;
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, last), 0)).context("listening")?;
    let mut held = Vec::with_capacity(connections);
    for _ in 0..connections {
        let client = TcpStream::connect(listener.local_addr()?)?;
        held.push(listener.accept()?.0);
        if both == 1 {
            held.push(client);
        }
    }
    print!(".");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
