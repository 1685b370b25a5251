//! The object and what it is given before it is loaded: read-only globals, sizes of maps.

use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{Program, ProgramError, ProgramFd},
};
use log::LevelFilter;
use tracer_common::{
    layout::{
        RegistersLayout, SnapshotLayout, SockLayout, TaskLayout, TimewaitLayout, TracepointLayout,
    },
    state::CLOSING,
    timewait::end_depth,
};

use super::{
    object::{self, Cast},
    probes::Options,
    reach::Reach,
};

/// What a rung hands to the programs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Globals {
    pub sock: SockLayout,
    pub task: TaskLayout,
    pub tracepoint: TracepointLayout,
    pub registers: RegistersLayout,
    pub timewait: TimewaitLayout,
    pub snapshot: SnapshotLayout,
    pub timewait_hook: u32,
    pub timewait_handler: u64,
    pub reach: Reach,
    /// What [`Reach::Casts`] takes; `None`: the kernel has it not.
    pub cast: Option<Cast>,
    /// For what is added up in the kernel: how many connections are followed at once; 0: none, it
    /// streams.
    pub connections: u32,
    /// The same: jiffies in a second; 0: not known.
    pub hz: u32,
}

/// How many frames of a minisock's end are asked for.
const END_DEPTH: u32 = end_depth(cfg!(target_arch = "x86_64"));

/// Programs that count, each for itself: `COUNTING` of the kernel programs.
const PROGRAMS: u32 = 9;

/// States that somebody stays in: the last is CLOSING.
pub(super) const STATES: u32 = CLOSING as u32 + 1;

/// The object, its maps made, nothing loaded yet. Making the loader reads and parses the kernel's BTF: where
/// something is waited for, the caller does it meanwhile.
pub(super) fn load(loader: EbpfLoader<'_>, options: &Options, globals: &Globals) -> Result<Ebpf> {
    let (sock, task) = (globals.sock.words(), globals.task.words());
    let tracepoint = globals.tracepoint.words();
    let registers = globals.registers.words();
    let has_cookie = u32::from(globals.reach.has_cookies());
    let cast = globals.cast.filter(|_| globals.reach >= Reach::Casts);
    let cast_to = cast.map_or(0, |cast| cast.to);
    let has_filter = u32::from(options.filter.has_kernel_part());
    let level = if options.log_level > LevelFilter::Warn {
        options.log_level as u8
    } else {
        0
    };
    let timewait = globals.timewait.words();
    let snapshot = globals.snapshot.words();
    let adds_up = globals.connections > 0;
    let entries = |count: u32| if adds_up { count } else { 1 };
    // For as long as what it is given here.
    let mut loader: EbpfLoader<'_> = loader;
    loader
        .override_global("SOCK", &sock[..], true)
        .override_global("TASK", &task[..], true)
        .override_global("TRACEPOINT", &tracepoint[..], true)
        .override_global("REGISTERS", &registers[..], true)
        .override_global("HAS_COOKIE", &has_cookie, true)
        // The helpers came with 5.12 and 5.11: one rung.
        .override_global("HAS_TASK_BTF", &has_cookie, true)
        .override_global("CAST_TO", &cast_to, true)
        .override_global("TIMEWAIT", &timewait[..], true)
        .override_global("SNAPSHOT", &snapshot[..], true)
        .override_global("SNAPSHOT_WITHOUT", &options.snapshot.without, true)
        .override_global("TIMEWAIT_HOOK", &globals.timewait_hook, true)
        .override_global("END_DEPTH", &END_DEPTH, true)
        .override_global("TIMEWAIT_HANDLER", &globals.timewait_handler, true)
        .override_global("JIFFIES_PER_SECOND", &globals.hz, true)
        .override_global("HAS_FILTER", &has_filter, true)
        .override_global("AYA_LOG_LEVEL", &level, true)
        .map_max_entries("EVENTS", options.ring_size)
        .map_max_entries("LIVES", entries(globals.connections))
        .map_max_entries("SUMS", entries(PROGRAMS))
        .map_max_entries("DWELLS", entries(STATES))
        .load(&object::bytes(cast))
        .context("creating the maps")
}

/// A map, to keep.
pub(super) fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map> {
    ebpf.take_map(name)
        .with_context(|| format!("the object has no map {name}"))
}

