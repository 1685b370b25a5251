//! A recorder that is killed at any moment: what it had written is read, nothing of it is wrong, and what
//! is missing came last.

use std::{
    collections::BTreeMap,
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    clock::{Span, mono_ns, timed, until},
    row::Row,
    skip::{Noise, turn},
    spawn,
    tool::{PATIENCE, Tool, binary, replay},
};

/// A kill comes within so long of the beginning, some before the first block is written.
const LONGEST: Duration = Duration::from_millis(1800);

/// What may be missing: a block is written when it is 0.4 s old; the rest is for a machine that is busy.
const MISSING: Duration = Duration::from_secs(3);

/// Numbers that nobody knows before (splitmix64).
fn dice(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Connects and resets until it is told to stop; when each connect began and had returned.
fn connects(to: SocketAddr, stop: &AtomicBool) -> Vec<Span> {
    let mut connects = Vec::new();
    while !stop.load(Relaxed) {
        let (client, span) = timed(|| TcpStream::connect(to).unwrap());
        // No TIME_WAIT is left: hundreds of runs use the same ports.
        spawn::reset(client);
        connects.push(span);
    }
    connects
}

/// Records under load, and kills after so long; how much is missing.
fn killed_after(wait: Duration) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("killed.tdw");
    let netns = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let mut command = Command::new(binary());
    command.args(["record", "-o"]).arg(&path);
    command.args(["--netns", &netns.to_string()]);
    let port = to.port().to_string();
    let recorder = Tool::attached(command.args(["--rport", &port]));
    // From here on something can be missing: before, there is no recording.
    let begun = until(PATIENCE, || {
        path.metadata().ok().filter(|file| file.len() > 0)
    });
    assert!(begun.is_some(), "no recording was begun");
    let attached = mono_ns();
    let stop = AtomicBool::new(false);
    let (made, killed) = thread::scope(|scope| {
        // It goes on until nobody is left in its queue: a full one would hold up who connects.
        listener.set_nonblocking(true).unwrap();
        scope.spawn(|| {
            loop {
                match listener.accept() {
                    // Seen once in thousands of runs on a busy machine: a connection whose RST never
                    // came. It must not hold up the others.
                    Ok((mut stream, _)) => {
                        stream.set_read_timeout(Some(LONGEST)).unwrap();
                        drop(stream.read(&mut [0]));
                    }
                    Err(_) if stop.load(Relaxed) => return,
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        let load = scope.spawn(|| connects(to, &stop));
        thread::sleep(wait);
        recorder.signal(Signal::KILL);
        let killed = mono_ns();
        recorder.wait();
        stop.store(true, Relaxed);
        (load.join().unwrap(), killed)
    });

    let replayed = replay(&path, &["--format", "ndjson"]);
    replayed.assert_success();
    let said = replayed.diagnostics();
    assert!(said.contains("not ended in order"), "{said}");
    assert!(!said.contains("missing before block"), "{said}");
    let mut lives: BTreeMap<u64, Vec<(String, String)>> = BTreeMap::new();
    let mut established = Vec::new();
    let rows = replayed.rows();
    for row in rows.iter().filter(|row| row.rport == Some(to.port())) {
        let life = lives.entry(row.conn).or_default();
        life.push((row.from.clone(), row.to.clone()));
        if row.to == "ESTABLISHED" {
            established.push(row.mono_ns);
        }
    }
    // Each life is one that happened, as far as it goes.
    let steps = ["CLOSE", "SYN_SENT", "ESTABLISHED", "CLOSE"];
    for life in lives.values() {
        let expected = steps.windows(2).map(|w| (w[0].to_owned(), w[1].to_owned()));
        let expected: Vec<_> = expected.take(life.len()).collect();
        assert_eq!(*life, expected);
    }
    let Some(last) = rows.iter().map(|row: &Row| row.mono_ns).max() else {
        return Duration::from_nanos(killed - attached);
    };
    // Whatever was over before the last that is there, is there; and nothing that was not.
    let over = made.iter().filter(|connect| connect.after < last).count();
    assert!(established.len() >= over, "{} of {over}", established.len());
    let begun = made.iter().filter(|connect| connect.before < last).count();
    assert!(
        established.len() <= begun,
        "{} of {begun}",
        established.len()
    );
    Duration::from_nanos(killed.saturating_sub(last))
}

/// Kills so many, and tells how much each lost.
fn kills(count: usize) {
    let mut seed = mono_ns();
    let mut missing: Vec<Duration> = Vec::new();
    for _ in 0..count {
        let most = u64::try_from(LONGEST.as_micros()).unwrap();
        let wait = Duration::from_micros(dice(&mut seed) % most);
        let lost = killed_after(wait);
        assert!(
            lost < MISSING,
            "killed after {wait:?}: {lost:?} are missing"
        );
        eprintln!("killed after {wait:?}: {lost:?} missing");
        missing.push(lost);
    }
    missing.sort_unstable();
    eprintln!(
        "killed {count} times: {:?} missing in the median, {:?} at most",
        missing[count / 2],
        missing[count - 1]
    );
}

#[test]
fn a_recorder_is_killed_at_any_moment() {
    let name = "a_recorder_is_killed_at_any_moment";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    kills(5);
}

/// Ten minutes: `cargo test -p tracer --test live two_hundred -- --ignored --nocapture`.
#[test]
#[ignore = "takes ten minutes; run by hand when recording changes"]
fn a_recorder_is_killed_two_hundred_times() {
    let name = "a_recorder_is_killed_two_hundred_times";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    kills(200);
}
