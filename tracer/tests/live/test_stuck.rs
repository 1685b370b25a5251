//! Every cause of a stuck CLOSE_WAIT at once, in another network namespace: opened before the tool
//! starts, and while it watches. Cause, age, holders and bytes are the ledger's, whether the kernel's
//! iterators are used or not.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    child::{self, Children},
    clock::{self, Span, timed},
    netns::Netns,
    observed::Finished,
    skip::{Noise, turn},
    spawn,
    tables::{self, Entry},
    tool::{self, PATIENCE, Tool},
    workload::{Lane, listen},
};

/// Where looks may come from.
pub(crate) const SOURCES: [&str; 2] = ["iterators", "sock_diag"];

const LANE: Lane = Lane { test: 17, space: 0 };

/// A coarse clock's tick at HZ=100, twice: what the kernel's own stamps may be off by.
pub(crate) const TICKS_NS: u64 = 20_000_000;
/// What an exact age may be off by.
pub(crate) const EXACT_NS: u64 = 5_000_000;

/// A socket that must be found stuck.
#[derive(Clone, Debug)]
pub(crate) struct Stuck {
    local: SocketAddr,
    pub(crate) remote: SocketAddr,
    cause: &'static str,
    unread: u64,
    /// Who holds it, and whose it is.
    holders: Vec<u32>,
    pid: Option<u32>,
    /// From when the peer closed to when the socket was in CLOSE_WAIT.
    close: Span,
}

/// Sockets of every cause, kept as they are.
struct Kept {
    stuck: Vec<Stuck>,
    sockets: Vec<TcpStream>,
    listeners: Vec<TcpListener>,
    children: Children,
}

impl Kept {
    /// Makes them, on listeners of these ports.
    fn new(served: u16, ignored: u16) -> Self {
        let mut kept = Self {
            stuck: Vec::new(),
            sockets: Vec::new(),
            listeners: Vec::new(),
            children: Children::default(),
        };
        let (served, _) = listen(SocketAddr::new(LANE.address(1), served));
        let us = std::process::id();
        for _ in 0..2 {
            drop(kept.accepted(&served, b"", "not_closed", 0, &[us]));
        }
        drop(kept.accepted(&served, &[b'x'; 1234], "unread_data", 1234, &[us]));
        drop(kept.accepted(&served, b"-", "unread_data", 0, &[us]));
        let shared = kept.accepted(&served, b"", "shared", 0, &[us]);
        let child = child::holds(shared);
        if let Some(stuck) = kept.stuck.last_mut() {
            stuck.holders.push(child.id());
            stuck.holders.sort_unstable();
            stuck.pid = None;
        }
        kept.children.push(child);
        kept.draining(&served);
        let (ignored, _) = listen(SocketAddr::new(LANE.address(1), ignored));
        let mut client = TcpStream::connect(ignored.local_addr().unwrap()).unwrap();
        client.write_all(b"hello").unwrap();
        let remote = client.local_addr().unwrap();
        let ((), close) = timed(|| {
            spawn::close(client);
            arrived(ignored.local_addr().unwrap(), remote);
        });
        kept.stuck.push(Stuck {
            local: ignored.local_addr().unwrap(),
            remote,
            cause: "never_accepted",
            unread: 5,
            holders: Vec::new(),
            pid: Some(us),
            close,
        });
        kept.listeners.extend([served, ignored]);
        kept
    }

    /// A connection whose client sends and closes; a copy of the accepted socket. `-`: nothing is sent,
    /// nor the end of file read.
    fn accepted(
        &mut self,
        listener: &TcpListener,
        data: &[u8],
        cause: &'static str,
        unread: u64,
        holders: &[u32],
    ) -> std::os::fd::OwnedFd {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, remote) = listener.accept().unwrap();
        if data != b"-" {
            client.write_all(data).unwrap();
        }
        let ((), close) = timed(|| {
            spawn::close(client);
            arrived(accepted.local_addr().unwrap(), remote);
        });
        if data.is_empty() {
            assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
        }
        self.stuck.push(Stuck {
            local: listener.local_addr().unwrap(),
            remote,
            cause,
            unread,
            holders: holders.to_vec(),
            pid: holders.first().copied(),
            close,
        });
        let copy = accepted.try_clone().unwrap();
        self.sockets.push(accepted);
        copy.into()
    }

    /// The client has closed its side, and reads nothing of what it is sent.
    fn draining(&mut self, listener: &TcpListener) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, remote) = listener.accept().unwrap();
        let ((), close) = timed(|| {
            client.shutdown(Shutdown::Write).unwrap();
            arrived(accepted.local_addr().unwrap(), remote);
        });
        assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
        accepted.set_nonblocking(true).unwrap();
        while accepted.write(&[b'y'; 1 << 14]).is_ok() {}
        let us = std::process::id();
        self.stuck.push(Stuck {
            local: listener.local_addr().unwrap(),
            remote,
            cause: "draining",
            unread: 0,
            holders: vec![us],
            pid: Some(us),
            close,
        });
        self.sockets.extend([accepted, client]);
    }
}

