//! Opens connections whose every fact is known, and writes the ledger while it does.
//!
//! Work is done by pairs of threads, one that connects and one that accepts, which go through the
//! same plan in step: so it is never in doubt whose `accept` belongs to whose `connect`.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};

use crate::{
    clock::{Span, mono_ns, timed},
    ledger::{Ending, Facts, Ledger},
    spawn,
};

/// Addresses and ports of a test that no other test uses, so that its rows are known even where no
/// network namespace is told. Below the ephemeral ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    /// Which test: 127.`test`.0.0/16.
    pub(crate) test: u8,
    /// Which of its namespaces: 127.`test`.`space`.0/24.
    pub(crate) space: u8,
}

/// Ports of one namespace.
const PORTS: u16 = 350;
/// Namespaces of one test.
const SPACES: u16 = 3;
/// Of the ports, those that listen.
const LISTENING: u16 = 64;

impl Lane {
    /// A local address of this namespace.
    pub(crate) fn address(self, host: u8) -> IpAddr {
        Ipv4Addr::new(127, self.test, self.space, host).into()
    }

    /// A port of this namespace, for a listener.
    pub(crate) fn port(self, i: usize) -> u16 {
        let i = u16::try_from(i).unwrap();
        assert!(i < LISTENING);
        self.first_port() + i
    }

    /// A port where nobody listens.
    pub(crate) fn closed_port(self, i: usize) -> u16 {
        let i = u16::try_from(i).unwrap();
        assert!(i < PORTS - LISTENING);
        self.first_port() + LISTENING + i
    }

    fn first_port(self) -> u16 {
        10_000 + (u16::from(self.test) * SPACES + u16::from(self.space)) * PORTS
    }

    /// Whether a port belongs to any namespace of this test.
    pub(crate) fn owns(self, port: u16) -> bool {
        let first = Self { space: 0, ..self }.first_port();
        (first..first + SPACES * PORTS).contains(&port)
    }
}

/// Which protocol the two ends think they speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Both IPv4.
    V4,
    /// Both IPv6.
    V6,
    /// An IPv6 socket connects to an IPv4 listener.
    MappedClient,
    /// An IPv4 socket connects to a dual-stack listener.
    MappedServer,
}

/// What is to happen on a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) what: What,
    /// The client binds before it connects: its port is known to the kernel at `SYN_SENT` already.
    pub(crate) bind: bool,
    /// A byte goes each way after `accept`.
    pub(crate) talk: bool,
    /// From established to the first close.
    pub(crate) hold: Duration,
}

/// How long one side waits for the other before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// See [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Somebody listens.
    Ends(Ending),
    /// Nobody listens on this port.
    Refused(u16),
}

/// What one side of a pair noted about one connection.
struct Noted {
    local: SocketAddr,
    peer: SocketAddr,
    opened: Span,
    noticed: u64,
    close: Span,
}

/// Goes through the plans in this thread's network namespace, `pair` of `lane`.
pub(crate) fn run_pair(netns: u32, lane: Lane, pair: usize, plans: &[Plan]) -> Ledger {
    let mut ledger = Ledger::default();
    let listeners = Listeners::open(lane, pair);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let listeners = &listeners;
        scope.spawn(move || {
            for plan in plans {
                if let What::Ends(ending) = plan.what {
                    tell.send(serve(listeners, plan, ending)).unwrap();
                }
            }
        });
        for (i, plan) in plans.iter().enumerate() {
            let source = client_address(lane, plan.kind, i);
            match plan.what {
                What::Refused(port) => {
                    let server = SocketAddr::new(listeners.ip(plan.kind), port);
                    let (client, connect) = refused(source, server, plan.bind);
                    ledger.refused(netns, client, server, connect);
                }
                What::Ends(ending) => {
                    let server = listeners.address(plan.kind);
                    let client = call(source, server, plan, ending);
                    let noted: Noted = told.recv().unwrap();
                    assert_eq!(
                        client.local.port(),
                        noted.peer.port(),
                        "the pair is in step"
                    );
                    let (first, second) = match ending {
                        Ending::ClientFirst | Ending::ClientResets => (&client, &noted),
                        Ending::ServerFirst | Ending::ServerResets => (&noted, &client),
                    };
                    let facts = Facts {
                        connect: client.opened,
                        accepted: noted.opened.after,
                        first_close: first.close,
                        noticed: second.noticed,
                        second_close: second.close,
                    };
                    ledger.connection(netns, client.local, client.peer, ending, &facts);
                }
            }
        }
    });
    listeners.close(netns, &mut ledger);
    ledger
}

/// The listeners of a pair.
struct Listeners {
    /// Listener, address, when `listen` was called: IPv4, IPv6, dual-stack.
    list: [(TcpListener, SocketAddr, Span); 3],
}

impl Listeners {
    fn open(lane: Lane, pair: usize) -> Self {
        let own = lane.port(pair);
        let dual = lane.port(pair + usize::from(LISTENING) / 2);
        let host = u8::try_from(pair + 1).unwrap();
        let list = [
            SocketAddr::new(lane.address(host), own),
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), own),
            SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), dual),
        ]
        .map(|address| {
            let (listener, span) = listen(address);
            (listener, address, span)
        });
        Self { list }
    }

    fn of(&self, kind: Kind) -> &(TcpListener, SocketAddr, Span) {
        &self.list[match kind {
            Kind::V4 | Kind::MappedClient => 0,
            Kind::V6 => 1,
            Kind::MappedServer => 2,
        }]
    }

    /// The address to connect to.
    fn ip(&self, kind: Kind) -> IpAddr {
        match (kind, self.of(kind).1.ip()) {
            (Kind::MappedClient, IpAddr::V4(ip)) => ip.to_ipv6_mapped().into(),
            (Kind::MappedServer, _) => self.of(Kind::V4).1.ip(),
            (_, ip) => ip,
        }
    }

    fn address(&self, kind: Kind) -> SocketAddr {
        SocketAddr::new(self.ip(kind), self.of(kind).1.port())
    }

    fn close(self, netns: u32, ledger: &mut Ledger) {
        for (listener, address, opened) in self.list {
            let ((), closed) = timed(|| spawn::close(listener));
            ledger.listener(netns, address, opened, closed);
        }
    }
}

