//! The findings on sockets that wait for this host, and on peers that it did not wait for: each provoked
//! on the real kernel, and gone when its advice is followed.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

use crate::{
    child::{self, Children},
    clock,
    skip::{Noise, turn},
    spawn, tables,
    test_diagnose::{TEST, connections, diagnosed, finding, findings, ip, is_fine},
    workload::{Lane, listen},
};

/// How many of each.
const COUNT: usize = 6;

/// What lingers for longer than this is told (`engine::LINGERS`).
const LINGERS: Duration = Duration::from_secs(5);

const RULES: [&str; 5] = [
    "close_wait_leak",
    "slow_reader",
    "fork_inherited",
    "backlog_too_deep",
    "syn_backlog",
];

fn at(i: usize) -> SocketAddr {
    let lane = Lane {
        test: TEST,
        space: 0,
    };
    SocketAddr::new(ip(TEST), lane.port(i))
}

/// Whatever must not end before the tool has looked.
#[derive(Default)]
struct Kept {
    sockets: Vec<TcpStream>,
    listeners: Vec<TcpListener>,
    children: Children,
}

/// Accepted connections whose clients have sent this, and closed.
fn left_by_clients(to: SocketAddr, data: &[u8]) -> (TcpListener, Vec<TcpStream>) {
    let (listener, _) = listen(to);
    let accepted = (0..COUNT).map(|_| {
        let mut client = TcpStream::connect(to).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        client.write_all(data).unwrap();
        spawn::close(client);
        accepted
    });
    let accepted = accepted.collect();
    (listener, accepted)
}

/// Connections that are read to their end, and that is all.
fn read_to_the_end(to: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let (listener, mut accepted) = left_by_clients(to, b"");
    for socket in &mut accepted {
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    }
    (listener, accepted)
}

/// A listener with so short a queue.
fn listener_of(to: SocketAddr, backlog: i32) -> TcpListener {
    let flags = SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    net::bind(&socket, &to).unwrap();
    net::listen(&socket, backlog).unwrap();
    socket.into()
}

/// Everything at once that a process can do wrong with its connections.
fn neglect() -> Kept {
    let mut kept = Kept::default();
    let (listener, forgotten) = read_to_the_end(at(0));
    kept.listeners.push(listener);
    kept.sockets.extend(forgotten);
    let (listener, unread) = left_by_clients(at(1), b"0123456789");
    kept.listeners.push(listener);
    kept.sockets.extend(unread);
    let (listener, shared) = read_to_the_end(at(2));
    kept.children.push(child::inherits(&shared));
    kept.listeners.push(listener);
    kept.sockets.extend(shared);
    let (ignored, _) = listen(at(3));
    for _ in 0..COUNT {
        spawn::close(TcpStream::connect(at(3)).unwrap());
    }
    kept.listeners.push(ignored);
    // The kernel lets one more in than the backlog says.
    kept.listeners.push(listener_of(at(4), 2));
    for _ in 0..3 {
        kept.sockets.push(TcpStream::connect(at(4)).unwrap());
    }
    thread::sleep(LINGERS + Duration::from_millis(500));
    kept
}

/// The same, done as advised: everything is accepted, read and closed.
fn care() -> Kept {
    let mut kept = Kept::default();
    for i in [0, 1, 2] {
        let (listener, accepted) = left_by_clients(at(i), b"0123456789");
        for mut socket in accepted {
            socket.read_to_end(&mut Vec::new()).unwrap();
            spawn::close(socket);
        }
        kept.listeners.push(listener);
    }
    for listener in [listen(at(3)).0, listener_of(at(4), 2)] {
        let to = listener.local_addr().unwrap();
        connections(&listener, to, COUNT, true);
        kept.listeners.push(listener);
    }
    kept
}

#[test]
fn who_does_not_close_read_or_accept() {
    let Some(_turn) = turn("who_does_not_close_read_or_accept", Noise::Little) else {
        return;
    };
    let said = diagnosed(&[], neglect);
    let me = std::process::id();
    for (i, rule) in RULES.into_iter().enumerate() {
        let found = finding(&said, rule);
        let evidence = &found["evidence"];
        assert_eq!(evidence["port"], at(i).port(), "{rule}: {found:#}");
        let pids = evidence["pids"].as_array().unwrap();
        assert!(pids.iter().any(|pid| *pid == me), "{rule}: {found:#}");
        let first = pids[0].to_string();
        let subject = found["subject"].as_str().unwrap();
        assert!(subject.contains(&format!("pid {first}")), "{subject}");
        if rule == "syn_backlog" {
            assert_eq!(evidence["waiting"], 3);
            assert_eq!(evidence["backlog"], 2);
            continue;
        }
        assert_eq!(evidence["sockets"], COUNT, "{rule}: {found:#}");
        let oldest = evidence["oldest_s"].as_f64().unwrap();
        assert!(oldest >= LINGERS.as_secs_f64(), "{rule}: {found:#}");
        assert_eq!(pids.len(), if rule == "fork_inherited" { 2 } else { 1 });
    }
    let unread = finding(&said, "slow_reader")["evidence"]["unread_bytes"].clone();
    assert_eq!(unread, 10 * COUNT);

    let said = diagnosed(&[], care);
    for rule in RULES {
        is_fine(&said, rule);
    }
}

/// Sockets of this namespace that wait for the peer's FIN.
fn in_fin_wait2() -> usize {
    let entries = tables::tcp().into_iter();
    entries.filter(|e| e.state == tables::FIN_WAIT2).count()
}

#[test]
fn requests_on_connections_that_were_just_closed() {
    let Some(_turn) = turn(
        "requests_on_connections_that_were_just_closed",
        Noise::Little,
    ) else {
        return;
    };
    let said = diagnosed(&[], || {
        let (listener, _) = listen(at(0));
        let clients = (0..20).map(|_| {
            let client = TcpStream::connect(at(0)).unwrap();
            let (server, _) = listener.accept().unwrap();
            // Its idle limit is over, and the client has not looked.
            spawn::close(server);
            client
        });
        let clients: Vec<_> = clients.collect();
        // All FINs are acknowledged.
        let waiting = clock::until(Duration::from_secs(30), || {
            (in_fin_wait2() == clients.len()).then_some(())
        });
        waiting.unwrap();
        for mut client in clients {
            client.write_all(b"one more").unwrap();
            spawn::close(client);
        }
    });
    let found = finding(&said, "idle_timeout_race");
    assert_eq!(found["evidence"]["data_after_close"], 20, "{found:#}");
    assert_eq!(found["evidence"]["closed_first_local"], 20, "{found:#}");

    // As advised: whoever sends closes first.
    let said = diagnosed(&[], || {
        let (listener, _) = listen(at(0));
        connections(&listener, at(0), 20, true);
    });
    assert!(findings(&said, "idle_timeout_race").is_empty());
    is_fine(&said, "idle_timeout_race");
}
