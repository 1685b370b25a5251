//! The wall clock is set while somebody watches: how long things last does not change by it, and the time
//! of day is what the clock shows.

use std::{
    net::{TcpListener, TcpStream},
    process::Command,
};

use jiff::Timestamp;
use rustix::{
    io::Errno,
    time::{ClockId, Timespec, clock_gettime, clock_settime},
};

use crate::{
    clock::{mono_ns, until},
    hidden,
    ledger::Ledger,
    netns::Netns,
    observed::Finished,
    row::Row,
    skip::{Noise, turn},
    small::{SMALL, of_netns, work},
    spawn,
    tool::{PATIENCE, Tool, binary, replay, trace, verify},
    workload::Lane,
};

const NDJSON: &[&str] = &["--format", "ndjson"];

const NS: i128 = 1_000_000_000;

/// So many seconds, and back. No more: the times of files that others make meanwhile are off by that.
const STEP: i64 = 100;

fn wall_ns() -> i128 {
    let now = clock_gettime(ClockId::Realtime);
    i128::from(now.tv_sec) * NS + i128::from(now.tv_nsec)
}

/// What the wall clock is ahead of the kernel's.
fn offset_ns() -> i128 {
    wall_ns() - i128::from(mono_ns())
}

fn set(wall_ns: i128) -> Result<(), Errno> {
    let time = Timespec {
        tv_sec: i64::try_from(wall_ns / NS).unwrap(),
        tv_nsec: i64::try_from(wall_ns % NS).unwrap(),
    };
    clock_settime(ClockId::Realtime, time)
}

/// The wall clock is ahead by [`STEP`], as long as this lives.
struct Ahead {
    usual_ns: i128,
}

impl Ahead {
    fn begin() -> Result<Self, Errno> {
        let usual_ns = offset_ns();
        set(wall_ns() + i128::from(STEP) * NS)?;
        Ok(Self { usual_ns })
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        set(i128::from(mono_ns()) + self.usual_ns).unwrap();
    }
}

/// Something that happens now, so that its time is told.
struct Knock(TcpListener);

impl Knock {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn now(&self) {
        let client = TcpStream::connect(self.0.local_addr().unwrap()).unwrap();
        let (server, _) = self.0.accept().unwrap();
        spawn::reset(client);
        spawn::close(server);
    }
}

/// What the time of day of a row is ahead of the usual, in seconds.
fn ahead(row: &Row, usual_ns: i128) -> i64 {
    let offset_ns = row.ts.expect("a time of day").as_nanosecond() - i128::from(row.mono_ns);
    i64::try_from((offset_ns - usual_ns + NS / 2).div_euclid(NS)).unwrap()
}

/// The same of the latest of these lines; `None`: there is none yet.
fn latest(lines: &[u8], usual_ns: i128) -> Option<i64> {
    let whole = lines.split_inclusive(|b| *b == b'\n');
    let mut whole = whole.filter(|line| line.ends_with(b"\n")).rev();
    whole
        .find_map(|line| Row::parse(line.trim_ascii_end()))
        .map(|row| ahead(&row, usual_ns))
}

fn lanes() -> [Lane; 3] {
    // Rows are told apart by the ports of a test, not of its spaces.
    [0, 1, 2].map(|test| Lane { test, space: 0 })
}

/// What was done before the clock was set ahead, while it was, and after.
struct Done {
    usual_ns: i128,
    ledgers: Vec<Ledger>,
}

/// What was told, by a run or of a recording, is exact, and by the clock as it was set.
fn check(finished: &Finished, netns: u32, done: &Done) {
    finished.assert_success();
    let completeness = finished.completeness();
    assert_eq!(completeness.lost, 0, "{completeness:?}");
    let rows = finished.rows();
    let mut set: Vec<i64> = rows.iter().map(|row| ahead(row, done.usual_ns)).collect();
    set.dedup();
    assert_eq!(
        set,
        [0, STEP, 0],
        "the time of day, in the order of telling"
    );
    for ((ledger, lane), expected) in done.ledgers.iter().zip(lanes()).zip([0, STEP, 0]) {
        let rows = of_netns(&rows, &[netns], lane);
        let (_, rows) = hidden::exact(ledger, &rows, &completeness);
        // Their TIME_WAITs end with the namespace.
        for row in rows.iter().filter(|row| row.from != "TIME_WAIT") {
            assert_eq!(ahead(row, done.usual_ns), expected, "{row:#?}");
        }
    }
}

#[test]
fn the_clock_is_set_ahead_and_back() {
    let name = "the_clock_is_set_ahead_and_back";
    // Alone: others may take times of day.
    let Some(_turn) = turn(name, Noise::Storm) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("steps.tdw");
    let of_space = path.clone();
    let space = Netns::new(move |netns| {
        let watched = netns.to_string();
        let tool = Tool::attached(&mut trace(["--format", "ndjson", "--netns", &watched]));
        let mut command = Command::new(binary());
        command.args(["record", "--netns", &watched, "-o"]);
        let recorder = Tool::attached(command.arg(&of_space));
        let knock = Knock::new();
        let usual_ns = offset_ns();
        // Until both tell the time of day as it is now, and all that was is told.
        let is_told = |expected: i64| {
            let told = until(PATIENCE, || {
                knock.now();
                let seen = latest(&tool.printed(), usual_ns) == Some(expected);
                let kept = || latest(&replay(&of_space, NDJSON).stdout, usual_ns);
                (seen && kept() == Some(expected)).then_some(())
            });
            assert!(told.is_some(), "not told: {expected} s ahead");
            tool.settle();
        };
        is_told(0);
        let mut ledgers = vec![work(netns, lanes()[0], SMALL)];
        tool.settle();
        match Ahead::begin() {
            Ok(_ahead) => {
                is_told(STEP);
                ledgers.push(work(netns, lanes()[1], SMALL));
                tool.settle();
            }
            Err(error) => {
                eprintln!("skipped: {name}: the clock can't be set: {error}");
                return None;
            }
        }
        is_told(0);
        ledgers.push(work(netns, lanes()[2], SMALL));
        Some((tool, recorder, Done { usual_ns, ledgers }))
    });
    let netns = space.inode;
    let Some((tool, recorder, done)) = space.run() else {
        return;
    };
    tool.purged(done.ledgers.iter().map(Ledger::time_waits).sum());
    check(&tool.interrupt(), netns, &done);
    recorder.interrupt().assert_success();
    let (code, said) = verify(&path);
    assert_eq!(code, Some(0), "{said}");
    let all = replay(&path, NDJSON);
    check(&all, netns, &done);

    // A window is of the time of day, before and after too.
    let rows = all.rows();
    let began_ns = i128::from(rows[0].mono_ns) + done.usual_ns;
    let at = |seconds: i64| {
        let ns = began_ns + i128::from(seconds) * NS;
        Timestamp::from_nanosecond(ns).unwrap()
    };
    for (since, until) in [(-1, STEP / 2), (STEP / 2, 2 * STEP)] {
        let (since, until) = (at(since), at(until));
        let asked = [since, until].map(|at| at.to_string());
        let asked = [
            "--format", "ndjson", "--since", &asked[0], "--until", &asked[1],
        ];
        let within = replay(&path, &asked).rows().len();
        let is_within = |row: &&Row| row.ts.is_some_and(|ts| since <= ts && ts < until);
        assert_eq!(within, rows.iter().filter(is_within).count());
        assert!(within > 0 && within < rows.len());
    }
}