/// A program of the object, as what it is.
pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    Ok(any_program(ebpf, name)?.try_into()?)
}

/// Hands a program to the verifier. `target`: the function, tracepoint or kind of object that it is
/// for; what its type does not need is ignored.
pub(super) fn verify(ebpf: &mut Ebpf, btf: &Btf, name: &'static str, target: &str) -> Result<()> {
    verify_program(any_program(ebpf, name)?, btf, name, target)
}

/// The same for several at once: the verifier takes most of what a start takes, and the kernel runs it
/// for each thread by itself.
pub(super) fn verify_together(
    ebpf: &mut Ebpf,
    btf: &Btf,
    names: &[&'static str],
    target: &str,
) -> Result<()> {
    let programs = ebpf.programs_mut().filter_map(|(name, program)| {
        let known = names.iter().find(|known| **known == name)?;
        Some((*known, program))
    });
    let programs: Vec<_> = programs.collect();
    if programs.len() < names.len() {
        bail!("the object has not all of {}", names.join(", "));
    }
    thread::scope(|scope| {
        let threads: Vec<_> = programs
            .into_iter()
            .map(|(name, program)| scope.spawn(move || verify_program(program, btf, name, target)))
            .collect();
        let verified = threads.into_iter().map(|thread| {
            let died = |_| Err(anyhow!("handing programs to the verifier: a thread died"));
            thread.join().unwrap_or_else(died)
        });
        // All are waited for.
        verified.collect::<Vec<Result<()>>>().into_iter().collect()
    })
}

fn verify_program(
    program: &mut Program,
    btf: &Btf,
    name: &'static str,
    target: &str,
) -> Result<()> {
    match program {
        Program::FEntry(program) => program.load(target, btf),
        Program::FExit(program) => program.load(target, btf),
        Program::BtfTracePoint(program) => program.load(target, btf),
        Program::Iter(program) => program.load(target, btf),
        Program::KProbe(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        _ => bail!("{name} is of a type that nobody attaches"),
    }
    .map_err(loading(name))
}

/// Attaches a program that was verified to `target`.
pub(super) fn hook(ebpf: &mut Ebpf, name: &'static str, target: &str) -> Result<Box<dyn Send>> {
    fn kept<L: Send + 'static>(link: L) -> Box<dyn Send> {
        Box::new(link)
    }
    match any_program(ebpf, name)? {
        Program::FEntry(p) => p.attach().and_then(|id| p.take_link(id)).map(kept),
        Program::FExit(p) => p.attach().and_then(|id| p.take_link(id)).map(kept),
        Program::BtfTracePoint(p) => p.attach().and_then(|id| p.take_link(id)).map(kept),
        Program::KProbe(p) => p.attach(target, 0).and_then(|id| p.take_link(id)).map(kept),
        Program::RawTracePoint(p) => p.attach(target).and_then(|id| p.take_link(id)).map(kept),
        _ => bail!("{name} is of a type that nobody attaches"),
    }
    .with_context(|| format!("attaching {name}"))
}

/// The descriptor of a program that was verified.
pub(super) fn descriptor(ebpf: &mut Ebpf, name: &str) -> Result<ProgramFd> {
    Ok(any_program(ebpf, name)?.fd()?.try_clone()?)
}

fn any_program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program> {
    ebpf.program_mut(name)
        .with_context(|| format!("the object has no program {name}"))
}

/// What the verifier says takes pages: its last words are enough, and `-v` shows all.
pub(super) fn loading(name: &'static str) -> impl FnOnce(ProgramError) -> anyhow::Error {
    move |error| match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            if !log.trim().is_empty() {
                log::debug!("the verifier on {name}:\n{log}");
            }
            // Its statistics come after its words.
            let statistics = ["processed", "stack depth", "verification time"];
            let words = log
                .lines()
                .rev()
                .filter(|l| !statistics.iter().any(|s| l.starts_with(s)))
                .find(|l| !l.trim().is_empty())
                .unwrap_or("it said nothing")
                .to_owned();
            anyhow!("loading {name}: {io_error} (verifier: {words})")
        }
        other => anyhow!(other).context(format!("loading {name}")),
    }
}
