//! Loads and attaches the programs: the best rung that this kernel takes.

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Btf as AyaBtf, Ebpf, EbpfLoader, Endianness,
    maps::{Array, MapData, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, ProgramError, ProgramFd, RawTracePoint, TracePoint},
};
use aya_log::EbpfLogger;
use log::LevelFilter;
use tracer_common::{
    counters::Counters,
    filter::FILTER_WORDS,
    layout::{SockLayout, TaskLayout, TracepointLayout},
};

use super::{
    btf::Btf,
    counters::{self, CounterMap},
    kernel::Kernel,
    layout, object, tracefs,
};
use crate::{engine::LostCount, error::Failure, filter::Filter, source::Account};

const TRACEPOINT: &str = "inet_sock_set_state";

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
    /// What is wanted.
    pub filter: Filter,
    /// Which diagnostics the kernel programs send.
    pub log_level: LevelFilter,
}

/// A rung that was tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Which.
    pub rung: &'static str,
    /// What went wrong; `None`: it is the one in use.
    pub error: Option<String>,
}

/// The attached programs. Dropping them detaches.
pub struct Probes {
    ebpf: Ebpf,
    counters: CounterMap,
    links: Vec<Box<dyn Send>>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    source: StateSource,
    has_cookie: bool,
    knows_tasks: bool,
    ring_size: u32,
    attempts: Vec<Attempt>,
    /// The program that may be skipped, and the counters when all were attached.
    first: ProgramFd,
    baseline: Counters,
}

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes")
            .field("source", &self.source)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// What a rung hands to the programs.
#[derive(Clone, Copy, Debug, Default)]
struct Globals {
    sock: SockLayout,
    task: TaskLayout,
    tracepoint: TracepointLayout,
    has_cookie: bool,
}

impl Probes {
    /// Tries the rungs from the best one down.
    pub fn attach(kernel: &Kernel, options: &Options) -> Result<Self> {
        let mut attempts = Vec::new();
        let wants = |source| options.forced.is_none_or(|forced| forced == source);
        if wants(StateSource::TpBtf) {
            for has_cookie in [true, false] {
                let rung = if has_cookie {
                    "tp_btf:inet_sock_set_state with cookie"
                } else {
                    "tp_btf:inet_sock_set_state"
                };
                match Self::attach_btf(kernel, options, has_cookie) {
                    Ok(probes) => return Ok(probes.after(attempts, rung)),
                    Err(error) => attempts.push(Attempt::failed(rung, &error)),
                }
            }
        }
        if wants(StateSource::Tracepoint) {
            let rung = "tracepoint:sock:inet_sock_set_state";
            match tracefs::with(|| Self::attach_classic(kernel, options)) {
                Ok(probes) => return Ok(probes.after(attempts, rung)),
                Err(error) => attempts.push(Attempt::failed(rung, &error)),
            }
        }
        let tried: Vec<String> = attempts
            .iter()
            .map(|a| format!("{}: {}", a.rung, a.error.as_deref().unwrap_or_default()))
            .collect();
        Err(Failure::Impossible {
            what: "attaching to state changes".to_owned(),
            because: tried.join("; "),
            mend: "see 'tcpdwell check' for what this kernel offers".to_owned(),
        }
        .into())
    }

    fn after(mut self, mut attempts: Vec<Attempt>, rung: &'static str) -> Self {
        attempts.push(Attempt { rung, error: None });
        self.attempts = attempts;
        self
    }

    fn attach_btf(kernel: &Kernel, options: &Options, has_cookie: bool) -> Result<Self> {
        let bytes = kernel.btf.as_ref().map_err(|why| anyhow!("{why}"))?;
        let btf = Btf::parse(bytes).context("the kernel's BTF")?;
        let globals = Globals {
            sock: layout::resolve_sock(&btf).context("the kernel's BTF")?,
            task: layout::resolve_task(&btf).context("the kernel's BTF")?,
            has_cookie,
            ..Globals::default()
        };
        let mut ebpf = load(options, &globals)?;
        let btf = AyaBtf::parse(bytes, Endianness::default()).context("the kernel's BTF")?;
        // Both are loaded before either is attached, and the twin after the first: it looks for
        // the first one's note.
        let names = ["set_state", "set_state_twin"];
        for name in names {
            let program: &mut BtfTracePoint = program(&mut ebpf, name)?;
            program.load(TRACEPOINT, &btf).map_err(loading(name))?;
        }
        let mut links: Vec<Box<dyn Send>> = Vec::new();
        for name in names {
            let program: &mut BtfTracePoint = program(&mut ebpf, name)?;
            let id = program
                .attach()
                .with_context(|| format!("attaching {name}"))?;
            links.push(Box::new(program.take_link(id)?));
        }
        let first: &mut BtfTracePoint = program(&mut ebpf, names[0])?;
        let first = first.fd()?.try_clone()?;
        Self::attached(ebpf, links, first, StateSource::TpBtf, &globals, options)
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
        let mut ebpf = load(options, &globals)?;
        let witness: &mut RawTracePoint = program(&mut ebpf, "set_state_witness")?;
        witness.load().map_err(loading("set_state_witness"))?;
        let classic: &mut TracePoint = program(&mut ebpf, "set_state_classic")?;
        classic.load().map_err(loading("set_state_classic"))?;
        let id = classic
            .attach("sock", TRACEPOINT)
            .context("attaching set_state_classic")?;
        let mut links: Vec<Box<dyn Send>> = vec![Box::new(classic.take_link(id)?)];
        let first = classic.fd()?.try_clone()?;
        let witness: &mut RawTracePoint = program(&mut ebpf, "set_state_witness")?;
        let id = witness
            .attach(TRACEPOINT)
            .context("attaching set_state_witness")?;
        links.push(Box::new(witness.take_link(id)?));
        Self::attached(
            ebpf,
            links,
            first,
            StateSource::Tracepoint,
            &globals,
            options,
        )
    }

