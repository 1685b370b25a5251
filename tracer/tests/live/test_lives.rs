//! How each kind of connection ends: the tool's verdict is what was done, on every rung that this
//! kernel has.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    net::{Shutdown, SocketAddr, TcpStream},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    clock::Span,
    compare::TIME_WAIT,
    lives::{GROUPS, Life, live, namespaces},
    netns::{Netns, sysctl},
    row::Row,
    skip::{Noise, is_scaled_down, turn},
    spawn,
    tool::{Tool, binary, trace},
    workload::{Lane, listen},
};

const AFTER: Lane = Lane { test: 29, space: 0 };

/// An acknowledgement may be held back for so long.
const SHORT: Duration = Duration::from_millis(60);

/// Times between what a program sees of the kernel's doings and what the kernel says.
const EXACT_NS: u64 = 2_000_000;
/// The same where the kernel only says it in jiffies.
const JIFFIES_NS: u64 = 12_000_000;

/// How late a softirq may come: on a busy machine, and in an emulated guest.
const LATE_NS: u64 = 10_000_000;
const LATE_EMULATED_NS: u64 = 100_000_000;

/// The rung that the tool stands on here, and all that it says of itself.
fn rung_of(options: &[&str]) -> (Option<String>, String) {
    let mut check = Command::new(binary());
    let check = check.arg("check").args(options).output().unwrap();
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    let rung = text.lines().find_map(|l| l.strip_prefix("TIME_WAIT"));
    (rung.map(|r| r.trim().to_owned()), text)
}

/// Whether this kernel has the rung; says why if not.
fn has_rung(name: &str, rung: &str) -> bool {
    let (chosen, text) = rung_of(&["--tw-source", rung]);
    let works = chosen.as_deref() == Some(rung);
    if !works {
        let why = text.lines().find(|l| l.contains(rung)).unwrap_or(&text);
        eprintln!("skipped: {name}: this kernel has no {rung} hooks: {why}");
    }
    works
}

#[test]
fn where_no_minisock_may_be_made_the_rung_is_the_same() {
    let Some(_turn) = turn("where_no_minisock_may_be_made", Noise::Little) else {
        return;
    };
    let (here, text) = rung_of(&[]);
    assert_ne!(here.as_deref(), Some("sampling"), "{text}");
    let space = Netns::new(|_| {
        fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0").unwrap();
        rung_of(&[])
    });
    let (there, text) = space.run();
    assert_eq!(there, here, "{text}");
}

/// Keeps this thread on one CPU.
fn pin() {
    let mut cpus = CpuSet::new();
    cpus.set(0);
    sched_setaffinity(None, &cpus).unwrap();
}

/// Why a socket got no minisock is noted until it closes. Of one that is filtered out nothing is told, and the
/// next in its memory may close without any, and is none that was refused.
#[test]
fn lives_after_refusals_that_are_filtered_out() {
    const EACH: usize = 20;
    let name = "lives_after_refusals_that_are_filtered_out";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    let (go, wait) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let others = Netns::new(move |_| {
        pin();
        sysctl("tcp_max_tw_buckets", "0");
        let (listener, _) = listen(SocketAddr::new(AFTER.address(1), AFTER.port(0)));
        let server = listener.local_addr().unwrap();
        while wait.recv().is_ok() {
            let client = TcpStream::connect(server).unwrap();
            let (mut accepted, _) = listener.accept().unwrap();
            spawn::close(client);
            assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
            spawn::close(accepted);
            thread::sleep(SHORT);
            tell.send(()).unwrap();
        }
    });
    let space = Netns::new(move |_| {
        pin();
        let (listener, _) = listen(SocketAddr::new(AFTER.address(1), AFTER.port(1)));
        let server = listener.local_addr().unwrap();
        for i in 0..EACH {
            go.send(()).unwrap();
            told.recv().unwrap();
            let client = TcpStream::connect(server).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            // Either may have the memory of the one that was refused.
            let (closes, mut other) = match i % 2 {
                0 => (client, accepted),
                _ => (accepted, client),
            };
            closes.shutdown(Shutdown::Write).unwrap();
            assert_eq!(other.read(&mut [0]).unwrap(), 0);
            thread::sleep(SHORT);
            spawn::reset(closes);
        }
    });
    let netns = space.inode.to_string();
    let tool = Tool::attached(&mut trace(["--format", "ndjson", "--netns", &netns]));
    let others = others.start();
    space.run();
    others.join().unwrap();
    tool.settle();
    let finished = tool.interrupt();
    finished.assert_success();
    let rows = finished.rows();
    let ended = rows
        .iter()
        .filter(|r| (r.from.as_str(), r.to.as_str()) == ("FIN_WAIT2", "CLOSE"));
    let reasons: Vec<_> = ended.map(|r| r.end_reason.as_deref()).collect();
    assert_eq!(reasons, [Some("linger_0"); EACH], "{rows:#?}");
}

