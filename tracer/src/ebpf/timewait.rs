//! The ladder for timewait minisocks: which hooks tell of them.

use anyhow::{Context as _, Result};
use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FEntry, FExit, Iter, KProbe, ProgramFd, RawTracePoint},
};

use super::{
    load::{loading, program},
    probes::Attached,
};

/// Where the lives of minisocks are told from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimewaitSource {
    /// The functions that make and remove them, by fentry and fexit.
    Fentry,
    /// The same functions, by kprobes.
    Kprobe,
    /// Their timers, by tracepoints.
    Timer,
    /// Nothing tells of them: they are looked at once a second.
    Sampling,
}

impl TimewaitSource {
    /// The best first.
    pub const LADDER: [Self; 4] = [Self::Fentry, Self::Kprobe, Self::Timer, Self::Sampling];

    /// The stable token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Timer => "timer",
            Self::Sampling => "sampling",
        }
    }

    /// `TIMEWAIT_HOOK` of the kernel programs.
    pub(super) const fn hook(self) -> u32 {
        match self {
            Self::Fentry | Self::Kprobe => 1,
            Self::Timer => 2,
            Self::Sampling => 0,
        }
    }
}

const ALLOC: &str = "inet_twsk_alloc";
const KILL: &str = "inet_twsk_kill";
const SCHEDULE: &str = "__inet_twsk_schedule";
const ACCEPT: &str = "inet_csk_accept";

/// Loads and attaches one rung.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    btf: &Btf,
    source: TimewaitSource,
    attached: &mut Attached,
) -> Result<()> {
    match source {
        TimewaitSource::Fentry => {
            fexit(ebpf, btf, "tw_alloc", ALLOC, attached)?;
            fentry(ebpf, btf, "tw_kill", KILL, attached)?;
            fentry(ebpf, btf, "tw_schedule", SCHEDULE, attached)
        }
        TimewaitSource::Kprobe => {
            // The return first: a call without its return would leave its note behind.
            kprobe(ebpf, "tw_alloc_return", ALLOC, attached)?;
            kprobe(ebpf, "tw_alloc_call", ALLOC, attached)?;
            kprobe(ebpf, "tw_kill_call", KILL, attached)?;
            kprobe(ebpf, "tw_schedule_call", SCHEDULE, attached)
        }
        TimewaitSource::Timer => {
            tracepoint(ebpf, btf, "tw_timer_start", "timer_start", attached)?;
            tracepoint(ebpf, btf, "tw_timer_cancel", "timer_cancel", attached)
        }
        TimewaitSource::Sampling => Ok(()),
    }
}

/// How the process is found out that holds an accepted socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptSource {
    /// `inet_csk_accept`, by fexit.
    Fexit,
    /// `inet_csk_accept`, by kretprobe.
    Kretprobe,
    /// The first read, by the tracepoint `tcp_rcv_space_adjust`.
    Read,
}

impl AcceptSource {
    /// The stable token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fexit => "fexit",
            Self::Kretprobe => "kretprobe",
            Self::Read => "read",
        }
    }
}

/// Attaches the best that works, and says why the others did not. `arguments` of `inet_csk_accept`.
pub(super) fn attach_accept(
    ebpf: &mut Ebpf,
    btf: &Btf,
    arguments: Option<usize>,
    attached: &mut Attached,
) -> (Option<AcceptSource>, Vec<(&'static str, anyhow::Error)>) {
    let mut failed = Vec::new();
    let by_arity = match arguments {
        Some(2) => Some("accept_of_two"),
        Some(4) => Some("accept_of_four"),
        _ => None,
    };
    if let Some(name) = by_arity {
        match fexit(ebpf, btf, name, ACCEPT, attached) {
            Ok(()) => return (Some(AcceptSource::Fexit), failed),
            Err(error) => failed.push(("fexit:inet_csk_accept", error)),
        }
    }
    match kprobe(ebpf, "accept_return", ACCEPT, attached) {
        Ok(()) => return (Some(AcceptSource::Kretprobe), failed),
        Err(error) => failed.push(("kretprobe:inet_csk_accept", error)),
    }
    match raw_tracepoint(ebpf, "read_from", "tcp_rcv_space_adjust", attached) {
        Ok(()) => (Some(AcceptSource::Read), failed),
        Err(error) => {
            failed.push(("raw_tp:tcp_rcv_space_adjust", error));
            (None, failed)
        }
    }
}

/// Loads what a snapshot is taken with.
pub(super) fn load_iterators(ebpf: &mut Ebpf, btf: &Btf) -> Result<()> {
    for (name, over) in [("snapshot_tcp", "tcp"), ("snapshot_file", "task_file")] {
        let program: &mut Iter = program(ebpf, name)?;
        program.load(over, btf).map_err(loading(name))?;
    }
    Ok(())
}

fn fentry(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &'static str,
    function: &str,
    attached: &mut Attached,
) -> Result<()> {
    let program: &mut FEntry = program(ebpf, name)?;
    program.load(function, btf).map_err(loading(name))?;
    let link = program.attach().with_context(|| attaching(name))?;
    let link = program.take_link(link)?;
    attached.add(link, Some(program.fd()?))
}

fn fexit(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &'static str,
    function: &str,
    attached: &mut Attached,
) -> Result<()> {
    let program: &mut FExit = program(ebpf, name)?;
    program.load(function, btf).map_err(loading(name))?;
    let link = program.attach().with_context(|| attaching(name))?;
    let link = program.take_link(link)?;
    attached.add(link, Some(program.fd()?))
}

fn kprobe(
    ebpf: &mut Ebpf,
    name: &'static str,
    function: &str,
    attached: &mut Attached,
) -> Result<()> {
    let program: &mut KProbe = program(ebpf, name)?;
    program.load().map_err(loading(name))?;
    let link = program
        .attach(function, 0)
        .with_context(|| attaching(name))?;
    let link = program.take_link(link)?;
    attached.add(link, Some(program.fd()?))
}

fn tracepoint(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &'static str,
    tracepoint: &str,
    attached: &mut Attached,
) -> Result<()> {
    let program: &mut BtfTracePoint = program(ebpf, name)?;
    program.load(tracepoint, btf).map_err(loading(name))?;
    let link = program.attach().with_context(|| attaching(name))?;
    let link = program.take_link(link)?;
    attached.add(link, Some(program.fd()?))
}

fn raw_tracepoint(
    ebpf: &mut Ebpf,
    name: &'static str,
    tracepoint: &str,
    attached: &mut Attached,
) -> Result<()> {
    let program: &mut RawTracePoint = program(ebpf, name)?;
    program.load().map_err(loading(name))?;
    let link = program
        .attach(tracepoint)
        .with_context(|| attaching(name))?;
    let link = program.take_link(link)?;
    // What it misses is told with the next read: no loss.
    attached.add(link, None::<&ProgramFd>)
}

fn attaching(name: &str) -> String {
    format!("attaching {name}")
}
