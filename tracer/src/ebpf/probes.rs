//! Loads and attaches the programs: the best rung that this kernel takes.

use std::{cell::LazyCell, fs::File, io::BufReader, thread};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, PerCpuArray, RingBuf},
    programs::{ProgramFd, RawTracePoint, TracePoint, iter::IterLink},
};
use aya_log::EbpfLogger;
use log::LevelFilter;
use tracer_common::{counters::Counters, filter::FILTER_WORDS, layout::TaskLayout};

use super::{
    attempt::{Attempt, impossible},
    btf::Btf,
    counters::{self, CounterMap},
    early,
    iterators::{Iterate, SnapshotOptions, SnapshotSource, iterate},
    kernel::Kernel,
    layout,
    load::{Globals, descriptor, hook, load, loading, program, take_map, verify_together},
    reach::Reach,
    selftest,
    timewait::{self, AcceptSource, Lives, TimewaitSource},
    tracefs,
    types::Types,
};
use crate::{decode::Decoder, engine::LostCount, filter::Filter, source::Account, stack::Symbols};

pub(super) const TRACEPOINT: &str = "inet_sock_set_state";

/// The kernel's symbols.
const KALLSYMS: &str = "/proc/kallsyms";

/// Where state changes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateSource {
    /// BTF tracepoint.
    TpBtf,
    /// Classic tracepoint.
    Tracepoint,
}

impl StateSource {
    /// The stable token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::Tracepoint => "tracepoint",
        }
    }
}

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the ring buffer; a power of two.
    pub ring_size: u32,
    /// The rung to use, and no other.
    pub forced: Option<StateSource>,
    /// Which hooks may tell of minisocks, the best first; none: nobody asks.
    pub timewait: Vec<TimewaitSource>,
    /// One of them must.
    pub timewait_forced: bool,
    /// What is wanted.
    pub filter: Filter,
    /// How the sockets that are there are looked at.
    pub snapshot: SnapshotOptions,
    /// Which diagnostics the kernel programs send.
    pub log_level: LevelFilter,
}

/// Links, and the programs whose skipped runs are a loss.
#[derive(Default)]
pub(super) struct Attached {
    links: Vec<Box<dyn Send>>,
    watched: Vec<ProgramFd>,
}

impl Attached {
    /// Attaches a program, until this is dropped.
    pub(super) fn hook(&mut self, ebpf: &mut Ebpf, name: &'static str, target: &str) -> Result<()> {
        self.links.push(hook(ebpf, name, target)?);
        Ok(())
    }

    /// Detaches them all, the first of them first: the others stand in for it.
    pub(super) fn detach(&mut self) {
        self.links.clear();
    }

    /// How often those that are watched were skipped.
    pub(super) fn skipped(&self) -> Result<u64> {
        self.watched.iter().map(counters::recursion_misses).sum()
    }

    /// Counts what a program is skipped for as a loss.
    pub(super) fn watch(&mut self, ebpf: &mut Ebpf, name: &str) -> Result<()> {
        self.watched.push(descriptor(ebpf, name)?);
        Ok(())
    }
}

/// The attached programs. Dropping them detaches.
pub struct Probes {
    ebpf: Ebpf,
    counters: CounterMap,
    /// The way out; gone when somebody took it.
    ring: Option<RingBuf<MapData>>,
    /// State changes, and what tells of minisocks and holders.
    links: Attached,
    others: Attached,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    source: StateSource,
    timewait: Option<TimewaitSource>,
    accept: Option<AcceptSource>,
    has_iterators: bool,
    snapshot: SnapshotOptions,
    symbols: Symbols,
    hz: Option<u32>,
    reach: Reach,
    knows_tasks: bool,
    ring_size: u32,
    attempts: Vec<Attempt>,
    /// The program that may be skipped, and the counters when all were attached.
    first: ProgramFd,
    baseline: Counters,
    /// Records that came while the hooks were tested, and how many of the test's own were dropped.
    early: Vec<Vec<u8>>,
    early_filtered: u64,
    /// Runs that nobody stood in for, until they were detached: while that goes on, some are there and some not.
    missed: Option<u64>,
    own: u64,
}

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes")
            .field("source", &self.source)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// The hooks for minisocks can't be had, or tell nothing: the next rung may.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct TimewaitUnavailable(anyhow::Error);

