//! Lives of connections, one of every kind, each with what must be told of it.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};

use crate::{
    clock::{Span, mono_ns, timed, until},
    destroy::destroy,
    lives_by_hand as by_hand,
    netns::{Netns, sysctl},
    spawn, tables,
    tool::PATIENCE,
    wire::Wire,
    workload::{Lane, listen},
};

/// No RST takes longer, on loopback.
const RST_COMES: Duration = Duration::from_secs(5);

/// What must be told of one end of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) name: &'static str,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Every state, from the first to the last.
    pub(crate) states: Vec<&'static str>,
    pub(crate) closed_first: Option<&'static str>,
    pub(crate) end_reason: &'static str,
    /// What the timers' tracepoints can tell of that, where it is less.
    pub(crate) by_timer: Option<&'static str>,
    /// When the state on the left was left, as far as the workload knows.
    pub(crate) left: Vec<(&'static str, Span)>,
}

pub(crate) const ACTIVE: [&str; 3] = ["CLOSE", "SYN_SENT", "ESTABLISHED"];
const PASSIVE: [&str; 3] = ["LISTEN", "SYN_RECV", "ESTABLISHED"];

pub(crate) fn life(
    name: &'static str,
    (local, remote): (SocketAddr, SocketAddr),
    opening: [&'static str; 3],
    rest: &[&'static str],
    (closed_first, end_reason): (&'static str, &'static str),
) -> Life {
    Life {
        name,
        local,
        remote,
        states: opening.into_iter().chain(rest.iter().copied()).collect(),
        closed_first: Some(closed_first),
        end_reason,
        by_timer: None,
        left: Vec::new(),
    }
}

const WAITS: [&str; 4] = ["FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE"];
pub(crate) const NEVER_WAITS: [&str; 3] = ["FIN_WAIT1", "FIN_WAIT2", "CLOSE"];

/// Two ends, and the listener that made one of them.
struct Pair {
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
    client_address: SocketAddr,
    server_address: SocketAddr,
}

impl Pair {
    fn new(ip: IpAddr) -> Self {
        let (listener, _) = listen(SocketAddr::new(ip, 0));
        let client = connect(ip, 0, listener.local_addr().unwrap()).unwrap();
        Self::of(listener, client)
    }

    fn of(listener: TcpListener, client: TcpStream) -> Self {
        let (server, _) = listener.accept().unwrap();
        Self {
            client_address: client.local_addr().unwrap(),
            server_address: server.local_addr().unwrap(),
            listener,
            client,
            server,
        }
    }

    fn of_client(&self) -> (SocketAddr, SocketAddr) {
        (self.client_address, self.server_address)
    }

    fn of_server(&self) -> (SocketAddr, SocketAddr) {
        (self.server_address, self.client_address)
    }
}

pub(crate) fn connect(ip: IpAddr, port: u16, to: SocketAddr) -> Result<TcpStream, Errno> {
    let family = if ip.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket =
        rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(&socket, &SocketAddr::new(ip, port)).unwrap();
    rustix::net::connect(&socket, &to)?;
    Ok(socket.into())
}

/// Connects from an address that may wait.
pub(crate) fn connect_from(local: SocketAddr, to: SocketAddr) -> TcpStream {
    connect(local.ip(), local.port(), to).unwrap()
}

/// Closed by the client; the server has noticed.
fn half_closed(ip: IpAddr) -> (TcpListener, TcpStream, (SocketAddr, SocketAddr)) {
    let mut pair = Pair::new(ip);
    let ends = pair.of_client();
    spawn::close(pair.client);
    assert_eq!(pair.server.read(&mut [0]).unwrap(), 0);
    (pair.listener, pair.server, ends)
}

/// Returns when this end is in a state, or gone: on a slow machine not before long.
fn comes_to((local, remote): (SocketAddr, SocketAddr), state: Option<u8>) {
    let now = || tables::state_of(local.port(), remote.port());
    let there = until(PATIENCE, || (now() == state).then_some(()));
    assert!(
        there.is_some(),
        "{local} {remote}: {:?}, not {state:?}",
        now()
    );
}

/// `ss -K` on a whole socket, and on one that waits. A kernel that can't is left out, with a word.
fn destroyed(ip: IpAddr) -> Vec<Life> {
    let mut lives = Vec::new();
    let pair = Pair::new(ip);
    let ends = pair.of_client();
    let (result, span) = timed(|| destroy(ends.0, ends.1));
    if let Err(error) = result {
        eprintln!("skipped: SOCK_DESTROY: {error}");
        return lives;
    }
    let verdict = ("local_reset", "destroyed");
    let mut whole = life("SOCK_DESTROY", ends, ACTIVE, &["CLOSE"], verdict);
    whole.left.push(("ESTABLISHED", span));
    lives.push(whole);
    let (_listener, server, ends) = half_closed(ip);
    spawn::close(server);
    comes_to(ends, Some(tables::TIME_WAIT));
    let (result, span) = timed(|| destroy(ends.0, ends.1));
    if let Err(error) = result {
        eprintln!("skipped: SOCK_DESTROY in TIME_WAIT: {error}");
        return lives;
    }
    let verdict = ("local", "destroyed");
    let mut waiting = life("SOCK_DESTROY in TIME_WAIT", ends, ACTIVE, &WAITS, verdict);
    waiting.left.push(("TIME_WAIT", span));
    lives.push(waiting);
    lives
}

/// Longer than a delayed acknowledgement takes: the socket has become a minisock.
const ORPHANED: Duration = Duration::from_millis(150);

fn pause() {
    thread::sleep(ORPHANED);
}

/// The client waits for the FIN as an orphan.
fn orphan(ip: IpAddr) -> Vec<Life> {
    let (_listener, server, ends) = half_closed(ip);
    thread::sleep(Duration::from_secs(1));
    let ((), fin) = timed(|| spawn::close(server));
    let mut life = life("orphan", ends, ACTIVE, &WAITS, ("local", "purged"));
    life.left.push(("FIN_WAIT2", fin));
    vec![life]
}

fn reset_in_fin_wait2(ip: IpAddr) -> Vec<Life> {
    let (_listener, server, ends) = half_closed(ip);
    pause();
    let ((), rst) = timed(|| spawn::reset(server));
    let mut waiter = life(
        "RST in FIN_WAIT2",
        ends,
        ACTIVE,
        &NEVER_WAITS,
        ("local", "reset"),
    );
    waiter.left.push(("FIN_WAIT2", rst));
    let other = (ends.1, ends.0);
    let states = ["CLOSE_WAIT", "CLOSE"];
    let resetter = life(
        "RST from CLOSE_WAIT",
        other,
        PASSIVE,
        &states,
        ("remote", "linger_0"),
    );
    vec![waiter, resetter]
}

/// Closed with a linger time of 0 after `shutdown(WR)`.
fn linger_0_in_fin_wait2(ip: IpAddr) -> Vec<Life> {
    let mut pair = Pair::new(ip);
    let ends = pair.of_client();
    pair.client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(pair.server.read(&mut [0]).unwrap(), 0);
    pause();
    let ((), closed) = timed(|| spawn::reset(pair.client));
    let verdict = ("local", "linger_0");
    let mut life = life("linger 0 in FIN_WAIT2", ends, ACTIVE, &NEVER_WAITS, verdict);
    life.left.push(("FIN_WAIT2", closed));
    spawn::close(pair.server);
    vec![life]
}

fn data_after_close(ip: IpAddr) -> Vec<Life> {
    let (_listener, mut server, ends) = half_closed(ip);
    pause();
    let (_, data) = timed(|| server.write(b"late").unwrap());
    // Before the RST has come it would be a close from CLOSE_WAIT.
    until(RST_COMES, || server.take_error().unwrap()).expect("late data is answered by a RST");
    spawn::close(server);
    let verdict = ("local", "data_after_close");
    let mut waiter = life("data after close", ends, ACTIVE, &NEVER_WAITS, verdict);
    waiter.left.push(("FIN_WAIT2", data));
    let other = (ends.1, ends.0);
    let states = ["CLOSE_WAIT", "CLOSE"];
    let writer = life(
        "RST in CLOSE_WAIT",
        other,
        PASSIVE,
        &states,
        ("remote", "reset"),
    );
    vec![waiter, writer]
}

/// The server waits; the same client port comes again.
fn recycled(ip: IpAddr) -> Vec<Life> {
    let mut pair = Pair::new(ip);
    let ends = pair.of_server();
    spawn::close(pair.server);
    assert_eq!(pair.client.read(&mut [0]).unwrap(), 0);
    let other = (ends.1, ends.0);
    spawn::close(pair.client);
    comes_to(ends, Some(tables::TIME_WAIT));
    comes_to(other, None);
    let (client, syn) = timed(|| connect(ip, ends.1.port(), ends.0).unwrap());
    let second = Pair::of(pair.listener, client);
    spawn::reset(second.client);
    spawn::reset(second.server);
    let mut life = life(
        "SYN in TIME_WAIT",
        ends,
        PASSIVE,
        &WAITS,
        ("local", "syn_recycled"),
    );
    life.left.push(("TIME_WAIT", syn));
    vec![life]
}

/// A RST at exactly the expected number kills TIME_WAIT (RFC 1337), and does not where that is
/// switched off.
fn reset_in_time_wait(ip: IpAddr, end_reason: &'static str) -> Vec<Life> {
    let wire = Wire::open(ip);
    let (_listener, server, ends) = half_closed(ip);
    spawn::close(server);
    comes_to(ends, Some(tables::TIME_WAIT));
    let expected = wire.number_after_fin(ends.1.port());
    let ((), rst) = timed(|| wire.reset(ends.1, ends.0, expected));
    let name = "RST in TIME_WAIT";
    let mut life = life(name, ends, ACTIVE, &WAITS, ("local", end_reason));
    if end_reason == "reset" {
        life.left.push(("TIME_WAIT", rst));
    }
    vec![life]
}

fn unread_data(ip: IpAddr) -> Vec<Life> {
    let mut pair = Pair::new(ip);
    pair.client.write_all(b"unread").unwrap();
    // Until it has come.
    pair.server.peek(&mut [0]).unwrap();
    let (server, client) = (pair.of_server(), pair.of_client());
    let ((), closed) = timed(|| spawn::close(pair.server));
    pair.client.read(&mut [0]).unwrap_err();
    spawn::close(pair.client);
    let mut resetter = life(
        "close with data unread",
        server,
        PASSIVE,
        &["CLOSE"],
        ("local_reset", "unread_data"),
    );
    resetter.left.push(("ESTABLISHED", closed));
    let peer = life(
        "peer of it",
        client,
        ACTIVE,
        &["CLOSE"],
        ("remote_reset", "reset"),
    );
    vec![resetter, peer]
}

fn listener_closed(ip: IpAddr) -> Vec<Life> {
    let (listener, _) = listen(SocketAddr::new(ip, 0));
    let server = listener.local_addr().unwrap();
    let mut client = connect(ip, 0, server).unwrap();
    let ends = (server, client.local_addr().unwrap());
    comes_to(ends, Some(tables::ESTABLISHED));
    let ((), closed) = timed(|| spawn::close(listener));
    client.read(&mut [0]).unwrap_err();
    let verdict = ("local_reset", "listener_closed");
    let mut child = life("listener closed", ends, PASSIVE, &["CLOSE"], verdict);
    child.left.push(("ESTABLISHED", closed));
    vec![child]
}

/// `shutdown(WR)`: the socket stays whole in FIN_WAIT2, and goes into TIME_WAIT with the FIN.
fn half_close(ip: IpAddr) -> Vec<Life> {
    let mut pair = Pair::new(ip);
    let ends = pair.of_client();
    let ((), shut) = timed(|| pair.client.shutdown(Shutdown::Write).unwrap());
    assert_eq!(pair.server.read(&mut [0]).unwrap(), 0);
    pause();
    pair.server.write_all(b"x").unwrap();
    pair.client.read_exact(&mut [0]).unwrap();
    let ((), fin) = timed(|| spawn::close(pair.server));
    assert_eq!(pair.client.read(&mut [0]).unwrap(), 0);
    spawn::close(pair.client);
    let mut life = life("half-close", ends, ACTIVE, &WAITS, ("local", "purged"));
    life.left
        .extend([("ESTABLISHED", shut), ("FIN_WAIT2", fin)]);
    vec![life]
}

/// A port that nobody has.
fn free_port(ip: IpAddr) -> u16 {
    let (held, _) = listen(SocketAddr::new(ip, 0));
    let port = held.local_addr().unwrap().port();
    spawn::close(held);
    port
}

fn refused(ip: IpAddr) -> Vec<Life> {
    let server = SocketAddr::new(ip, free_port(ip));
    let port = free_port(ip);
    assert_eq!(connect(ip, port, server).unwrap_err(), Errno::CONNREFUSED);
    vec![Life {
        states: vec!["CLOSE", "SYN_SENT", "CLOSE"],
        closed_first: None,
        ..life(
            "refused",
            (SocketAddr::new(ip, port), server),
            ACTIVE,
            &[],
            ("", "refused"),
        )
    }]
}

/// A listener whose queue is full does not answer.
fn connect_timeout(ip: IpAddr) -> Vec<Life> {
    sysctl("tcp_syn_retries", "1");
    let (listener, _) = listen(SocketAddr::new(ip, 0));
    rustix::net::listen(&listener, 0).unwrap();
    let server = listener.local_addr().unwrap();
    let _queued = connect(ip, 0, server).unwrap();
    let port = free_port(ip);
    assert_eq!(connect(ip, port, server).unwrap_err(), Errno::TIMEDOUT);
    vec![Life {
        states: vec!["CLOSE", "SYN_SENT", "CLOSE"],
        closed_first: None,
        ..life(
            "connect timeout",
            (SocketAddr::new(ip, port), server),
            ACTIVE,
            &[],
            ("", "timeout"),
        )
    }]
}

/// The peer does not read: its window stays shut longer than `TCP_USER_TIMEOUT`.
fn user_timeout(ip: IpAddr) -> Vec<Life> {
    let mut pair = Pair::new(ip);
    let ends = pair.of_client();
    sockopt::set_tcp_user_timeout(&pair.client, 1000).unwrap();
    pair.client.set_nonblocking(true).unwrap();
    while pair.client.write(&vec![0; 65_536]).is_ok() {}
    pair.client.set_nonblocking(false).unwrap();
    pair.client
        .set_write_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    pair.client.write_all(&vec![0; 65_536]).unwrap_err();
    spawn::close(pair.client);
    let verdict = ("timeout", "timeout");
    let life = life("TCP_USER_TIMEOUT", ends, ACTIVE, &["CLOSE"], verdict);
    spawn::close(pair.server);
    vec![life]
}

fn fin_timeout(ip: IpAddr) -> Vec<Life> {
    sysctl("tcp_fin_timeout", "2");
    let (_listener, server, ends) = half_closed(ip);
    thread::sleep(Duration::from_secs(4));
    spawn::reset(server);
    let verdict = ("local", "fin_timeout");
    vec![life("tcp_fin_timeout", ends, ACTIVE, &NEVER_WAITS, verdict)]
}

/// `connect` takes a port that waits.
fn reused(ip: IpAddr) -> Vec<Life> {
    sysctl("tcp_tw_reuse", "1");
    let (listener, server, ends) = half_closed(ip);
    spawn::close(server);
    // The kernel wants the timestamp to be older than a second.
    thread::sleep(Duration::from_millis(2100));
    let (client, connected) = timed(|| connect(ip, ends.0.port(), ends.1).unwrap());
    let second = Pair::of(listener, client);
    spawn::reset(second.client);
    spawn::reset(second.server);
    let mut life = life("tcp_tw_reuse", ends, ACTIVE, &WAITS, ("local", "reused"));
    life.left.push(("TIME_WAIT", connected));
    vec![life]
}

fn overflow(ip: IpAddr) -> Vec<Life> {
    sysctl("tcp_max_tw_buckets", "0");
    let (_listener, server, ends) = half_closed(ip);
    spawn::close(server);
    let verdict = ("local", "overflow");
    vec![life(
        "tcp_max_tw_buckets",
        ends,
        ACTIVE,
        &NEVER_WAITS,
        verdict,
    )]
}

/// The whole time. A second observer says when it was over: the kernel's own table.
fn expired(ip: IpAddr, resets: bool) -> Vec<Life> {
    let mut life = if resets {
        sysctl("tcp_rfc1337", "1");
        reset_in_time_wait(ip, "expired").remove(0)
    } else {
        let (_listener, server, ends) = half_closed(ip);
        thread::sleep(Duration::from_millis(50));
        let ((), fin) = timed(|| spawn::close(server));
        let mut life = life("expiry", ends, ACTIVE, &WAITS, ("local", "expired"));
        life.left.push(("FIN_WAIT2", fin));
        life
    };
    let gone = gone(life.local.port(), life.remote.port());
    life.left.push(("TIME_WAIT", gone));
    vec![life]
}

/// When a pair of ports disappears from the namespace's table: between two looks.
fn gone(local: u16, remote: u16) -> Span {
    let is_there = || tables::state_of(local, remote).is_some();
    assert!(is_there());
    thread::sleep(Duration::from_secs(58));
    let mut before = mono_ns();
    loop {
        let looked = mono_ns();
        if !is_there() {
            return Span {
                before,
                after: mono_ns(),
            };
        }
        before = looked;
        thread::sleep(Duration::from_millis(2));
    }
}

/// Some lives that share a network namespace (and its sysctls), side by side.
type Group = fn(Lane) -> Vec<Box<dyn FnOnce() -> Vec<Life> + Send>>;

/// A namespace for each group, in which ports and addresses may be the same.
pub(crate) fn namespaces(groups: &[Group], test: u8) -> Vec<Netns<Vec<Life>>> {
    let lane = Lane { test, space: 0 };
    let space = |group: &Group| {
        let group = *group;
        Netns::new(move |_| {
            let lives: Vec<_> = group(lane).into_iter().map(thread::spawn).collect();
            let lives = lives.into_iter().flat_map(|l| l.join().unwrap());
            lives.collect()
        })
    };
    groups.iter().map(space).collect()
}

/// All lives, by group, and how many of them came to TIME_WAIT. Over when all of them are.
pub(crate) fn live(spaces: Vec<Netns<Vec<Life>>>) -> (Vec<Vec<Life>>, usize) {
    let running: Vec<_> = spaces.into_iter().map(Netns::start).collect();
    let lives: Vec<Vec<Life>> = running.into_iter().map(|r| r.join().unwrap()).collect();
    let waits = lives.iter().flatten();
    let waits = waits.filter(|l| l.states.contains(&"TIME_WAIT")).count();
    (lives, waits)
}

/// All groups. The namespace goes when the last of a group's lives is over.
pub(crate) const GROUPS: [Group; 6] = [
    |lane| {
        let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
        let v4 = move |host| lane.address(host);
        vec![
            Box::new(move || orphan(v4(1))),
            Box::new(move || orphan(v6)),
            Box::new(move || reset_in_fin_wait2(v4(2))),
            Box::new(move || reset_in_fin_wait2(v6)),
            Box::new(move || data_after_close(v4(3))),
            Box::new(move || data_after_close(v6)),
            Box::new(move || recycled(v4(4))),
            Box::new(move || recycled(v6)),
            Box::new(move || reset_in_time_wait(v4(5), "reset")),
            Box::new(move || unread_data(v4(6))),
            Box::new(move || listener_closed(v4(7))),
            Box::new(move || half_close(v4(8))),
            Box::new(move || half_close(v6)),
            Box::new(move || refused(v4(9))),
            Box::new(move || destroyed(v4(10))),
            Box::new(move || linger_0_in_fin_wait2(v4(11))),
        ]
    },
    |_| {
        vec![
            Box::new(move || by_hand::simultaneous(1)),
            Box::new(move || by_hand::keepalive(2)),
            Box::new(move || by_hand::unreachable(3)),
            Box::new(move || by_hand::reset_in_fin_wait1(4)),
            Box::new(move || by_hand::data_in_fin_wait1(5)),
            Box::new(move || by_hand::data_with_acknowledgement(6)),
        ]
    },
    |lane| {
        vec![
            Box::new(move || fin_timeout(lane.address(1))),
            Box::new(move || reused(lane.address(2))),
            Box::new(move || connect_timeout(lane.address(3))),
            Box::new(move || user_timeout(lane.address(4))),
        ]
    },
    |lane| vec![Box::new(move || overflow(lane.address(1)))],
    |lane| vec![Box::new(move || expired(lane.address(1), false))],
    |lane| vec![Box::new(move || expired(lane.address(2), true))],
];
