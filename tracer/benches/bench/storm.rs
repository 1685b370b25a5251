//! A storm of short connections that keeps every core busy: what is left of it, and what is lost.

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::{
    Effort, load,
    report::Spread,
    tool::{Case, EMPTY, LEAST, LeftOut, Place, Tool, possible},
};

const THREADS: u8 = 2;

/// A virtual machine may have a kernel that runs no BPF program while a thread of the machine's own
/// agent is interrupted: what a softirq does then is seen by tracefs only, and no tool can tell. It
/// is shown as lost, and not as told. More than one transition in so many is our fault.
const RARE: u64 = 100_000;

const CASES: [Case; 10] = [
    ("nothing", Tool::Nothing),
    EMPTY,
    LEAST,
    ("tcpdwell record", Tool::Record),
    ("tcpdwell trace, ndjson", Tool::Trace(&[])),
    ("tcpdwell report", Tool::Report),
    (
        "tcpdwell trace, classic tracepoint",
        Tool::Trace(&["--state-source", "tracepoint"]),
    ),
    ("tcpstates (libbpf)", Tool::Tcpstates),
    ("bpftrace", Tool::Bpftrace),
    ("perf record", Tool::Perf),
];

/// One case.
#[derive(Debug, Serialize)]
pub struct Storm {
    pub case: &'static str,
    pub connections_per_second: Spread,
    /// Of the throughput with nothing attached, round by round.
    pub throughput_kept: Spread,
    /// In all rounds: ten per connection, two per listener.
    pub transitions: u64,
    /// Of these, what its output has when it has ended; `None`: it shows no single transition.
    pub delivered: Option<u64>,
    /// Transitions less what was delivered: whatever the reason.
    pub lost: Option<u64>,
    /// What the tool says it looked at; more than `transitions` by what else happens on the machine.
    pub says_seen: Option<u64>,
    /// What the tool says it lost.
    pub says_lost: Option<u64>,
    /// CPU time of the tool's process, per transition; `None`: there is no process.
    pub cpu_ns_per_transition: Option<Spread>,
    /// CPU time of the whole machine, per transition, more than with nothing attached: from the
    /// throughput, since the storm takes all there is.
    pub machine_ns_per_transition: Spread,
}

#[derive(Default)]
struct Sum {
    per_second: Vec<f64>,
    transitions: u64,
    delivered: Option<u64>,
    says_seen: Option<u64>,
    says_lost: Option<u64>,
    cpu_ns: Vec<f64>,
    machine_ns: Vec<f64>,
}

pub fn measure(effort: &Effort, place: &Place, left_out: &mut Vec<LeftOut>) -> Result<Vec<Storm>> {
    let cases = possible(&CASES, place, left_out)?;
    let mut sums: Vec<Sum> = cases.iter().map(|_| Sum::default()).collect();
    for round in 0..effort.rounds {
        for i in 0..cases.len() {
            let case = (i + round) % cases.len();
            let (name, tool) = cases[case];
            one(tool, effort, place, &mut sums[case])
                .with_context(|| format!("storm with {name}"))?;
            place.clear()?;
        }
    }
    let (rates, machine) = (sums[0].per_second.clone(), sums[0].machine_ns.clone());
    let told = cases.iter().zip(sums).map(|((case, tool), sum)| {
        let kept = sum.per_second.iter().zip(&rates).map(|(a, b)| a / b);
        let more = sum.machine_ns.iter().zip(&machine).map(|(a, b)| a - b);
        let storm = Storm {
            case,
            throughput_kept: Spread::of(kept),
            machine_ns_per_transition: Spread::of(more),
            connections_per_second: Spread::of(sum.per_second.iter().copied()),
            transitions: sum.transitions,
            delivered: sum.delivered,
            lost: sum.delivered.map(|d| sum.transitions.saturating_sub(d)),
            says_seen: sum.says_seen,
            says_lost: sum.says_lost,
            cpu_ns_per_transition: (!sum.cpu_ns.is_empty()).then(|| Spread::of(sum.cpu_ns)),
        };
        if tool.is_ours() {
            let says = storm.says_lost.context("no account of what was lost")?;
            let untold = storm.lost.unwrap_or(0).saturating_sub(says);
            ensure!(
                untold <= storm.transitions / RARE,
                "{case}: lost {:?}, and says {says}",
                storm.lost
            );
        }
        Ok(storm)
    });
    told.collect()
}

fn one(tool: Tool, effort: &Effort, place: &Place, sum: &mut Sum) -> Result<()> {
    let running = tool.start(place)?;
    let before = running.cpu_time()?;
    let load = load::run(THREADS, effort.storm)?;
    running.settle()?;
    let cpu = running.cpu_time()?.saturating_sub(before);
    let account = running.stop()?;
    let transitions = load.transitions as f64;
    if !cpu.is_zero() {
        sum.cpu_ns.push(cpu.as_nanos() as f64 / transitions);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let spent = load.elapsed * u32::try_from(cores).unwrap_or(1);
    sum.machine_ns.push(spent.as_nanos() as f64 / transitions);
    sum.per_second.push(load.per_second());
    sum.transitions += load.transitions;
    for (sum, of_round) in [
        (&mut sum.delivered, tool.delivered(place)?),
        (&mut sum.says_seen, account.seen),
        (&mut sum.says_lost, account.lost),
    ] {
        if let Some(n) = of_round {
            *sum.get_or_insert(0) += n;
        }
    }
    Ok(())
}