impl Probes {
    /// Tries the rungs from the best one down.
    pub fn attach(kernel: &Kernel, options: &Options) -> Result<Self> {
        let mut attempts = Vec::new();
        let wants = |source| options.forced.is_none_or(|forced| forced == source);
        let mut refused = Vec::new();
        if wants(StateSource::TpBtf) {
            let symbols = symbols(options);
            let types = Types::resolve(kernel);
            let has_casts = types.as_ref().is_ok_and(|t| t.globals.cast.is_some());
            let there = |reach: &Reach| *reach < Reach::Casts || has_casts;
            for reach in Reach::BEST_FIRST.into_iter().filter(there) {
                let rung = reach.rung();
                let types = match &types {
                    Ok(types) => types,
                    Err(error) => {
                        attempts.push(Attempt::failed(rung, error));
                        continue;
                    }
                };
                refused.clear();
                let best_first = options.timewait.iter().copied().map(Some);
                let none = (!options.timewait_forced).then_some(None);
                for timewait in best_first.chain(none) {
                    let tried = Self::attach_btf(types, options, reach, timewait, &symbols);
                    match (tried, timewait) {
                        (Ok(probes), _) => {
                            attempts.append(&mut refused);
                            return Ok(probes.after(attempts, rung));
                        }
                        (Err(error), Some(source)) if error.is::<TimewaitUnavailable>() => {
                            refused.push(Attempt::failed(source.name(), &error));
                        }
                        (Err(error), _) => {
                            attempts.push(Attempt::failed(rung, &error));
                            break;
                        }
                    }
                }
            }
        }
        let rung = "tracepoint:sock:inet_sock_set_state";
        if options.timewait_forced {
            if refused.is_empty() {
                refused.append(&mut attempts);
                if wants(StateSource::Tracepoint) {
                    let mute = anyhow!("it tells of no TIME_WAIT, and is asked for no samples");
                    refused.push(Attempt::failed(rung, &mute));
                }
            }
            return Err(impossible(
                "attaching to TIME_WAIT as --tw-source asks",
                &refused,
            ));
        }
        attempts.append(&mut refused);
        if wants(StateSource::Tracepoint) {
            match tracefs::with(|| Self::attach_classic(kernel, options)) {
                Ok(probes) => return Ok(probes.after(attempts, rung)),
                Err(error) => attempts.push(Attempt::failed(rung, &error)),
            }
        }
        Err(impossible("attaching to state changes", &attempts))
    }

    fn after(mut self, mut attempts: Vec<Attempt>, rung: &'static str) -> Self {
        attempts.append(&mut self.attempts);
        attempts.push(Attempt { rung, error: None });
        self.attempts = attempts;
        self
    }

    fn attach_btf(
        types: &Types,
        options: &Options,
        reach: Reach,
        timewait: Option<TimewaitSource>,
        symbols: &LazyCell<Symbols, impl FnOnce() -> Symbols>,
    ) -> Result<Self> {
        let mut globals = Globals {
            reach,
            ..types.globals
        };
        if let Some(source) = timewait {
            timewait::require(source, types).map_err(unavailable)?;
            globals.timewait_hook = source.hook();
        }
        let loader = EbpfLoader::new();
        if timewait == Some(TimewaitSource::Timer) {
            globals.timewait_handler = symbols.handler().ok_or_else(hidden)?;
        }
        let mut ebpf = load(loader, options, &globals)?;
        let btf = &types.btf;
        // What tells of minisocks is attached before what relies on it.
        let mut others = Attached::default();
        if let Some(source) = timewait {
            timewait::attach(&mut ebpf, btf, source, Lives::Told, &mut others)
                .map_err(unavailable)?;
        }
        // Loaded before any is attached, and attached in this order: each looks for the notes of
        // those before.
        let names = types.in_turn(["set_state", "set_state_twin", "set_state_last"]);
        verify_together(&mut ebpf, btf, &names, TRACEPOINT)?;
        let (accept, refused) = timewait::attach_accept(&mut ebpf, types, &mut others);
        let mut links = Attached::default();
        for name in &names {
            links.hook(&mut ebpf, name, TRACEPOINT)?;
        }
        let first = descriptor(&mut ebpf, names[0])?;
        let snapshot = match &types.snapshot {
            _ if options.snapshot.forced == Some(SnapshotSource::SockDiag) => None,
            Ok(()) => Some(timewait::load_iterators(&mut ebpf, btf)),
            Err(error) => Some(Err(error.clone().into())),
        };
        let mut probes = Self::attached(
            ebpf,
            (links, others),
            first,
            StateSource::TpBtf,
            &globals,
            options,
        )?;
        probes.accept = accept;
        probes.has_iterators = matches!(snapshot, Some(Ok(())));
        if let Some(Err(error)) = snapshot {
            let rung = "iter/tcp and iter/task_file";
            probes.attempts.push(Attempt::failed(rung, &error));
        }
        for (rung, error) in refused {
            probes.attempts.push(Attempt::failed(rung, &error));
        }
        if let Some(source) = timewait {
            probes.timewait = Some(source);
            if source != TimewaitSource::Sampling {
                probes.test_timewait()?;
            }
            probes.symbols = Symbols::clone(symbols);
        }
        probes.apply_filter(&options.filter)?;
        Ok(probes)
    }