/// Timers tell of a late FIN when the minisock that waited for it ends, and how many wait when they are no
/// longer watched.
#[test]
fn lives_whose_fin_comes_late() {
    const EACH: usize = 3;
    let name = "lives_whose_fin_comes_late";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    for rung in ["fentry", "kprobe", "timer"] {
        if !has_rung(name, rung) {
            continue;
        }
        let (go, wait) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let space = Netns::new(move |_| {
            let (listener, _) = listen(SocketAddr::new(AFTER.address(1), AFTER.port(2)));
            let server = listener.local_addr().unwrap();
            wait.recv().unwrap();
            for _ in 0..EACH {
                let client = TcpStream::connect(server).unwrap();
                let (mut accepted, _) = listener.accept().unwrap();
                spawn::close(client);
                assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
                thread::sleep(SHORT);
                spawn::close(accepted);
            }
            tell.send(()).unwrap();
            wait.recv().unwrap();
        });
        let netns = space.inode.to_string();
        let options = ["--format", "ndjson", "--tw-source", rung, "--netns", &netns];
        let tool = Tool::attached(&mut trace(options));
        let space = space.start();
        go.send(()).unwrap();
        told.recv().unwrap();
        tool.settle();
        let finished = tool.interrupt();
        go.send(()).unwrap();
        space.join().unwrap();
        finished.assert_success();
        let rows = finished.rows();
        let waiting = rows.iter().filter(|r| r.to == "TIME_WAIT").count();
        let said = finished.diagnostics();
        let line = said
            .lines()
            .find(|line| line.contains("last told in FIN_WAIT2"));
        let untold = line.map_or(0, |line| {
            let count = line.trim_start_matches("tcpdwell: ").split(' ').next();
            count.unwrap().parse().unwrap()
        });
        assert_eq!(waiting + untold, EACH, "{rung}: {said} {rows:#?}");
        assert!(rung == "timer" || untold == 0, "{rung}: {said}");
    }
}

fn run(rung: &str, test: u8) {
    let name = format!("lives_{rung}");
    let Some(_turn) = turn(&name, Noise::Little) else {
        return;
    };
    if !has_rung(&name, rung) {
        return;
    }
    let spaces = namespaces(&GROUPS, test);
    let inodes: Vec<u32> = spaces.iter().map(|s| s.inode).collect();
    let listed: Vec<String> = inodes.iter().map(u32::to_string).collect();
    let netns = listed.join(",");
    let options = ["--format", "ndjson", "--tw-source", rung, "--netns", &netns];
    let tool = Tool::attached(&mut trace(options));
    let (lives, waits) = live(spaces);
    tool.purged(waits);
    let finished = tool.interrupt();
    finished.assert_success();
    finished.assert_keys();
    let completeness = finished.completeness();
    // As in `test_exact`: an emulated kernel that preempts programs may lose a few, and counts them: by
    // timer also other timers, of which nobody knows any more that they were none of ours.
    if is_scaled_down() && completeness.lost > 0 {
        assert_eq!(completeness.recursion, Some(completeness.lost));
        assert!(
            completeness.lost * 20 <= completeness.seen,
            "{completeness:?}"
        );
    } else {
        assert_eq!(completeness.lost, 0, "{completeness:?}");
    }
    let rows = finished.rows();
    let mut failures = Vec::new();
    let mut checked = 0;
    for (inode, lives) in inodes.iter().zip(&lives) {
        let rows: Vec<_> = rows.iter().filter(|r| r.netns == Some(*inode)).collect();
        for life in lives {
            checked += 1;
            if let Err(why) = holds(life, rung, &rows) {
                failures.push(format!("{}: {why}", life.name));
            }
        }
    }
    // What was lost was one connection's each, and no other's.
    let spoilt = failures.len() as u64;
    assert!(
        spoilt <= completeness.lost,
        "{rung}:\n{}",
        failures.join("\n")
    );
    assert!(checked >= 20, "{checked} lives");
}

