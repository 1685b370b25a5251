//! Who holds a stuck socket: threads, a child that the parent forgot, whoever was sent it, a process in
//! another cgroup; nobody, while it is on its way. And states beside CLOSE_WAIT. By either source.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::mpsc,
    thread,
};

use serde_json::Value;

use crate::{
    child::{self, Children},
    netns::Netns,
    peer::Peer,
    skip::{Noise, turn},
    spawn,
    test_stuck::{SOURCES, address, looks, stuck},
    tool::Tool,
    workload::{Lane, listen},
};

const LANE: Lane = Lane { test: 27, space: 0 };

/// A socket that must be found.
#[derive(Clone, Debug)]
struct Expected {
    remote: SocketAddr,
    state: &'static str,
    cause: &'static str,
    holders: Vec<u32>,
    owner: Option<u32>,
    source: &'static str,
    cgroup: Option<String>,
}

/// Processes and sockets that are kept until it is dropped.
#[derive(Default)]
struct Kept {
    children: Children,
    sockets: Vec<TcpStream>,
    cgroup: Option<PathBuf>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.children.end();
        if let Some(cgroup) = &self.cgroup {
            fs::remove_dir(cgroup).unwrap();
        }
    }
}

/// An accepted socket in CLOSE_WAIT, read to its end; and the peer's end.
fn read_to_its_end(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut accepted, remote) = listener.accept().unwrap();
    spawn::close(client);
    assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
    (accepted, remote)
}

fn close_wait(remote: SocketAddr, holders: &[u32]) -> Expected {
    let only = match holders {
        [pid] => Some(*pid),
        _ => None,
    };
    Expected {
        remote,
        state: "CLOSE_WAIT",
        cause: if only.is_some() {
            "not_closed"
        } else {
            "unknown"
        },
        holders: holders.to_vec(),
        owner: only,
        source: if only.is_some() { "fd_scan" } else { "unknown" },
        cgroup: None,
    }
}

/// Whatever can hold one.
fn held_by_all_kinds(listener: &TcpListener, kept: &mut Kept, ledger: &mut Vec<Expected>) {
    let us = std::process::id();
    // A pool: whichever thread accepted it, the process holds it.
    let pool: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| read_to_its_end(listener)))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for (accepted, remote) in pool {
        ledger.push(close_wait(remote, &[us]));
        kept.sockets.push(accepted);
    }
    // A forking server: the parent has closed its own.
    let (accepted, remote) = read_to_its_end(listener);
    let child = child::holds(accepted);
    ledger.push(close_wait(remote, &[child.id()]));
    kept.children.push(child);
    // Passed on.
    let (accepted, remote) = read_to_its_end(listener);
    let child = child::receives(accepted);
    ledger.push(close_wait(remote, &[child.id()]));
    kept.children.push(child);
    // In another cgroup.
    let (accepted, remote) = read_to_its_end(listener);
    let child = child::holds(accepted);
    let mut expected = close_wait(remote, &[child.id()]);
    kept.children.push(child);
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    let root = roots.iter().find(|r| r.join("cgroup.controllers").exists());
    let name = format!("tcpdwell-live-{us}");
    let made = root.map(|root| root.join(&name));
    if let Some(cgroup) = made.filter(|cgroup| fs::create_dir(cgroup).is_ok()) {
        let pid = expected.holders[0].to_string();
        fs::write(cgroup.join("cgroup.procs"), pid).unwrap();
        kept.cgroup = Some(cgroup);
        expected.cgroup = Some(format!("/{name}"));
    } else {
        eprintln!("skipped: holders_of_all_kinds: another cgroup: none can be made");
    }
    ledger.push(expected);
}

/// Sockets that are closed while the peer reads nothing: one where we close first, one where the peer
/// did.
fn leaving(listener: &TcpListener, kept: &mut Kept, ledger: &mut Vec<Expected>) {
    for (state, peer_first) in [("FIN_WAIT1", false), ("LAST_ACK", true)] {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, remote) = listener.accept().unwrap();
        if peer_first {
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
        }
        accepted.set_nonblocking(true).unwrap();
        while accepted.write(&[b'y'; 1 << 14]).is_ok() {}
        spawn::close(accepted);
        kept.sockets.push(client);
        ledger.push(Expected {
            state,
            cause: "draining",
            ..close_wait(remote, &[])
        });
    }
}

