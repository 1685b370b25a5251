//! Whose connection it is: the process that accepted it, not the one that listened, nor the one that
//! was on the CPU.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc,
    thread,
};

use crate::{
    child,
    netns::Netns,
    row::Row,
    skip::{Noise, turn},
    spawn,
    tool::{self, Tool, trace},
    workload::{Lane, listen},
};

const LANE: Lane = Lane { test: 12, space: 0 };

/// Connections that a child accepts, and that a thread of ours does.
const EACH: usize = 5;

#[test]
fn owners_are_those_who_accept() {
    let Some(_turn) = turn("owners_are_those_who_accept", Noise::Little) else {
        return;
    };
    let (tell_child, child) = mpsc::channel();
    let space = Netns::new(move |_| {
        let (forked, _) = listen((LANE.address(1), LANE.port(0)).into());
        let (threaded, _) = listen((LANE.address(1), LANE.port(1)).into());
        let mut worker = child::accepts(&forked, EACH);
        tell_child.send(worker.id()).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let (mut stream, _) = threaded.accept().unwrap();
                    // Closed by another thread than the one that accepted it.
                    thread::scope(|inner| {
                        inner.spawn(move || {
                            child::answer(&mut stream);
                            spawn::close(stream);
                        });
                    });
                }
            });
            for listener in [&forked, &threaded] {
                for _ in 0..EACH {
                    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                    client.write_all(b"x").unwrap();
                    client.read_exact(&mut [0]).unwrap();
                    spawn::close(client);
                }
            }
        });
        assert!(tool::wait(&mut worker).success());
    });
    let inode = space.inode;
    let netns = inode.to_string();
    let tool = Tool::attached(&mut trace(["--format", "ndjson", "--netns", &netns]));
    space.run();
    tool.settle();
    let finished = tool.interrupt();
    finished.assert_success();
    let rows = finished.rows();
    let us = std::process::id();
    for (port, owner) in [(LANE.port(0), child.recv().unwrap()), (LANE.port(1), us)] {
        let served: Vec<&Row> = rows
            .iter()
            .filter(|r| r.lport == Some(port) && r.role == "passive_open")
            .collect();
        let ends = served.iter().filter(|r| r.from == "ESTABLISHED").count();
        assert_eq!(ends, EACH, "{served:#?}");
        for row in &served {
            assert!(row.pid.is_none_or(|pid| pid == owner), "{row:#?}");
        }
        // From the first read on, at the latest.
        for row in served.iter().filter(|r| r.from == "ESTABLISHED") {
            assert_eq!(row.pid, Some(owner), "{row:#?}");
            let source = row.owner_source.as_str();
            assert!(["accept", "read"].contains(&source), "{row:#?}");
        }
        let clients = rows
            .iter()
            .filter(|r| r.rport == Some(port) && r.role == "active_open");
        for row in clients {
            assert_eq!(row.pid, Some(us), "{row:#?}");
            assert_eq!(row.owner_source, "connect", "{row:#?}");
        }
    }
}
