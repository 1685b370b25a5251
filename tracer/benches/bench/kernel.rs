//! Kernel time per transition and per whole connection, by the kernel's own account, less that of an
//! empty program; and what a load takes longer by the clock, which holds for what is no BPF program, too.
//!
//! Under the load of one thread, where a reader sleeps until it is woken, and of two, which wait for
//! each other's locks.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;
use tracer::ebpf::RunStats;

use crate::{
    Effort, load,
    report::Spread,
    tool::{Case, EMPTY, LEAN, LEAST, LeftOut, Place, Running, Tool, possible},
};

const CASES: [Case; 17] = [
    ("nothing", Tool::Nothing),
    EMPTY,
    LEAST,
    LEAN,
    ("tcpdwell", Tool::Trace(&[])),
    (
        "tcpdwell, TIME_WAIT by fentry",
        Tool::Trace(&["--tw-source", "fentry"]),
    ),
    (
        "tcpdwell, TIME_WAIT by kprobe",
        Tool::Trace(&["--tw-source", "kprobe"]),
    ),
    (
        "tcpdwell, TIME_WAIT by timer",
        Tool::Trace(&["--tw-source", "timer"]),
    ),
    (
        "tcpdwell, TIME_WAIT by sampling",
        Tool::Trace(&["--tw-source", "sampling"]),
    ),
    (
        "tcpdwell, no TIME_WAIT",
        Tool::Trace(&["--tw-source", "none"]),
    ),
    (
        "tcpdwell, filter passes all",
        Tool::Trace(&["--raddr", "127.0.0.0/8", "--laddr", "127.0.0.0/8"]),
    ),
    (
        "tcpdwell, filter drops all",
        Tool::Trace(&["--raddr", "192.0.2.0/24"]),
    ),
    (
        "tcpdwell, classic tracepoint",
        Tool::Trace(&["--state-source", "tracepoint"]),
    ),
    ("set_state, aggregated", Tool::Aggregate),
    ("tcpstates (libbpf)", Tool::Tcpstates),
    ("bpftrace", Tool::Bpftrace),
    ("perf record", Tool::Perf),
];

/// What [`LEAN`] took on the machine that the targets were set on, ns: 120 to 140.
const LEAN_THERE_NS: f64 = 130.0;

/// One case.
#[derive(Debug, Serialize)]
pub struct Cost {
    pub case: &'static str,
    /// Kernel time by the kernel's account; `None`: it has no BPF program.
    pub programs: Option<Programs>,
    /// By the clock: ns per transition that one thread's load takes longer than with nothing attached,
    /// round by round. Nobody counts time meanwhile. Of nothing: what a transition takes.
    pub clock_ns: Spread,
}

/// What its programs took. Of the empty program: as it is; of others: less what the empty program takes,
/// for each of their runs.
#[derive(Debug, Serialize)]
pub struct Programs {
    /// ns per transition of all its programs, under the load of one thread, and of two.
    pub transition_ns: [Spread; 2],
    /// ns per connection with its TIME_WAIT's end, ten transitions or eleven, everything counted that its
    /// programs did meanwhile.
    pub connection_ns: Spread,
    /// What that would have been where the targets were set; `None`: [`LEAN`] could not be measured, or this is
    /// the empty program.
    pub there: Option<There>,
    /// By program: ns per run, under the load of one thread.
    pub by_program: BTreeMap<String, Spread>,
}

/// Under the load of one thread, round by round: in units of what [`LEAN`] took in that round, of which one
/// was [`LEAN_THERE_NS`].
#[derive(Debug, Serialize)]
pub struct There {
    pub transition_ns: Spread,
    pub connection_ns: Spread,
}

/// What programs took in one round, by name: runs, and the time in them.
type Taken = BTreeMap<String, (u64, Duration)>;

#[derive(Default)]
struct Rounds {
    clock_ns: Vec<f64>,
    loads: [Vec<Taken>; 2],
    whole: Vec<Taken>,
}

impl Rounds {
    /// Under the load of one thread.
    fn per_transition(&self, less: f64) -> Vec<f64> {
        let taken = self.loads[0].iter();
        taken.map(|taken| per_transition(taken, less)).collect()
    }
}

pub fn measure(effort: &Effort, place: &Place, left_out: &mut Vec<LeftOut>) -> Result<Vec<Cost>> {
    let cases = possible(&CASES, place, left_out)?;
    let mut all: Vec<Rounds> = cases.iter().map(|_| Rounds::default()).collect();
    for round in 0..effort.rounds {
        for i in 0..cases.len() {
            let case = (i + round) % cases.len();
            let (name, tool) = cases[case];
            one(tool, effort, place, &mut all[case])
                .with_context(|| format!("measuring {name}"))?;
            place.clear()?;
        }
    }
    let of = |tool| cases.iter().position(|(_, other)| *other == tool);
    let alone = of(Tool::Nothing).map_or(&[][..], |case| &all[case].clock_ns);
    let empty = of(EMPTY.1).context("the empty program is among the cases")?;
    let empty = Spread::of(all[empty].per_transition(0.0)).median;
    let lean = of(LEAN.1).map(|case| all[case].per_transition(empty));
    let costs = cases.iter().zip(&all).map(|((case, tool), rounds)| {
        let is_empty = *tool == EMPTY.1;
        let less = if is_empty { 0.0 } else { empty };
        let lean = lean.as_deref().filter(|_| !is_empty);
        let longer = rounds.clock_ns.iter().zip(alone).map(|(with, without)| {
            if *tool == Tool::Nothing {
                *with
            } else {
                with - without
            }
        });
        Cost {
            case,
            programs: programs(rounds, less, lean, effort.whole),
            clock_ns: Spread::of(longer),
        }
    });
    Ok(costs.collect())
}

