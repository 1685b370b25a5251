//! `hist` counts every stay that began and ended, once; and what is still there as what it is by then.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    child,
    netns::Netns,
    skip::{Noise, turn},
    small::{SMALL, namespace},
    spawn,
    tool::{Tool, binary},
    workload::{Lane, listen},
};

const LANE: Lane = Lane { test: 14, space: 0 };
const LATE: Lane = Lane { test: 14, space: 1 };

#[test]
fn hist_counts_every_stay() {
    let Some(_turn) = turn("hist_counts_every_stay", Noise::Little) else {
        return;
    };
    let space = namespace(LANE, SMALL);
    let netns = space.inode.to_string();
    let mut hist = Command::new(binary());
    hist.args(["hist", "--netns", &netns, "--state", "established,syn-sent"]);
    let tool = Tool::attached(&mut hist);
    let ledger = space.run();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let finished = tool.interrupt();
    finished.assert_success();
    assert_eq!(finished.completeness().lost, 0);
    let drawn = String::from_utf8(finished.stdout).unwrap();
    for state in ["ESTABLISHED", "SYN_SENT"] {
        let stays = ledger.ends.iter().flat_map(|end| &end.steps);
        let stays = stays.filter(|step| step.from == state).count();
        let part = drawn.split(&format!("state = {state}\n")).nth(1);
        let part = part.unwrap_or_else(|| panic!("no {state}: {drawn}"));
        let figures = part.lines().find(|l| l.contains("count=")).unwrap();
        assert!(figures.contains(&format!("count={stays} ")), "{drawn}");
        let rows = part.lines().skip(1).take_while(|l| l.contains(" -> "));
        let rows = rows.map(|l| {
            l.split(':')
                .nth(1)
                .unwrap()
                .split('|')
                .next()
                .unwrap()
                .trim()
        });
        let sum: usize = rows.map(|n| n.parse::<usize>().unwrap()).sum();
        assert_eq!(sum, stays, "{drawn}");
    }
    assert!(!drawn.contains("TIME_WAIT"), "{drawn}");
}

/// A FIN that comes while a minisock waits for it: of that some hooks tell at the end of the TIME_WAIT only.
#[test]
fn late_fins_are_known_at_the_end() {
    const EACH: u64 = 20;
    let Some(_turn) = turn("late_fins_are_known_at_the_end", Noise::Little) else {
        return;
    };
    let (tell, ready) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let space = Netns::new(move |_| {
        let (listener, _) = listen(SocketAddr::new(LATE.address(1), LATE.port(0)));
        let server = listener.local_addr().unwrap();
        for _ in 0..EACH {
            let mut client = TcpStream::connect(server).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            spawn::close(accepted);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            thread::sleep(Duration::from_millis(10));
            spawn::close(client);
        }
        child::keep_namespace(server, &tell, &wait);
    });
    let netns = space.inode.to_string();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("late.tdw");
    let of = |verb: &str| {
        let mut command = Command::new(binary());
        command.args([verb, "--netns", &netns]);
        command
    };
    let report = Tool::attached(of("report").args(["--format", "json"]));
    let hist = Tool::attached(&mut of("hist"));
    let record = Tool::attached(of("record").arg("-o").arg(&path));
    let running = space.start();
    ready.recv().unwrap();
    let report = report.interrupt();
    let hist = hist.interrupt();
    record.interrupt().assert_success();
    go.send(()).unwrap();
    running.join().unwrap();

    let from = |verb: &str, more: &[&str]| {
        let mut command = of(verb);
        command.args(more).arg("--from").arg(&path);
        let finished = Tool::started(&mut command).wait();
        finished.assert_success();
        finished.stdout
    };
    for told in [report.stdout, from("report", &["--format", "json"])] {
        let told: Value = serde_json::from_slice(&told).unwrap();
        if told["time_wait"]["measured"].is_null() {
            eprintln!("skipped: nothing tells of TIME_WAIT here");
            return;
        }
        assert_eq!(told["time_wait"]["open"], EACH, "{told:#}");
        assert_eq!(told["states"]["FIN_WAIT2"]["open"], 0, "{told:#}");
    }
    for drawn in [hist.stdout, from("hist", &[])] {
        let drawn = String::from_utf8(drawn).unwrap();
        let open = format!("TIME_WAIT, still open: count={EACH} ");
        assert!(drawn.contains(&open), "{drawn}");
        assert!(!drawn.contains("FIN_WAIT2, still open"), "{drawn}");
    }
    // What was open at the end is not what was open at the end of a part.
    for part in ["--since", "--until"] {
        let drawn = from("hist", &[part, "2020-01-01 00:00:00"]);
        let drawn = String::from_utf8(drawn).unwrap();
        assert!(!drawn.contains("still open"), "{part}: {drawn}");
    }
}