    /// Lets the hooks for minisocks prove themselves.
    fn test_timewait(&mut self) -> Result<()> {
        let ring = self.ring.as_mut().context("the ring buffer is taken")?;
        match selftest::run(ring) {
            Ok(found) if (found.start && found.end) || found.refused => {
                self.early = found.foreign;
                self.own = found.own;
                self.hz = found.hz;
                Ok(())
            }
            Ok(found) => {
                let what = match (found.start, found.end) {
                    (false, false) => "neither the birth nor the end of a minisock",
                    (false, true) => "no birth of a minisock",
                    _ => "no end of a minisock",
                };
                let silent = anyhow!("attached, but the self-test saw {what}");
                Err(TimewaitUnavailable(silent).into())
            }
            Err(error) => {
                log::warn!("the hooks for TIME_WAIT could not be tested: {error:#}");
                Ok(())
            }
        }
    }

    /// The filter in two steps: the programs run already, and must not see half of it.
    fn apply_filter(&mut self, filter: &Filter) -> Result<()> {
        if !filter.has_kernel_part() {
            return Ok(());
        }
        let map = self.ebpf.map_mut("FILTER").context("no map FILTER")?;
        let mut map: Array<_, [u64; FILTER_WORDS]> = Array::try_from(map)?;
        let mut undecided = filter.kernel.clone();
        undecided.criteria = 0;
        for step in [&undecided, &filter.kernel] {
            map.set(0, step.words(), 0)
                .context("handing the filter over")?;
        }
        self.filter_early(filter)
    }

    /// Holds the filter against what came before the programs had it.
    fn filter_early(&mut self, filter: &Filter) -> Result<()> {
        let ring = self.ring.as_mut().context("the ring buffer is taken")?;
        while let Some(record) = ring.next() {
            self.early.push(record.to_vec());
        }
        let (before, decoder) = (self.early.len(), self.decoder());
        self.early
            .retain_mut(|record| early::sift(record, &decoder, filter));
        self.early_filtered = (before - self.early.len()) as u64;
        Ok(())
    }

    fn attach_classic(kernel: &Kernel, options: &Options) -> Result<Self> {
        let format = tracefs::format("sock", TRACEPOINT)?;
        // Without BTF the owner is not known, and everything else is.
        let bytes = kernel.btf.as_ref().ok();
        let task = bytes.and_then(|bytes| {
            let btf = Btf::parse(bytes).ok()?;
            layout::resolve_task(&btf).ok()
        });
        let globals = Globals {
            tracepoint: layout::resolve_tracepoint(&tracefs::fields(&format)?)?,
            task: task.unwrap_or_default(),
            ..Globals::default()
        };
        let mut ebpf = load(EbpfLoader::new(), options, &globals)?;
        let witness = "set_state_witness";
        let program_of_it: &mut RawTracePoint = program(&mut ebpf, witness)?;
        program_of_it.load().map_err(loading(witness))?;
        let classic: &mut TracePoint = program(&mut ebpf, "set_state_classic")?;
        classic.load().map_err(loading("set_state_classic"))?;
        let id = classic
            .attach("sock", TRACEPOINT)
            .context("attaching set_state_classic")?;
        let mut links = Attached::default();
        links.links.push(Box::new(classic.take_link(id)?));
        let first = descriptor(&mut ebpf, "set_state_classic")?;
        links.hook(&mut ebpf, witness, TRACEPOINT)?;
        links.watch(&mut ebpf, witness)?;
        let mut probes = Self::attached(
            ebpf,
            (links, Attached::default()),
            first,
            StateSource::Tracepoint,
            &globals,
            options,
        )?;
        probes.apply_filter(&options.filter)?;
        Ok(probes)
    }

    fn attached(
        mut ebpf: Ebpf,
        (links, others): (Attached, Attached),
        first: ProgramFd,
        source: StateSource,
        globals: &Globals,
        options: &Options,
    ) -> Result<Self> {
        let counters = take_map(&mut ebpf, "COUNTERS")?;
        let counters: CounterMap = PerCpuArray::try_from(counters)?;
        let logger = if options.log_level > LevelFilter::Warn {
            Some(EbpfLogger::init(&mut ebpf).context("reading the kernel programs' log")?)
        } else {
            None
        };
        let baseline = counters::sum(&counters)?;
        let ring = take_map(&mut ebpf, "EVENTS")?;
        let ring = RingBuf::try_from(ring).context("mapping the ring buffer")?;
        Ok(Self {
            ebpf,
            counters,
            ring: Some(ring),
            links,
            others,
            logger,
            source,
            timewait: None,
            accept: None,
            has_iterators: false,
            snapshot: options.snapshot,
            symbols: Symbols::default(),
            hz: None,
            reach: globals.reach,
            knows_tasks: globals.task != TaskLayout::default(),
            ring_size: options.ring_size,
            attempts: Vec::new(),
            first,
            baseline,
            early: Vec::new(),
            early_filtered: 0,
            missed: None,
            own: 0,
        })
    }