/// One round of one tool.
fn one(tool: Tool, effort: &Effort, place: &Place, rounds: &mut Rounds) -> Result<()> {
    let running = tool.start(place)?;
    // The first connections of a tool meet cold caches, and a ring buffer not yet paged in.
    load::run(1, effort.kernel_load / 4)?;
    let load = load::run(1, effort.kernel_load)?;
    let ns = load.elapsed.as_nanos() as f64 / load.transitions as f64;
    rounds.clock_ns.push(ns);
    if !running.programs()?.is_empty() {
        let _counting = RunStats::enable()?;
        for (threads, taken) in [1, 2].into_iter().zip(&mut rounds.loads) {
            let load = || load::run(threads, effort.kernel_load).map(drop);
            taken.push(during(&running, load)?);
        }
        let whole = || {
            load::whole(effort.whole)?;
            quiet(&running)
        };
        rounds.whole.push(during(&running, whole)?);
    }
    running.stop().map(drop)
}

fn during(running: &Running, load: impl FnOnce() -> Result<()>) -> Result<Taken> {
    let before = running.programs()?;
    load()?;
    thread::sleep(Duration::from_millis(50));
    let mut taken = Taken::new();
    for after in running.programs()? {
        let before = before.iter().find(|program| program.id == after.id);
        let Some(before) = before else { continue };
        let runs = after.runs - before.runs;
        if runs > 0 {
            let (sum_runs, sum_time) = taken.entry(after.name).or_default();
            *sum_runs += runs;
            *sum_time += after.time.saturating_sub(before.time);
        }
    }
    Ok(taken)
}

/// Waits until the kernel has taken the namespace down: its programs run no more than they do anyway.
fn quiet(running: &Running) -> Result<()> {
    const LOOK: Duration = Duration::from_millis(100);
    let runs = || -> Result<u64> { Ok(running.programs()?.iter().map(|p| p.runs).sum()) };
    let mut before = runs()?;
    // It begins some time after the last process of the namespace has gone.
    thread::sleep(2 * LOOK);
    for _ in 0..100 {
        thread::sleep(LOOK);
        let now = runs()?;
        if now - before < 500 {
            break;
        }
        before = now;
    }
    Ok(())
}

fn programs(
    rounds: &Rounds,
    less: f64,
    lean: Option<&[f64]>,
    connections: u64,
) -> Option<Programs> {
    if rounds.whole.is_empty() {
        return None;
    }
    let mut by_name: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, (runs, time)) in rounds.loads[0].iter().flatten() {
        let ns = time.as_nanos() as f64 / *runs as f64 - less;
        by_name.entry(name.clone()).or_default().push(ns);
    }
    let per_connection = |taken: &Taken| spent(taken, less) / connections as f64;
    let of_load = |taken: &Vec<Taken>| Spread::of(taken.iter().map(|t| per_transition(t, less)));
    let there = |here: Vec<f64>, lean: &[f64]| {
        let rounds = here.iter().zip(lean);
        Spread::of(rounds.map(|(here, lean)| here / lean * LEAN_THERE_NS))
    };
    let whole: Vec<f64> = rounds.whole.iter().map(per_connection).collect();
    Some(Programs {
        transition_ns: [of_load(&rounds.loads[0]), of_load(&rounds.loads[1])],
        there: lean.map(|lean| There {
            transition_ns: there(rounds.per_transition(less), lean),
            connection_ns: there(whole.clone(), lean),
        }),
        connection_ns: Spread::of(whole),
        by_program: by_name
            .into_iter()
            .map(|(name, ns)| (name, Spread::of(ns)))
            .collect(),
    })
}

/// All programs' time, shared among the runs of the one on state changes: ours are called so, and a
/// rival has no other.
fn per_transition(taken: &Taken, less: f64) -> f64 {
    let most = |ours: bool| {
        let counted = taken
            .iter()
            .filter(|(name, _)| !ours || name.starts_with("set_state"));
        counted.map(|(_, (runs, _))| *runs).max()
    };
    spent(taken, less) / most(true).or_else(|| most(false)).unwrap_or(1) as f64
}

/// ns in all its programs.
fn spent(taken: &Taken, less: f64) -> f64 {
    taken
        .values()
        .map(|(runs, time)| time.as_nanos() as f64 - less * *runs as f64)
        .sum()
}