/// Half of the clients leave the choice of their address to the kernel.
fn client_address(lane: Lane, kind: Kind, i: usize) -> SocketAddr {
    let host = 100 + u8::try_from(i % 100).unwrap();
    let ip = match (kind, lane.address(host)) {
        (Kind::V6, _) => Ipv6Addr::LOCALHOST.into(),
        (Kind::MappedClient, IpAddr::V4(ip)) => ip.to_ipv6_mapped().into(),
        (_, ip) => ip,
    };
    SocketAddr::new(ip, 0)
}

/// A listening socket, and when `listen` was called.
pub(crate) fn listen(address: SocketAddr) -> (TcpListener, Span) {
    let socket = socket(address);
    if let IpAddr::V6(ip) = address.ip() {
        sockopt::set_ipv6_v6only(&socket, !ip.is_unspecified()).unwrap();
    }
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    // A side that panics must not leave the other waiting for ever. Children inherit it.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE)).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    let (result, span) = timed(|| rustix::net::listen(&socket, 1024));
    result.unwrap();
    (socket.into(), span)
}

fn socket(address: SocketAddr) -> rustix::fd::OwnedFd {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
}

fn refused(source: SocketAddr, server: SocketAddr, bind: bool) -> (SocketAddr, Span) {
    let socket = socket(source);
    let mut local = source;
    if bind {
        rustix::net::bind(&socket, &source).unwrap();
        local = rustix::net::getsockname(&socket)
            .unwrap()
            .try_into()
            .unwrap();
    }
    let (result, span) = timed(|| rustix::net::connect(&socket, &server));
    assert_eq!(result, Err(Errno::CONNREFUSED), "{server}");
    if !bind {
        // The kernel has forgotten the address it had chosen. For loopback that is known: that of
        // the other end for IPv6, the first of the interface for IPv4.
        let ip = default_source(server.ip());
        local = SocketAddr::new(ip, 0);
    }
    spawn::close(socket);
    (local, span)
}

fn default_source(server: IpAddr) -> IpAddr {
    match server.to_canonical() {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

/// A server that resets must know that `connect` has returned: it would fail with ECONNRESET.
fn talks(plan: &Plan, ending: Ending) -> bool {
    plan.talk || ending == Ending::ServerResets
}

const fn client_closes_first(ending: Ending) -> bool {
    matches!(ending, Ending::ClientFirst | Ending::ClientResets)
}

/// The connecting side.
fn call(source: SocketAddr, server: SocketAddr, plan: &Plan, ending: Ending) -> Noted {
    let socket = socket(source);
    if plan.bind {
        rustix::net::bind(&socket, &source).unwrap();
    }
    let (result, opened) = timed(|| rustix::net::connect(&socket, &server));
    result.unwrap_or_else(|e| panic!("connect to {server}: {e}"));
    let mut stream = TcpStream::from(socket);
    let local = stream.local_addr().unwrap();
    if talks(plan, ending) {
        // Whoever closes first has the last word said to it: a RST that is sent by another CPU may
        // overtake data (seen on slow machines).
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(b"a").unwrap();
        if client_closes_first(ending) {
            stream.read_exact(&mut [0]).unwrap();
        }
    }
    let peer = SocketAddr::new(server.ip(), server.port());
    let first = client_closes_first(ending);
    let (noticed, close) = finish(stream, plan, ending, first);
    Noted {
        local,
        peer,
        opened,
        noticed,
        close,
    }
}

/// The accepting side.
fn serve(listeners: &Listeners, plan: &Plan, ending: Ending) -> Noted {
    let ((mut stream, peer), opened) = timed(|| {
        let (stream, peer) = listeners.of(plan.kind).0.accept().unwrap();
        (stream, peer)
    });
    let local = stream.local_addr().unwrap();
    if talks(plan, ending) {
        stream.write_all(b"b").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        if client_closes_first(ending) {
            stream.write_all(b"b").unwrap();
        }
    }
    let first = !client_closes_first(ending);
    let (noticed, close) = finish(stream, plan, ending, first);
    Noted {
        local,
        peer,
        opened,
        noticed,
        close,
    }
}

/// Closes first after the plan's time, or waits for the peer to do so.
fn finish(mut stream: TcpStream, plan: &Plan, ending: Ending, first: bool) -> (u64, Span) {
    let resets = matches!(ending, Ending::ClientResets | Ending::ServerResets);
    if first {
        thread::sleep(plan.hold);
        if resets {
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
    } else {
        match stream.read(&mut [0]) {
            Ok(0) => assert!(!resets),
            Ok(_) => panic!("unexpected data"),
            Err(e) => assert!(resets && e.kind() == ErrorKind::ConnectionReset, "{e}"),
        }
    }
    let noticed = mono_ns();
    let ((), close) = timed(|| spawn::close(stream));
    (noticed, close)
}
