//! Sockets that are older than the tool, in another network namespace than its own.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use tracer_common::timewait::TIME_WAIT_NS;

use crate::{
    child,
    clock::{Span, mono_ns, timed},
    netns::Netns,
    skip::{Noise, turn},
    spawn,
    test_stuck::SOURCES,
    tool::{Tool, trace},
    workload::{Lane, listen},
};

const LANE: Lane = Lane { test: 10, space: 0 };

/// What was there, and what was done with it.
struct Done {
    /// Local ends: of a connection that is closed while the tool runs, and of one that was in
    /// TIME_WAIT before it ran, and is recycled.
    closed: SocketAddr,
    waited: SocketAddr,
    established: u64,
    close: Span,
    time_wait: Span,
    recycled: Span,
}

#[test]
fn older_sockets() {
    let Some(_turn) = turn("older_sockets", Noise::Little) else {
        return;
    };
    for source in SOURCES {
        older_sockets_by(source);
    }
}

fn older_sockets_by(source: &str) {
    let (tell, ready) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let space = Netns::new(move |_| {
        let (listener, _) = listen(SocketAddr::new(LANE.address(1), LANE.port(0)));
        let server = listener.local_addr().unwrap();
        let client = TcpStream::connect(server).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let established = mono_ns();
        let mut second = TcpStream::connect(server).unwrap();
        let waiting = second.local_addr().unwrap();
        let (waits, _) = listener.accept().unwrap();
        spawn::close(waits);
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
        let ((), time_wait) = timed(|| spawn::close(second));
        child::keep_namespace(server, &tell, &wait);
        let closed = client.local_addr().unwrap();
        let ((), close) = timed(|| spawn::close(client));
        assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
        spawn::close(accepted);
        let (again, recycled) = timed(|| crate::lives::connect_from(waiting, server));
        drop(again);
        Done {
            closed,
            waited: waiting,
            established,
            close,
            time_wait,
            recycled,
        }
    });
    let inode = space.inode;
    let running = space.start();
    ready.recv().unwrap();
    let netns = inode.to_string();
    let options = ["--format", "ndjson", "--netns", &netns];
    let tool = Tool::attached(&mut trace(
        options.into_iter().chain(["--snapshot-source", source]),
    ));
    let looked = mono_ns();
    thread::sleep(Duration::from_millis(100));
    go.send(()).unwrap();
    let done = running.join().unwrap();
    tool.settle();
    let finished = tool.interrupt();
    finished.assert_success();
    let rows: Vec<_> = finished.rows();
    let of_us = |end: SocketAddr, from: &str| {
        let row = rows.iter().find(|r| {
            let ends = [(r.laddr, r.lport), (r.raddr, r.rport)];
            r.netns == Some(inode)
                && r.from == from
                && ends.contains(&(Some(end.ip()), Some(end.port())))
                && r.conn > 0
        });
        row.unwrap_or_else(|| panic!("{end} from {from}: {rows:#?}"))
    };

    let row = of_us(done.closed, "ESTABLISHED");
    assert_eq!(row.dwell_ns(), None);
    let at_least = row.at_least_ns().expect("a lower bound");
    assert!(at_least >= done.close.before - looked, "{row:#?} {looked}");
    assert!(at_least <= done.close.after - done.established, "{row:#?}");
    assert_eq!(row.pid, Some(std::process::id()), "{row:#?}");
    assert!(!row.exact);

    let row = of_us(done.waited, "TIME_WAIT");
    // An emulated guest may take longer to start the tool than a TIME_WAIT lasts; what expires is taken a
    // little later, and so may what is recycled.
    if done.recycled.before - done.time_wait.after > TIME_WAIT_NS {
        eprintln!("skipped: what recycles a TIME_WAIT came after its end");
        assert_eq!(row.end_reason.as_deref(), Some("expired"), "{row:#?}");
        return;
    }
    assert_eq!(row.end_reason.as_deref(), Some("syn_recycled"), "{row:#?}");
    let longest = done.recycled.after - done.time_wait.before + 2_000_000;
    // Stamped by the kernel, in ms, since 6.14.
    if let Some(dwell) = row.dwell_ns() {
        let shortest = done.recycled.before - done.time_wait.after - 2_000_000;
        assert!((shortest..=longest).contains(&dwell), "{row:#?}");
    } else {
        let at_least = row.at_least_ns().expect("a lower bound");
        assert!(at_least <= longest, "{row:#?}");
    }
}
