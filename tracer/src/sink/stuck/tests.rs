//! What is told of programs that neglect their connections, as it was seen of nginx, Python and socat.

use std::net::Ipv4Addr;

use super::*;
use crate::engine::{
    Descriptors, Endpoint, Event, EventBody, FourTuple, Holder, Inside, Inspected, Limits, Looked,
    ProcessFact, ProcessName, SockId, Unseen,
};

const SECOND: u64 = 1_000_000_000;

fn end(last: u8, port: u16) -> Endpoint {
    Endpoint {
        address: Ipv4Addr::new(127, 0, 0, last).to_ipv6_mapped().octets(),
        port,
    }
}

/// A CLOSE_WAIT of a port, accepted and held by these; nobody: not accepted.
fn close_wait(sock: u16, port: u16, unread: u32, pids: &[u32]) -> Inspected {
    let holders: Arc<[Holder]> = pids.iter().map(|&pid| Holder { pid, fd: 6 }).collect();
    Inspected {
        sock: SockId(sock.into()),
        cookie: sock.into(),
        state: TcpState::CloseWait,
        tuple: FourTuple {
            local: end(1, port),
            remote: end(2, 40_000 + sock),
            ..FourTuple::default()
        },
        netns: 1,
        not_later: Some(Mono(SECOND)),
        inside: Some(Inside {
            receive_queue: unread,
            receive_shut: true,
            has_file: !pids.is_empty(),
            references: Some(1),
            ..Inside::default()
        }),
        descriptors: u32::try_from(holders.len()).unwrap(),
        holders,
    }
}

/// A listener with five connections in its queue.
fn listener(port: u16, pids: &[u32]) -> Inspected {
    let listener = close_wait(port, port, 5, pids);
    Inspected {
        state: TcpState::Listen,
        tuple: FourTuple {
            remote: Endpoint::default(),
            ..listener.tuple
        },
        inside: Some(Inside {
            receive_queue: 5,
            send_queue: 511,
            has_file: true,
            ..Inside::default()
        }),
        ..listener
    }
}

/// What is printed of a look ten seconds later.
fn shown(seen: Vec<Inspected>, names: &[(u32, &str)], stopped: &[u32], wide: bool) -> String {
    let at = Mono(11 * SECOND);
    let processes = names.iter().map(|&(pid, text)| {
        let mut name = [0; 16];
        name[..text.len()].copy_from_slice(text.as_bytes());
        let process = Process {
            name: ProcessName(name),
            ..Process::default()
        };
        EventBody::Process(ProcessFact { pid, process })
    });
    let files = names.iter().map(|&(pid, _)| {
        EventBody::Descriptors(Descriptors {
            pid,
            open: 9,
            limit: Some(1024),
            stopped: stopped.contains(&pid),
        })
    });
    let looked = EventBody::Looked(Looked {
        began: at,
        namespaces: 1,
        unseen: Unseen::default(),
    });
    let seen = seen.into_iter().map(Box::new).map(EventBody::Inspected);
    let mut engine = Engine::new(Limits::default());
    for body in processes.chain(seen).chain(files).chain([looked]) {
        engine.handle_event(&Event { at, body }, &mut Vec::new());
    }
    let mut sink = StuckSink::new(StuckOptions {
        states: StateSet::from_iter([TcpState::CloseWait]),
        older_than: OlderThan::from(Duration::from_secs(5)),
        wants: None,
        interval: None,
        limit: 20,
        wide,
        json: false,
        past: false,
    });
    let mut out = BytesMut::new();
    sink.show(&engine, None, &mut out).unwrap();
    let text = String::from_utf8(out.to_vec()).unwrap();
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(wide || widest <= Some(80), "{text}");
    text
}

/// The part about a port, its lines joined.
fn about(text: &str, port: u16) -> String {
    let is_it = |told: &&str| {
        let joined = told.replace("\n    ", " ");
        joined.contains(&format!("on port {port}"))
    };
    let told = text.split("\n\n").find(is_it);
    let told = told.unwrap_or_else(|| panic!("no {port}: {text}"));
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A worker of nginx that is stopped, and a server of Python with one thread that is busy.
#[test]
fn each_group_is_told_its_own_evidence_and_next_step() {
    let nginx: Vec<_> = (1..=5).map(|i| close_wait(i, 80, 28, &[])).collect();
    let mut python: Vec<_> = (11..=14).map(|i| close_wait(i, 8000, 28, &[])).collect();
    python.push(close_wait(15, 8000, 1, &[70]));
    // Those of nginx come first: they were mistaken for evidence on Python.
    let seen = [
        nginx,
        python,
        vec![listener(80, &[60, 61]), listener(8000, &[70])],
    ];
    let names = [(60, "nginx"), (61, "nginx"), (70, "python3")];
    let text = shown(seen.concat(), &names, &[61], false);
    let nginx = about(&text, 80);
    assert!(
        nginx.contains("next: pid 61 is stopped, by a signal or a debugger")
            && nginx.contains("kill -CONT 61"),
        "{nginx}"
    );
    let python = about(&text, 8000);
    assert!(
        python.contains("wait at listener 127.0.0.1:8000 of pid 70"),
        "{python}"
    );
    assert!(!python.contains("61"), "{python}");
    assert!(
        python.contains("are its threads all busy? What are they doing? py-spy dump --pid 70"),
        "{python}"
    );
}

/// What socat forks for each connection waits for a program that it has started.
#[test]
fn a_process_for_each_connection_waits_for_something_else() {
    let of_each = |i: u16| close_wait(i, 7000, 0, &[100 + u32::from(i)]);
    let mut sockets: Vec<_> = (1..=5).map(of_each).collect();
    sockets.push(listener(7000, &[100]));
    let names = [101, 102, 103, 104, 105].map(|pid| (pid, "socat"));
    let text = shown(sockets.clone(), &names, &[], false);
    let told = about(&text, 7000);
    assert!(
        told.contains("hold 5 in CLOSE_WAIT on port 7000, one each"),
        "{told}"
    );
    assert!(
        told.contains("what does it wait for? ps --ppid 101 ")
            && told.ends_with("its connection is /proc/101/fd/6"),
        "{told}"
    );
    let wide = shown(sockets, &names, &[], true);
    let rows: Vec<_> = wide
        .lines()
        .filter(|l| l.contains("not_closed  "))
        .collect();
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| row.len() <= 200), "{wide}");
    let head = wide.lines().find(|l| l.contains("EVIDENCE")).unwrap();
    assert_eq!(
        head.find("EVIDENCE"),
        rows[0].find("read to its end"),
        "{wide}"
    );
}