/// Returns when the socket is in CLOSE_WAIT: on a busy machine the FIN may have to wait for ksoftirqd.
fn arrived(local: SocketAddr, remote: SocketAddr) {
    let wanted = Entry {
        lport: local.port(),
        rport: remote.port(),
        state: tables::CLOSE_WAIT,
    };
    let arrived = clock::until(PATIENCE, || tables::tcp().contains(&wanted).then_some(()));
    assert!(arrived.is_some(), "no FIN from {remote}");
}

pub(crate) fn stuck(args: &[&str], netns: u32) -> Command {
    let mut command = Command::new(tool::binary());
    command
        .args(["stuck", "--format", "json"])
        .args(["--netns", &netns.to_string()])
        .args(args);
    command
}

/// The looks that were printed.
pub(crate) fn looks(finished: &Finished) -> Vec<Value> {
    finished.assert_success();
    let lines = finished.stdout.split(|b| *b == b'\n');
    lines
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect()
}

pub(crate) fn address(socket: &Value, ip: &str, port: &str) -> Option<SocketAddr> {
    let ip = socket[ip].as_str()?.parse().ok()?;
    let port = socket[port].as_u64()?.try_into().ok()?;
    Some(SocketAddr::new(ip, port))
}

/// Fails unless a look shows exactly these sockets, as the ledger has them. `exact`: those whose
/// entry the tool must have seen.
pub(crate) fn judge(look: &Value, ledger: &[Stuck], exact: impl Fn(&Stuck) -> bool) {
    assert_eq!(look["schema"], "tcpdwell.stuck/1");
    let sockets = look["sockets"].as_array().unwrap();
    assert_eq!(sockets.len(), ledger.len(), "{sockets:#?}");
    let ages: Vec<u64> = sockets
        .iter()
        .map(|s| s["age_us"].as_u64().unwrap_or(0))
        .collect();
    assert!(ages.is_sorted_by(|a, b| a >= b), "oldest first: {ages:?}");
    let looked = look["mono_ns"].as_u64().unwrap();
    for expected in ledger {
        let of = |s: &&Value| {
            address(s, "laddr", "lport") == Some(expected.local)
                && address(s, "raddr", "rport") == Some(expected.remote)
        };
        let found: Vec<&Value> = sockets.iter().filter(of).collect();
        let [found] = found[..] else {
            panic!("{expected:?}: {found:#?} in {sockets:#?}");
        };
        assert_eq!(found["state"], "CLOSE_WAIT");
        assert_eq!(found["cause"], expected.cause, "{found:#}");
        assert_eq!(found["unread_bytes"], expected.unread, "{found:#}");
        let mut holders: Vec<u64> = found["holders"]
            .as_array()
            .unwrap()
            .iter()
            .map(|h| h["pid"].as_u64().unwrap())
            .collect();
        holders.sort_unstable();
        let ours: Vec<u64> = expected.holders.iter().map(|pid| (*pid).into()).collect();
        assert_eq!(holders, ours, "{found:#}");
        // The one that accepted it while the tool ran is known, though it shares it now.
        if expected.cause != "shared" {
            assert_eq!(
                found["pid"].as_u64(),
                expected.pid.map(u64::from),
                "{found:#}"
            );
        }
        let unsent = found["unsent_bytes"].as_u64().unwrap();
        assert_eq!(unsent > 0, expected.cause == "draining", "{found:#}");
        if expected.cause == "never_accepted" {
            let evidence = found["evidence"].as_str().unwrap();
            assert!(evidence.contains("1 of at most 1025 wait"), "{evidence}");
        }
        // Its peer answers probes of its window: one that did so within this tick hides the age.
        if found["age_us"].is_null() && expected.cause == "draining" && !exact(expected) {
            continue;
        }
        let age = found["age_us"].as_u64().expect("an age") * 1000;
        let longest = looked - expected.close.before;
        assert!(age <= longest + EXACT_NS, "{found:#} {longest}");
        if exact(expected) {
            assert_eq!(found["age_exact"], true, "{found:#}");
            let shortest = looked - expected.close.after;
            assert!(age + EXACT_NS >= shortest, "{found:#} {shortest}");
        } else {
            assert_eq!(found["age_exact"], false, "{found:#}");
            // Nothing was heard of the peer since, unless it acknowledged what we send.
            if expected.cause != "draining" {
                let shortest = looked - expected.close.after;
                assert!(
                    age + TICKS_NS + EXACT_NS >= shortest,
                    "{found:#} {shortest}"
                );
            }
        }
    }
}

