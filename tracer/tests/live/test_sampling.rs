//! The last rung: TIME_WAIT looked at once a second. Nothing exact, nothing invented.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use crate::{
    clock::{Span, timed},
    lives::connect_from,
    netns::Netns,
    skip::{Noise, turn},
    spawn,
    test_stuck::SOURCES,
    tool::{Tool, trace},
    workload::{Lane, listen},
};

const LANE: Lane = Lane { test: 13, space: 0 };

/// From one look to the next, and the look.
const LOOK_NS: u64 = 3_000_000_000;

struct Done {
    /// The end that waited, until it was recycled.
    waited: SocketAddr,
    entered: Span,
    recycled: Span,
}

#[test]
fn sampling_sees_what_is_there_when_it_looks() {
    let Some(_turn) = turn("sampling_sees_what_is_there_when_it_looks", Noise::Little) else {
        return;
    };
    for source in SOURCES {
        sample(source);
    }
}

fn sample(source: &str) {
    let space = Netns::new(move |_| {
        // A namespace is found by its processes, not by a single thread.
        let (listener, _) = listen(SocketAddr::new(LANE.address(1), LANE.port(0)));
        let server = listener.local_addr().unwrap();
        let mut keeper = crate::child::connects(server, 0, b"keeper");
        let mut client = TcpStream::connect(server).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        spawn::close(accepted);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        let waited = client.local_addr().unwrap();
        let ((), entered) = timed(|| spawn::close(client));
        thread::sleep(Duration::from_secs(4));
        let (again, recycled) = timed(|| connect_from(waited, server));
        let (second, _) = listener.accept().unwrap();
        spawn::reset(again);
        spawn::reset(second);
        thread::sleep(Duration::from_secs(4));
        drop(keeper.stdin.take());
        crate::tool::wait(&mut keeper);
        Done {
            waited,
            entered,
            recycled,
        }
    });
    let inode = space.inode;
    let netns = inode.to_string();
    let options = ["--format", "ndjson", "--tw-source", "sampling"];
    let more = ["--snapshot-source", source, "--netns", &netns];
    let tool = Tool::attached(&mut trace(options.into_iter().chain(more)));
    let done = space.run();
    tool.settle();
    let finished = tool.interrupt();
    finished.assert_success();
    assert_eq!(finished.completeness().lost, 0);
    let rows = finished.rows();
    let of = |from: &str, to: &str| {
        let row = rows.iter().find(|r| {
            r.netns == Some(inode)
                && (r.raddr, r.rport) == (Some(done.waited.ip()), Some(done.waited.port()))
                && (r.from.as_str(), r.to.as_str()) == (from, to)
        });
        row.unwrap_or_else(|| panic!("{from} -> {to}: {rows:#?}"))
    };
    let began = of("FIN_WAIT2", "TIME_WAIT");
    assert!(!began.exact, "{began:#?}");
    assert!(began.mono_ns <= done.entered.after + LOOK_NS, "{began:#?}");
    let ended = of("TIME_WAIT", "CLOSE");
    assert_eq!(ended.conn, began.conn, "{ended:#?}");
    assert!(!ended.exact, "{ended:#?}");
    assert_eq!(ended.end_reason.as_deref(), Some("unknown"), "{ended:#?}");
    assert_eq!(ended.closed_first.as_deref(), Some("local"), "{ended:#?}");
    let window = done.recycled.before..=done.recycled.after + LOOK_NS;
    assert!(window.contains(&ended.mono_ns), "{ended:#?}");
}
