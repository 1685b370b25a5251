//! A storm of short connections that keeps every core busy: what is left of it, and what is lost.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::{Effort, load, report::Spread, synthetic::PER_CONNECTION, tool::Tool};

const THREADS: u8 = 2;

const CASES: [(&str, Tool); 5] = [
    ("nothing", Tool::Nothing),
    ("empty program", Tool::Empty),
    ("tcpdwell", Tool::Ours(&[])),
    (
        "tcpdwell, classic tracepoint",
        Tool::Ours(&["--state-source", "tracepoint"]),
    ),
    ("tcpstates (libbpf)", Tool::Tcpstates),
];

/// One case.
#[derive(Debug, Serialize)]
pub struct Storm {
    pub case: &'static str,
    pub connections_per_second: Spread,
    /// Of the throughput with nothing attached, round by round.
    pub throughput_kept: Spread,
    /// In all rounds: ten per connection.
    pub transitions: u64,
    /// What the tool says it looked at; more than `transitions` by the listeners and what else
    /// happens on the machine.
    pub seen: Option<u64>,
    /// What the tool says it lost.
    pub lost: u64,
    /// Runs of its programs that the kernel skipped, where the tool does not count them in `lost`.
    pub skipped: u64,
    /// CPU time of the tool's process, per transition.
    pub cpu_ns_per_transition: f64,
}

#[derive(Default)]
struct Sum {
    per_second: Vec<f64>,
    connections: u64,
    seen: Option<u64>,
    lost: u64,
    skipped: u64,
    cpu: Duration,
}

pub fn measure(effort: &Effort) -> Result<Vec<Storm>> {
    let mut sums: [Sum; CASES.len()] = Default::default();
    for round in 0..effort.rounds {
        for i in 0..CASES.len() {
            let case = (i + round) % CASES.len();
            let (name, tool) = CASES[case];
            let sum = &mut sums[case];
            one(tool, effort, sum).with_context(|| format!("storm with {name}"))?;
        }
    }
    let alone = sums[0].per_second.clone();
    let told = CASES.iter().zip(sums).map(|((case, tool), sum)| {
        let transitions = sum.connections * PER_CONNECTION as u64;
        let kept = sum.per_second.iter().zip(&alone).map(|(a, b)| a / b);
        let storm = Storm {
            case,
            throughput_kept: Spread::of(kept),
            connections_per_second: Spread::of(sum.per_second.iter().copied()),
            transitions,
            seen: sum.seen,
            lost: sum.lost,
            skipped: sum.skipped,
            cpu_ns_per_transition: sum.cpu.as_nanos() as f64 / transitions as f64,
        };
        if matches!(tool, Tool::Ours(_)) {
            let seen = sum.seen.unwrap_or(0) + sum.lost;
            ensure!(
                seen >= transitions,
                "{case}: {seen} seen or lost, of {transitions}"
            );
        }
        Ok(storm)
    });
    told.collect()
}

fn one(tool: Tool, effort: &Effort, sum: &mut Sum) -> Result<()> {
    let running = tool.start()?;
    let before = running.cpu_time()?;
    let load = load::run(THREADS, effort.storm)?;
    // What the storm left behind is rendered now.
    thread::sleep(Duration::from_millis(500));
    sum.cpu += running.cpu_time()?.saturating_sub(before);
    if tool == Tool::Tcpstates {
        let programs = running.programs()?;
        sum.skipped += programs.iter().map(|p| p.skipped).sum::<u64>();
    }
    let account = running.stop()?;
    sum.per_second.push(load.per_second());
    sum.connections += load.connections;
    sum.lost += account.lost;
    if let Some(seen) = account.seen {
        *sum.seen.get_or_insert(0) += seen;
    }
    Ok(())
}
