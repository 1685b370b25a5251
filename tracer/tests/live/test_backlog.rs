//! A FIN that waits in its socket's backlog is worked off by the process that holds the socket, with
//! softirqs on: between the making of the minisock and the socket's change to CLOSE come others, and make
//! others. Each must be told as its own, and none as a close without TIME_WAIT.

use std::{
    io::{ErrorKind, Read as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use crate::{
    clock::{Span, mono_ns, timed},
    compare,
    ledger::{Ending, Facts, Ledger},
    netns::{Netns, leave_waiting_ports, softirqs_anywhere, sysctl},
    skip::{Noise, scaled, turn},
    small::of_netns,
    spawn,
    tool::{Tool, trace},
    workload::{Lane, listen},
};

const PAIRS: usize = 4;

/// What the side that closes second saw.
struct Second {
    accepted: u64,
    noticed: u64,
    closed: Span,
}

/// Pairs of threads with so many connections each. Who closes first asks for the other's end without rest,
/// and so holds the socket nearly always when it comes.
fn namespace(lane: Lane, count: usize) -> Netns<Ledger> {
    Netns::new(move |netns| {
        leave_waiting_ports();
        sysctl("tcp_max_tw_buckets", "1000000");
        softirqs_anywhere();
        Ledger::of_threads(PAIRS, |pair| one_pair(netns, lane, pair, count))
    })
}

fn one_pair(netns: u32, lane: Lane, pair: usize, count: usize) -> Ledger {
    let address = SocketAddr::new(lane.address(1), lane.port(pair));
    let mut ledger = Ledger::default();
    let (listener, opened) = listen(address);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let listener = &listener;
        scope.spawn(move || {
            for _ in 0..count {
                tell.send(second(listener)).unwrap();
            }
        });
        for _ in 0..count {
            let (client, connect) = timed(|| TcpStream::connect(address).unwrap());
            let from = client.local_addr().unwrap();
            let first_close = first(client);
            let second = told.recv().unwrap();
            let facts = Facts {
                connect,
                accepted: second.accepted,
                first_close,
                noticed: second.noticed,
                second_close: second.closed,
            };
            ledger.connection(netns, from, address, Ending::ClientFirst, &facts);
        }
    });
    let ((), closed) = timed(|| spawn::close(listener));
    ledger.listener(netns, address, opened, closed);
    ledger
}

/// Sends its FIN, and goes on until the other's has come.
fn first(mut client: TcpStream) -> Span {
    let (sent, span) = timed(|| client.shutdown(Shutdown::Write));
    sent.unwrap();
    client.set_nonblocking(true).unwrap();
    loop {
        match client.read(&mut [0]) {
            Ok(0) => break,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            other => panic!("{other:?}"),
        }
    }
    spawn::close(client);
    span
}

fn second(listener: &TcpListener) -> Second {
    let (mut accepted, _) = listener.accept().unwrap();
    let accepted_at = mono_ns();
    assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
    let noticed = mono_ns();
    let ((), closed) = timed(|| spawn::close(accepted));
    Second {
        accepted: accepted_at,
        noticed,
        closed,
    }
}

#[test]
fn a_fin_from_the_backlog_leads_into_time_wait() {
    let name = "a_fin_from_the_backlog_leads_into_time_wait";
    let Some(_turn) = turn(name, Noise::Storm) else {
        return;
    };
    let lane = Lane { test: 11, space: 0 };
    let space = namespace(lane, scaled(5000));
    let inode = space.inode;
    let netns = inode.to_string();
    let tool = Tool::attached(&mut trace(["--format", "ndjson", "--netns", &netns]));
    let ledger = space.run();
    tool.settle();
    let finished = tool.interrupt();
    finished.assert_success();
    let completeness = finished.completeness();
    let rows = finished.rows();
    let rows = of_netns(&rows, &[inode], lane);
    // A row that contradicts the ledger is a failure in there.
    let verdict = compare::compare(&ledger, &rows);
    let waiting = rows.iter().filter(|row| row.to == "TIME_WAIT").count();
    eprintln!(
        "{} TIME_WAITs of {}, {verdict:?}, {completeness:?}",
        waiting,
        ledger.time_waits()
    );
    // What is missing was lost, or hidden by the machine (see `hidden`): more often here, where softirqs
    // interrupt whatever runs.
    let missing = ledger.time_waits() - waiting;
    assert!(
        missing as u64 <= completeness.lost + completeness.irregular,
        "{missing} of {} are missing: {completeness:?}",
        ledger.time_waits()
    );
    assert!(missing * 100 <= ledger.time_waits());
}
