//! Do the hooks for minisocks really tell? Asked once at the start, of a loopback connection: a symbol
//! that exists may still be inlined where it matters, and no version number knows.
//!
//! The server closes first, so its end goes into TIME_WAIT; a second connection from the same port
//! recycles that at once (RFC 6191), and is reset. Nothing is left behind. Where `tcp_max_tw_buckets` is
//! reached no minisock is made: then once more, in a network namespace of our own.

use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket,
    sockopt::{Linger, ReceiveTimeout, ReuseAddr},
};
use nix::sys::time::{TimeSpec, TimeVal};
use tracer_common::{
    address::mapped,
    record::{Record, StateChange},
    state::TIME_WAIT,
    timewait::{IntoTimewait, OUTCOME_MADE, OUTCOME_OVERFLOW, TimewaitEnd},
};

use super::own_netns;

/// How long the records may take: they are there at once, on a machine that is not overloaded.
const PATIENCE: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(1);

/// Seconds of TIME_WAIT.
const TIME_WAIT_SECONDS: u32 = 60;
/// Values of `CONFIG_HZ`.
const HZ: [u32; 4] = [100, 250, 300, 1000];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The birth of a minisock was told.
    pub start: bool,
    /// Its end was told.
    pub end: bool,
    /// There was none: the namespace has as many as it may have.
    pub refused: bool,
    /// Jiffies in a second.
    pub hz: Option<u32>,
    /// Records of others that came meanwhile.
    pub foreign: Vec<Vec<u8>>,
    /// State changes that were our own.
    pub own: u64,
}

/// Makes the connections, and reads what the ring says of them. An error: they could not be made
/// (no loopback, a firewall).
pub(super) fn run(ring: &mut RingBuf<MapData>) -> Result<Findings> {
    let mut findings = Findings::default();
    findings.read(ring, connections()?);
    if findings.refused {
        match own_netns::within(connections) {
            Ok(ports) => {
                findings.refused = false;
                findings.read(ring, ports);
            }
            Err(error) => log::warn!(
                "the hooks for TIME_WAIT could not be tested, as tcp_max_tw_buckets is reached: {error:#}"
            ),
        }
    }
    Ok(findings)
}

/// The connections; their ports: the server's, the client's.
fn connections() -> Result<[u16; 2]> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening on 127.0.0.1")?;
    let patience = TimeSpec::from_duration(PATIENCE);
    let patience = TimeVal::new(patience.tv_sec(), patience.tv_nsec() / 1000);
    setsockopt(&listener, ReceiveTimeout, &patience)?;
    let server = listener.local_addr()?;
    let client = recycle(&listener, server)?;
    Ok([server.port(), client])
}

/// A connection whose server end goes into TIME_WAIT, and a second one that recycles it. The port of
/// their clients.
fn recycle(listener: &TcpListener, server: SocketAddr) -> Result<u16> {
    let mut first = from(0, server).context("connecting to 127.0.0.1")?;
    let port = first.local_addr()?.port();
    first.set_read_timeout(Some(PATIENCE))?;
    drop(accept(listener, port)?);
    first.read_exact(&mut [0]).err();
    drop(first);
    let second = from(port, server).context("connecting to 127.0.0.1 again")?;
    let accepted = accept(listener, port)?;
    for stream in [&second, &accepted] {
        let now = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(stream, Linger, &now)?;
    }
    Ok(port)
}

/// The connection from this port: others may connect, too.
fn accept(listener: &TcpListener, port: u16) -> Result<TcpStream> {
    loop {
        let (accepted, peer) = listener.accept().context("accepting on 127.0.0.1")?;
        if peer.port() == port {
            return Ok(accepted);
        }
    }
}

/// A connection from a port (0: any).
fn from(port: u16, server: SocketAddr) -> Result<TcpStream> {
    let client = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    setsockopt(&client, ReuseAddr, &true)?;
    bind(
        std::os::fd::AsRawFd::as_raw_fd(&client),
        &SockaddrIn::new(127, 0, 0, 1, port),
    )?;
    let SocketAddr::V4(server) = server else {
        anyhow::bail!("127.0.0.1 is no IPv4 address");
    };
    connect(
        std::os::fd::AsRawFd::as_raw_fd(&client),
        &SockaddrIn::from(server),
    )?;
    Ok(TcpStream::from(client))
}

impl Findings {
    /// Reads what is told of connections between these ports.
    fn read(&mut self, ring: &mut RingBuf<MapData>, ports: [u16; 2]) {
        let mut waited = Duration::ZERO;
        loop {
            while let Some(record) = ring.next() {
                self.take(&record, ports);
            }
            if (self.start && self.end) || self.refused || waited >= PATIENCE {
                return;
            }
            thread::sleep(STEP);
            waited += STEP;
        }
    }

    fn take(&mut self, bytes: &[u8], ports: [u16; 2]) {
        let ours = |sport: u16, dport: u16| {
            (ports.contains(&sport) || sport == 0) && (ports.contains(&dport) || dport == 0)
        };
        let record = Record::decode(bytes);
        let own = match &record {
            Ok(Record::StateChange(c) | Record::IntoTimewait(IntoTimewait { change: c, .. })) => {
                at_loopback(c) && (c.sport, c.dport) != (0, 0) && ours(c.sport, c.dport)
            }
            Ok(Record::TimewaitEnd(end)) => {
                end.saddr == mapped([127, 0, 0, 1]) && ours(end.sport, end.dport)
            }
            _ => false,
        };
        if !own {
            self.foreign.push(bytes.to_vec());
            return;
        }
        self.own += 1;
        match record {
            Ok(Record::IntoTimewait(into)) => {
                self.start |= into.outcome == OUTCOME_MADE;
                self.refused |= into.outcome == OUTCOME_OVERFLOW;
            }
            Ok(Record::TimewaitEnd(end)) => self.ended(&end),
            _ => {}
        }
    }

    fn ended(&mut self, end: &TimewaitEnd) {
        self.end = true;
        if end.substate == TIME_WAIT && end.remaining > 0 {
            let hz = (end.remaining.unsigned_abs() + TIME_WAIT_SECONDS / 2) / TIME_WAIT_SECONDS;
            self.hz = HZ.into_iter().find(|known| *known == hz);
        }
    }
}

/// 127.0.0.1, or not known yet.
fn at_loopback(change: &StateChange) -> bool {
    let here = [mapped([127, 0, 0, 1]), mapped([0; 4])];
    here.contains(&change.saddr) && here.contains(&change.daddr)
}