/// Two generations of stuck sockets: `act` is called with each, as soon as it is there.
pub(crate) fn generations<T>(
    first: impl FnOnce(u32, &[Stuck]) -> T,
    second: impl FnOnce(T, u32, &[Stuck], usize),
) {
    let (tell, told) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let space = Netns::new(move |_| {
        // A namespace is found by its processes, not by a single thread.
        let (nothing, _) = listen(SocketAddr::new(LANE.address(2), LANE.port(9)));
        let mut keeper = child::holds(nothing);
        let kept = Kept::new(LANE.port(0), LANE.port(1));
        tell.send(kept.stuck.clone()).unwrap();
        wait.recv().unwrap();
        let more = Kept::new(LANE.port(2), LANE.port(3));
        tell.send(more.stuck.clone()).unwrap();
        wait.recv().unwrap();
        keeper.kill().unwrap();
        keeper.wait().unwrap();
    });
    let inode = space.inode;
    let running = space.start();
    let mut ledger = told.recv().unwrap();
    let before = ledger.len();
    thread::sleep(Duration::from_millis(300));
    let between = first(inode, &ledger);
    go.send(()).unwrap();
    ledger.extend(told.recv().unwrap());
    second(between, inode, &ledger, before);
    go.send(()).unwrap();
    running.join().unwrap();
}

#[test]
fn every_cause_in_one_look() {
    let Some(_turn) = turn("every_cause_in_one_look", Noise::Storm) else {
        return;
    };
    generations(
        |netns, ledger| {
            for source in SOURCES {
                let args = ["--older-than", "0", "--snapshot-source", source];
                let finished = Tool::started(&mut stuck(&args, netns)).wait();
                let looks = looks(&finished);
                assert_eq!(looks.len(), 1);
                judge(&looks[0], ledger, |_| false);
                assert_eq!(looks[0]["completeness"]["complete"], true);
                let leaks = looks[0]["leaks"].as_array().unwrap();
                assert!(!leaks.is_empty());
                for leak in leaks {
                    assert_eq!(leak["verdict"], "not_enough_data", "{leak}");
                    assert!(leak["opened_per_s"].is_null(), "{leak}");
                }
            }
        },
        |(), netns, ledger, _| {
            let old = Tool::started(&mut stuck(&["--older-than", "1h"], netns)).wait();
            let looks = looks(&old);
            assert!(looks[0]["sockets"].as_array().unwrap().is_empty());
            assert_eq!(looks[0]["younger"], ledger.len());
        },
    );
}

#[test]
fn every_cause_while_watching() {
    let Some(_turn) = turn("every_cause_while_watching", Noise::Storm) else {
        return;
    };
    for source in SOURCES {
        watch(source);
    }
}

fn watch(source: &str) {
    generations(
        |netns, _| {
            let args = ["--watch", "--interval", "1s", "--older-than", "0"];
            let args = [&args[..], &["--snapshot-source", source]].concat();
            Tool::attached(&mut stuck(&args, netns))
        },
        |tool, _, ledger, before| {
            let enough = clock::until(PATIENCE, || {
                let shown = tool.printed();
                let text = String::from_utf8_lossy(&shown).into_owned();
                let last = text.lines().last()?;
                let look: Value = serde_json::from_str(last).ok()?;
                (look["sockets"].as_array()?.len() == ledger.len()).then_some(())
            });
            let finished = tool.interrupt();
            let looks = looks(&finished);
            assert!(enough.is_some(), "{:#?}", looks.last());
            let exact = |s: &Stuck| ledger[before..].iter().any(|l| l.remote == s.remote);
            judge(looks.last().unwrap(), ledger, exact);
            assert_eq!(finished.completeness().lost, 0);
        },
    );
}

#[test]
fn what_is_killed_is_gone_and_nothing_else() {
    let Some(_turn) = turn("what_is_killed_is_gone_and_nothing_else", Noise::Storm) else {
        return;
    };
    let left = |netns| {
        let finished = Tool::started(&mut stuck(&["--older-than", "0"], netns)).wait();
        let looks = looks(&finished);
        looks[0]["sockets"].as_array().unwrap().len()
    };
    generations(
        |netns, ledger| {
            let port = LANE.port(1).to_string();
            let args = ["--older-than", "0", "-L", &port, "--kill"];
            let asked = Tool::started(&mut stuck(&args, netns)).wait();
            asked.assert_success();
            assert!(
                asked.diagnostics().contains("--kill: 1 socket,"),
                "{asked:?}"
            );
            assert_eq!(left(netns), ledger.len(), "nothing without --yes");
            let args = [&args[..], &["--yes"]].concat();
            let done = Tool::started(&mut stuck(&args, netns)).wait();
            if done.diagnostics().contains("this kernel can't") {
                eprintln!("skipped: what_is_killed_is_gone_and_nothing_else: no SOCK_DESTROY");
                return;
            }
            done.assert_success();
            assert_eq!(left(netns), ledger.len() - 1);
        },
        |(), _, _, _| {},
    );
}