    fn attached(
        mut ebpf: Ebpf,
        links: Vec<Box<dyn Send>>,
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
        Ok(Self {
            ebpf,
            counters,
            links,
            logger,
            source,
            has_cookie: globals.has_cookie,
            knows_tasks: globals.task != TaskLayout::default(),
            ring_size: options.ring_size,
            attempts: Vec::new(),
            first,
            baseline,
        })
    }

    /// Where state changes come from.
    pub fn source(&self) -> StateSource {
        self.source
    }

    /// Whether sockets have cookies.
    pub fn has_cookie(&self) -> bool {
        self.has_cookie
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

    /// The way out, once.
    pub fn take_ring(&mut self) -> Result<RingBuf<MapData>> {
        let map = take_map(&mut self.ebpf, "EVENTS")?;
        RingBuf::try_from(map).context("mapping the ring buffer")
    }

    /// Hands the kernel programs' diagnostics to the log.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// No more events from here on; counters can still be read.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// What was counted since everything was attached.
    pub fn account(&self) -> Result<Account> {
        let counters = counters::sum(&self.counters)?;
        let recursion = match self.source {
            StateSource::TpBtf => {
                counters::recursion_misses(&self.first)?.saturating_sub(counters.twin_caught)
            }
            StateSource::Tracepoint => {
                let seen = counters.witness_runs - self.baseline.witness_runs;
                let ran = counters.tracepoint_runs - self.baseline.tracepoint_runs;
                seen.saturating_sub(ran)
            }
        };
        Ok(Account {
            counters,
            lost: LostCount {
                ring_full: counters.ring_full,
                recursion,
                map_full: counters.map_full,
                decode: 0,
            },
        })
    }
}

impl Attempt {
    fn failed(rung: &'static str, error: &anyhow::Error) -> Self {
        Self {
            rung,
            error: Some(format!("{error:#}")),
        }
    }
}

fn load(options: &Options, globals: &Globals) -> Result<Ebpf> {
    let (sock, task) = (globals.sock.words(), globals.task.words());
    let tracepoint = globals.tracepoint.words();
    let has_cookie = u32::from(globals.has_cookie);
    let has_filter = u32::from(options.filter.has_kernel_part());
    let level = if options.log_level > LevelFilter::Warn {
        options.log_level as u8
    } else {
        0
    };
    let mut ebpf = EbpfLoader::new()
        .override_global("SOCK", &sock[..], true)
        .override_global("TASK", &task[..], true)
        .override_global("TRACEPOINT", &tracepoint[..], true)
        .override_global("HAS_COOKIE", &has_cookie, true)
        .override_global("HAS_FILTER", &has_filter, true)
        .override_global("AYA_LOG_LEVEL", &level, true)
        .map_max_entries("EVENTS", options.ring_size)
        .load(object::bytes())
        .context("creating the maps")?;
    if options.filter.has_kernel_part() {
        let map = ebpf.map_mut("FILTER").context("no map FILTER")?;
        let mut map: Array<_, [u64; FILTER_WORDS]> = Array::try_from(map)?;
        map.set(0, options.filter.kernel.words(), 0)
            .context("handing the filter over")?;
    }
    Ok(ebpf)
}

fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map> {
    ebpf.take_map(name)
        .with_context(|| format!("the object has no map {name}"))
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// What the verifier says takes pages: its last words are enough, and `-v` shows all.
fn loading(name: &'static str) -> impl FnOnce(ProgramError) -> anyhow::Error {
    move |error| match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            log::debug!("the verifier on {name}:\n{log}");
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
