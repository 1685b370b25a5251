//! Kernel time per transition, by the kernel's own account, less that of an empty program.
//!
//! Under the load of one thread, where a reader sleeps until it is woken, and of two, which wait for
//! each other's locks.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;
use tracer::ebpf::RunStats;

use crate::{Effort, load, report::Spread, tool::Tool};

const CASES: [(&str, Tool); 6] = [
    ("empty program", Tool::Empty),
    ("tcpdwell", Tool::Ours(&[])),
    (
        "tcpdwell, filter passes all",
        Tool::Ours(&["--raddr", "127.0.0.0/8", "--laddr", "127.0.0.0/8"]),
    ),
    (
        "tcpdwell, filter drops all",
        Tool::Ours(&["--raddr", "192.0.2.0/24"]),
    ),
    (
        "tcpdwell, classic tracepoint",
        Tool::Ours(&["--state-source", "tracepoint"]),
    ),
    ("tcpstates (libbpf)", Tool::Tcpstates),
];

/// One case.
#[derive(Debug, Serialize)]
pub struct Cost {
    pub case: &'static str,
    /// That make the load.
    pub threads: u8,
    /// ns per transition of all its programs, less an empty program's for each of them; of the
    /// empty program: as it is.
    pub ns_per_transition: Spread,
    /// ns per run of each program, less the empty program's.
    pub programs: BTreeMap<String, Spread>,
}

/// What a program took in one round.
type Round = BTreeMap<String, (u64, Duration)>;

const THREADS: [u8; 2] = [1, 2];

pub fn measure(effort: &Effort) -> Result<Vec<Cost>> {
    let _counting = RunStats::enable()?;
    let mut rounds: [[Vec<Round>; CASES.len()]; THREADS.len()] = Default::default();
    for round in 0..effort.rounds {
        for i in 0..CASES.len() {
            let case = (i + round) % CASES.len();
            let (name, tool) = CASES[case];
            let taken = one(tool, effort).with_context(|| format!("measuring {name}"))?;
            for (rounds, taken) in rounds.iter_mut().zip(taken) {
                rounds[case].push(taken);
            }
        }
    }
    let mut costs = Vec::new();
    for (threads, rounds) in THREADS.into_iter().zip(&rounds) {
        let empty = Spread::of(rounds[0].iter().map(|r| per_transition(r, 0.0))).median;
        for ((case, tool), rounds) in CASES.iter().zip(rounds) {
            let less = if *tool == Tool::Empty { 0.0 } else { empty };
            costs.push(cost(case, threads, rounds, less));
        }
    }
    Ok(costs)
}

/// What a tool's programs took under each load.
fn one(tool: Tool, effort: &Effort) -> Result<Vec<Round>> {
    let running = tool.start()?;
    // The first connections of a tool meet cold caches, and a ring buffer not yet paged in.
    load::run(1, effort.kernel_load / 4)?;
    let mut rounds = Vec::new();
    for threads in THREADS {
        let before = running.programs()?;
        load::run(threads, effort.kernel_load)?;
        thread::sleep(Duration::from_millis(50));
        let mut taken = Round::new();
        for after in running.programs()? {
            if let Some(before) = before.iter().find(|p| p.id == after.id) {
                let runs = after.runs - before.runs;
                if runs > 0 {
                    taken.insert(after.name, (runs, after.time.saturating_sub(before.time)));
                }
            }
        }
        rounds.push(taken);
    }
    running.stop()?;
    Ok(rounds)
}

fn cost(case: &'static str, threads: u8, rounds: &[Round], less: f64) -> Cost {
    let mut programs: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, (runs, time)) in rounds.iter().flatten() {
        let ns = time.as_nanos() as f64 / *runs as f64 - less;
        programs.entry(name.clone()).or_default().push(ns);
    }
    Cost {
        case,
        threads,
        ns_per_transition: Spread::of(rounds.iter().map(|r| per_transition(r, less))),
        programs: programs
            .into_iter()
            .map(|(name, ns)| (name, Spread::of(ns)))
            .collect(),
    }
}

/// All programs' time, shared among the runs of the one that runs most.
fn per_transition(round: &Round, less: f64) -> f64 {
    let transitions = round.values().map(|(runs, _)| *runs).max().unwrap_or(1);
    let spent: f64 = round
        .values()
        .map(|(runs, time)| time.as_nanos() as f64 - less * *runs as f64)
        .sum();
    spent / transitions as f64
}
