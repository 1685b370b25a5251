//! A run that lasts: whatever the verb, it is as large at its end as when it had begun, and nothing of it
//! is lost.

use std::{env, fs, path::Path, process::Command, thread, time::Duration};

use crate::{
    clock::mono_ns,
    netns::{Netns, sysctl},
    pty::Pty,
    skip::{Noise, scaled, turn},
    spawn,
    steady::Steady,
    tool::{Tool, binary, verify},
};

/// What is resident of a process, in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

/// Buffers grow to what a busy moment needs, later than sooner.
pub(crate) const GROWTH_KIB: u64 = 5 * 1024;

const VERBS: [&[&str]; 4] = [
    &["trace", "--format", "ndjson"],
    &["hist", "--by", "process"],
    &["record"],
    &["report", "--format", "json"],
];

/// A tool for each verb, which looks at this namespace.
struct Tools {
    tools: Vec<Tool>,
    place: tempfile::TempDir,
}

impl Tools {
    fn attached(netns: u32) -> Self {
        let place = tempfile::tempdir().unwrap();
        let tools = VERBS.map(|verb| {
            let mut command = Command::new(binary());
            command.args(verb).args(["--netns", &netns.to_string()]);
            let output = match verb[0] {
                // Gigabytes in an hour.
                "trace" => Path::new("/dev/null").to_owned(),
                name => place.path().join(name),
            };
            Tool::attached(command.arg("-o").arg(output))
        });
        Self {
            tools: tools.into(),
            place,
        }
    }

    /// In the order of [`VERBS`].
    fn resident(&self) -> Vec<u64> {
        self.tools.iter().map(|tool| resident(tool.id())).collect()
    }

    /// Ends them: nothing is lost of so many connections.
    fn end(self, made: u64) {
        for (tool, verb) in self.tools.into_iter().zip(VERBS) {
            let finished = tool.interrupt();
            finished.assert_success();
            let completeness = finished.completeness();
            eprintln!("{verb:?}: {completeness:?}");
            assert_eq!(completeness.lost, 0, "{verb:?}: {completeness:?}");
            // Both ends of each, and the listener.
            assert!(completeness.seen >= 6 * made, "{verb:?}: {completeness:?}");
        }
        let (code, said) = verify(&self.place.path().join("record"));
        assert_eq!(code, Some(0), "{said}");
    }
}

/// Connections that have ended are no longer in memory.
#[test]
fn a_long_run_is_as_large_as_a_short_one() {
    let Some(_turn) = turn("a_long_run_is_as_large_as_a_short_one", Noise::Storm) else {
        return;
    };
    let space = Netns::new(|netns| {
        // A TIME_WAIT is a connection for another minute.
        sysctl("tcp_max_tw_buckets", "0");
        let tools = Tools::attached(netns);
        let load = Steady::start();
        load.more(scaled(4000) as u64);
        let before = tools.resident();
        load.more(scaled(14_000) as u64);
        let after = tools.resident();
        let made = load.stop();
        tools.end(made);
        eprintln!("{made} connections, {VERBS:?}: {before:?} KiB, then {after:?}");
        for (before, after) in before.iter().zip(&after) {
            assert!(*after <= before + GROWTH_KIB, "{before} KiB, then {after}");
        }
    });
    space.run();
}

/// What a soak makes in a second.
const PER_SECOND: u32 = 500;
/// From here on as many TIME_WAITs end as begin.
const WARM: Duration = Duration::from_secs(90);
/// How often sizes are looked at.
const LOOKS: u32 = 60;

fn soak_lasts() -> Duration {
    let seconds = env::var("TCPDWELL_SOAK_SECONDS").ok();
    Duration::from_secs(seconds.map_or(3600, |text| text.parse().unwrap()))
}

/// The same with the dashboard beside them, for an hour or `TCPDWELL_SOAK_SECONDS`, at a load that a busy
/// server has: `cargo test -p tracer --test live soak -- --ignored --nocapture`.
#[test]
#[ignore = "takes an hour; run by hand before a release"]
fn a_soak_leaves_nothing_behind() {
    // Nobody has to wait for so long, and nobody is disturbed by so little.
    if turn("a_soak_leaves_nothing_behind", Noise::Little).is_none() {
        return;
    }
    let space = Netns::new(|netns| {
        let tools = Tools::attached(netns);
        let mut command = Command::new(binary());
        command.args(["top", "--netns", &netns.to_string()]);
        let mut top = Pty::start(command, (120, 40), spawn::spawn);
        top.shows("States");
        let load = Steady::moderate(PER_SECOND);
        thread::sleep(WARM);
        let began = (mono_ns(), load.made());
        let sizes: Vec<Vec<u64>> = (0..LOOKS)
            .map(|_| {
                thread::sleep(soak_lasts() / LOOKS);
                let mut sizes = tools.resident();
                sizes.push(resident(top.id()));
                eprintln!("{} connections: {sizes:?} KiB", load.made());
                sizes
            })
            .collect();
        let seconds = (mono_ns() - began.0) / 1_000_000_000;
        let made = load.made() - began.1;
        assert!(
            made >= seconds * u64::from(PER_SECOND) / 2,
            "{made} in {seconds} s"
        );
        let made = load.stop();
        tools.end(made);
        top.press("q");
        let (status, screen, restored) = top.wait();
        assert!(status.success() && restored, "{status}: {screen}");
        assert!(screen.contains(" lost=0 "), "{screen}");
        let quarter = sizes.len() / 4;
        for tool in 0..sizes[0].len() {
            let most = |sizes: &[Vec<u64>]| sizes.iter().map(|sizes| sizes[tool]).max().unwrap();
            let (first, last) = (
                most(&sizes[..quarter]),
                most(&sizes[sizes.len() - quarter..]),
            );
            eprintln!("{made} connections, tool {tool}: {first} KiB at most, then {last}");
            // In an hour some moments are busier than all before; but nothing of a connection stays.
            let growth = GROWTH_KIB.max(8 * made / 1024);
            assert!(last <= first + growth, "{first} KiB, then {last}");
        }
    });
    space.run();
}