/// Whether exactly this was told.
fn holds(life: &Life, rung: &str, rows: &[&Row]) -> Result<(), String> {
    let mut chains: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let ends = (row.laddr, row.lport, row.raddr, row.rport);
        let (local, remote) = (life.local, life.remote);
        let wanted = (
            Some(local.ip()),
            Some(local.port()),
            Some(remote.ip()),
            Some(remote.port()),
        );
        if ends == wanted {
            chains.entry(row.conn).or_default().push(row);
        }
    }
    // A port that was taken again has a second life, which came later.
    let Some(chain) = chains.values().next() else {
        return Err("nothing was told".to_owned());
    };
    let mut told: Vec<&str> = chain.iter().map(|r| r.from.as_str()).collect();
    told.extend(chain.last().map(|r| r.to.as_str()));
    if told != life.states {
        return Err(format!("told {told:?}, was {:?}", life.states));
    }
    let connected = chain.windows(2).all(|w| w[0].to == w[1].from);
    let last = chain[chain.len() - 1];
    if !connected || last.closed_first.as_deref() != life.closed_first {
        return Err(format!(
            "closed first {:?}, was {:?}",
            last.closed_first, life.closed_first
        ));
    }
    let end_reason = if rung == "timer" {
        life.by_timer.unwrap_or(life.end_reason)
    } else {
        life.end_reason
    };
    // Another of its namespace took longer than a TIME_WAIT lasts.
    let over = (last.end_reason.as_deref(), end_reason) == (Some("expired"), "purged")
        && last.dwell_ns().is_some_and(|ns| ns >= TIME_WAIT);
    if last.end_reason.as_deref() != Some(end_reason) && !over {
        return Err(format!("ended by {:?}, was {end_reason}", last.end_reason));
    }
    for (state, span) in &life.left {
        let row = chain.iter().find(|r| r.from == *state);
        let row = row.ok_or_else(|| format!("{state} was not left"))?;
        left_in_time(row, *span)?;
    }
    for row in &chain[1..] {
        if row.dwell_ns().is_none() {
            return Err(format!("no dwell: {row:?}"));
        }
    }
    Ok(())
}

fn left_in_time(row: &Row, span: Span) -> Result<(), String> {
    let slack = if row.exact { EXACT_NS } else { JIFFIES_NS };
    // A softirq may come later than the call that raised it returns: much later where every
    // instruction is emulated.
    let late = if is_scaled_down() {
        LATE_EMULATED_NS
    } else {
        LATE_NS
    };
    let inside = row.mono_ns + slack >= span.before && row.mono_ns <= span.after + late;
    if inside {
        return Ok(());
    }
    Err(format!(
        "{} was left at {}, and that is not in {span:?}",
        row.from, row.mono_ns
    ))
}

#[test]
fn lives_fentry() {
    run("fentry", 20);
}

#[test]
fn lives_kprobe() {
    run("kprobe", 21);
}

#[test]
fn lives_timer() {
    run("timer", 22);
}