/// Fails unless the look shows exactly these.
fn judge(look: &Value, ledger: &[Expected]) {
    let sockets = look["sockets"].as_array().unwrap();
    assert_eq!(sockets.len(), ledger.len(), "{sockets:#?}");
    for expected in ledger {
        let of = |s: &&Value| address(s, "raddr", "rport") == Some(expected.remote);
        let found = sockets.iter().find(of);
        let found = found.unwrap_or_else(|| panic!("{expected:?}: {sockets:#?}"));
        assert_eq!(found["state"], expected.state, "{found:#}");
        assert_eq!(found["cause"], expected.cause, "{found:#}");
        let holders = found["holders"].as_array().unwrap().iter();
        let holders: Vec<u64> = holders.map(|h| h["pid"].as_u64().unwrap()).collect();
        let ours: Vec<u64> = expected.holders.iter().map(|pid| (*pid).into()).collect();
        assert_eq!(holders, ours, "{found:#}");
        assert_eq!(
            found["pid"].as_u64(),
            expected.owner.map(u64::from),
            "{found:#}"
        );
        assert_eq!(found["owner_source"], expected.source, "{found:#}");
        if let Some(cgroup) = &expected.cgroup {
            assert_eq!(found["cgroup_path"], **cgroup, "{found:#}");
        }
        match expected.state {
            "CLOSE_WAIT" => assert!(found["age_us"].as_u64().is_some(), "{found:#}"),
            // Nothing tells, at one look.
            _ => assert!(found["age_us"].is_null(), "{found:#}"),
        }
        if expected.cause == "draining" {
            assert!(found["unsent_bytes"].as_u64() > Some(0), "{found:#}");
        }
    }
}

#[test]
fn holders_of_all_kinds() {
    let Some(_turn) = turn("holders_of_all_kinds", Noise::Storm) else {
        return;
    };
    let (tell, told) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let space = Netns::new(move |_| {
        let us = std::process::id();
        // A namespace is found by its processes, not by a single thread.
        let (nothing, _) = listen(SocketAddr::new(LANE.address(2), LANE.port(9)));
        let mut kept = Kept::default();
        kept.children.push(child::holds(nothing));
        let (listener, _) = listen(SocketAddr::new(LANE.address(1), LANE.port(0)));
        let mut ledger = Vec::new();
        held_by_all_kinds(&listener, &mut kept, &mut ledger);
        leaving(&listener, &mut kept, &mut ledger);
        // On its way, and in nobody's hands.
        let (accepted, remote) = read_to_its_end(&listener);
        let (over, _other) = UnixStream::pair().unwrap();
        child::send(&over, accepted);
        ledger.push(close_wait(remote, &[]));
        // A request that nobody completes.
        let (asked, _) = listen(SocketAddr::new([0, 0, 0, 0].into(), LANE.port(1)));
        let mut peer = Peer::new(27);
        let (_, remote) = peer.knock(LANE.port(1));
        ledger.push(Expected {
            state: "SYN_RECV",
            cause: "no_answer",
            owner: Some(us),
            source: "listener",
            ..close_wait(remote, &[])
        });
        tell.send(ledger).unwrap();
        wait.recv().unwrap();
        drop((asked, kept));
    });
    let inode = space.inode;
    let running = space.start();
    let ledger = told.recv().unwrap();
    let states = "CLOSE_WAIT,FIN_WAIT1,LAST_ACK,SYN_RECV";
    for source in SOURCES {
        let args = ["--state", states, "--snapshot-source", source];
        let zero = [&args[..], &["--older-than", "0"]].concat();
        let finished = Tool::started(&mut stuck(&zero, inode)).wait();
        judge(&looks(&finished)[0], &ledger);
        // What nothing is known of is not to go unseen.
        let finished = Tool::started(&mut stuck(&args, inode)).wait();
        let look = &looks(&finished)[0];
        let shown = look["sockets"].as_array().unwrap().iter();
        let unknown = shown.filter(|s| s["age_us"].is_null()).count();
        let expected = ledger.iter().filter(|e| e.state != "CLOSE_WAIT").count();
        assert_eq!(unknown, expected, "{look:#}");
        // Seen twice, it has been there in between.
        let requests = ["--state", "SYN_RECV", "--older-than", "0"];
        let more = ["--snapshot-source", source, "--duration", "1s"];
        let watched = [&requests[..], &more].concat();
        let finished = Tool::started(&mut stuck(&watched, inode)).wait();
        let look = &looks(&finished)[0];
        let age = look["sockets"][0]["age_us"].as_u64();
        assert!(age >= Some(900_000), "{look:#}");
    }
    go.send(()).unwrap();
    running.join().unwrap();
}