    /// Where state changes come from.
    pub fn source(&self) -> StateSource {
        self.source
    }

    /// What tells of minisocks.
    pub fn timewait(&self) -> Option<TimewaitSource> {
        self.timewait
    }

    /// What tells who accepts.
    pub fn accept(&self) -> Option<AcceptSource> {
        self.accept
    }

    /// Whether the iterators over sockets and files are loaded.
    pub fn has_iterators(&self) -> bool {
        self.has_iterators
    }

    /// How looks are to be taken.
    pub fn snapshot(&self) -> SnapshotOptions {
        self.snapshot
    }

    /// What the records of this kernel are read by.
    pub fn decoder(&self) -> Decoder {
        Decoder {
            symbols: self.symbols.clone(),
            hz: self.hz,
            sampled: self.timewait == Some(TimewaitSource::Sampling),
        }
    }

    /// Whether sockets have cookies.
    pub fn has_cookie(&self) -> bool {
        self.reach.has_cookies()
    }

    /// What the programs may call.
    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// Whether owners can be told.
    pub fn knows_tasks(&self) -> bool {
        self.knows_tasks
    }

    /// The rungs tried, the one in use last.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Bytes of the ring buffer.
    pub fn ring_size(&self) -> u32 {
        self.ring_size
    }

    /// The way out, once, and what came out of it already.
    pub fn take_ring(&mut self) -> Result<(RingBuf<MapData>, Vec<Vec<u8>>)> {
        let ring = self.ring.take().context("the ring buffer is taken")?;
        Ok((ring, std::mem::take(&mut self.early)))
    }

    /// Hands the kernel programs' diagnostics to the log.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// No more events from here on; counters can still be read.
    pub fn detach(&mut self) {
        self.missed = counters::settled(|| Ok(self.account()?.lost.recursion));
        self.links.detach();
        self.others.detach();
    }

    /// What was counted since everything was attached.
    pub fn account(&self) -> Result<Account> {
        // Before what was caught of it: else what is being caught now would look lost.
        let by_guard = match self.source {
            StateSource::TpBtf => counters::recursion_misses(&self.first)?,
            StateSource::Tracepoint => self.links.skipped()?,
        };
        let mut counters = counters::sum(&self.counters)?;
        counters.seen -= self.own;
        counters.submitted -= self.own + self.early_filtered;
        counters.filtered += self.early_filtered;
        let missed = || match self.source {
            StateSource::TpBtf => by_guard.saturating_sub(counters.twin_caught),
            StateSource::Tracepoint => {
                // The witness has a guard of its own, and says what it missed.
                let seen = counters.witness_runs - self.baseline.witness_runs + by_guard;
                let ran = counters.tracepoint_runs - self.baseline.tracepoint_runs;
                seen.saturating_sub(ran)
            }
        };
        let recursion = self.missed.unwrap_or_else(missed);
        Ok(Account {
            counters,
            skipped: recursion + counters.twin_caught,
            timewait_skipped: self.others.skipped()?,
            lost: LostCount {
                ring_full: counters.ring_full,
                recursion,
                map_full: counters.map_full,
                decode: 0,
                recording: 0,
            },
        })
    }
}

impl Iterate for Probes {
    fn iterate_sockets(&mut self) -> Result<IterLink> {
        iterate(&mut self.ebpf, "snapshot_tcp")
    }

    fn iterate_files(&mut self) -> Result<IterLink> {
        iterate(&mut self.ebpf, "snapshot_file")
    }
}

/// The kernel's symbols, if any rung is to be read by them: read while programs are loaded, which takes
/// as long.
fn symbols(options: &Options) -> LazyCell<Symbols, impl FnOnce() -> Symbols> {
    let by_stack = |source: &TimewaitSource| *source != TimewaitSource::Sampling;
    let read = || {
        let read = File::open(KALLSYMS).and_then(|file| Symbols::read(BufReader::new(file)));
        read.unwrap_or_else(|error| {
            log::warn!("'{KALLSYMS}': {error}; why a TIME_WAIT ended is not known");
            Symbols::default()
        })
    };
    let reading = (options.timewait.iter().any(by_stack)).then(|| thread::spawn(read));
    LazyCell::new(move || reading.and_then(|t| t.join().ok()).unwrap_or_default())
}

fn hidden() -> TimewaitUnavailable {
    TimewaitUnavailable(anyhow!(
        "the address of tw_timer_handler is hidden (kernel.kptr_restrict, or no CAP_SYSLOG)"
    ))
}

fn unavailable(error: impl Into<anyhow::Error>) -> TimewaitUnavailable {
    TimewaitUnavailable(error.into())
}
