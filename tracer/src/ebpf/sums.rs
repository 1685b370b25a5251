//! The kernel programs that add up by themselves and stream nothing: loaded, attached, read.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, PerCpuArray},
    programs::{ProgramFd, iter::IterLink},
};
use log::LevelFilter;
use tracer_common::{
    buckets::{BUCKET_WORDS, since},
    filter::FILTER_WORDS,
    frames::FRAMES_WORDS,
    sums::{SUMS_WORDS, Sums},
};

use super::{
    counters::{self, CounterMap},
    iterators::{Iterate, iterate},
    kernel::Kernel,
    load::{Globals, STATES, descriptor, load, take_map, verify, verify_together},
    probes::{Attached, Options, Probes, StateSource, TRACEPOINT},
    reach::Reach,
    timewait::{self, Lives, TimewaitSource},
    types::Types,
};
use crate::{
    engine::{Account, AddedUp, LostCount, TcpState},
    error::Failure,
    stack::Symbols,
};

/// The ring buffer, which nobody writes to.
const NO_RING: u32 = 1 << 12;

/// How to load.
#[derive(Clone, Debug)]
pub struct SumOptions {
    /// As for those that stream.
    pub options: Options,
    /// Connections that are followed at once, those in TIME_WAIT and listeners among them.
    pub connections: u32,
}

/// The attached programs. Dropping them detaches.
pub struct SumProbes {
    ebpf: Ebpf,
    counters: CounterMap,
    sums: PerCpuArray<MapData, [u64; SUMS_WORDS]>,
    dwells: PerCpuArray<MapData, [u64; BUCKET_WORDS]>,
    /// What each CPU had counted of each state when it was read last.
    read: Vec<Vec<Vec<u64>>>,
    links: Attached,
    minisocks: Attached,
    first: ProgramFd,
    timewait: Option<TimewaitSource>,
    has_iterator: bool,
    total: AddedUp,
    /// As of the programs that stream.
    missed: Option<u64>,
}

impl std::fmt::Debug for SumProbes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SumProbes")
            .field("timewait", &self.timewait)
            .finish_non_exhaustive()
    }
}

impl SumProbes {
    /// Attaches them, on the rungs that prove themselves.
    pub fn attach(kernel: &Kernel, wanted: &SumOptions) -> Result<Self> {
        let rungs = Rungs::find(kernel, &wanted.options)?;
        let types = Types::resolve(kernel)?;
        let globals = Globals {
            reach: rungs.reach,
            timewait_hook: rungs.timewait.map_or(0, TimewaitSource::hook),
            timewait_handler: rungs.symbols.handler().unwrap_or(0),
            connections: wanted.connections,
            hz: rungs.hz.unwrap_or(0),
            ..types.globals
        };
        let options = Options {
            ring_size: NO_RING,
            log_level: LevelFilter::Off,
            ..wanted.options.clone()
        };
        let mut ebpf = load(EbpfLoader::new(), &options, &globals)?;
        prepare(&mut ebpf, &options, &rungs.symbols)?;
        let mut minisocks = Attached::default();
        if let Some(source) = rungs.timewait {
            timewait::attach(
                &mut ebpf,
                &types.btf,
                source,
                Lives::AddedUp,
                &mut minisocks,
            )?;
        }
        // As those that stream: each looks for the notes of those before.
        let names = types.in_turn(["sum_state", "sum_state_twin", "sum_state_last"]);
        verify_together(&mut ebpf, &types.btf, &names, TRACEPOINT)?;
        let found = types.snapshot.clone().map_err(anyhow::Error::from);
        let found = found.and_then(|()| verify(&mut ebpf, &types.btf, "sum_found", "tcp"));
        if let Err(error) = &found {
            log::debug!("iter/tcp can't be used: {error:#}");
        }
        let mut links = Attached::default();
        for name in &names {
            links.hook(&mut ebpf, name, TRACEPOINT)?;
        }
        let map = |ebpf: &mut Ebpf, name| take_map(ebpf, name);
        Ok(Self {
            counters: PerCpuArray::try_from(map(&mut ebpf, "COUNTERS")?)?,
            sums: PerCpuArray::try_from(map(&mut ebpf, "SUMS")?)?,
            dwells: PerCpuArray::try_from(map(&mut ebpf, "DWELLS")?)?,
            read: vec![Vec::new(); STATES as usize],
            first: descriptor(&mut ebpf, names[0])?,
            links,
            minisocks,
            timewait: rungs.timewait,
            has_iterator: found.is_ok(),
            total: AddedUp::default(),
            missed: None,
            ebpf,
        })
    }

    /// What tells of minisocks.
    pub fn timewait(&self) -> Option<TimewaitSource> {
        self.timewait
    }

    /// Whether what was there before can be taken in.
    pub fn has_iterator(&self) -> bool {
        self.has_iterator
    }

    /// What was added up so far.
    pub fn read(&mut self) -> Result<&AddedUp> {
        let mut sums = Sums::default();
        for values in self.sums.iter() {
            for words in values.context("reading what was added up")?.iter() {
                sums.add(&Sums::from_words(words));
            }
        }
        for state in TcpState::ALL.into_iter().take(self.read.len()) {
            let before = &self.total.sums.states[state.index()];
            if sums.states[state.index()].dwells != before.dwells {
                self.read_dwells(state)?;
            }
        }
        self.total.sums = sums;
        Ok(&self.total)
    }

    fn read_dwells(&mut self, state: TcpState) -> Result<()> {
        let index = u32::try_from(state.index())?;
        let values = self.dwells.get(&index, 0).context("reading dwells")?;
        let last = &mut self.read[state.index()];
        last.resize_with(values.len(), || vec![0; BUCKET_WORDS]);
        for (now, before) in values.iter().zip(last) {
            let words = now.iter().zip(before.iter()).enumerate();
            for (word, (now, before)) in words.filter(|(_, (now, before))| now != before) {
                let [short, long] = since(*now, *before);
                self.total.count(state, word, short);
                self.total.count(state, word + BUCKET_WORDS, long);
            }
            before.copy_from_slice(now);
        }
        Ok(())
    }

    /// Nothing more is added from here on; it can still be read.
    pub fn detach(&mut self) {
        self.missed = counters::settled(|| Ok(self.account()?.lost.recursion));
        self.links.detach();
        self.minisocks.detach();
    }

    /// What was counted since they were attached.
    pub fn account(&self) -> Result<Account> {
        // As of the programs that stream.
        let by_guard = counters::recursion_misses(&self.first)?;
        let counters = counters::sum(&self.counters)?;
        let missed = || by_guard.saturating_sub(counters.twin_caught);
        let recursion = self.missed.unwrap_or_else(missed);
        Ok(Account {
            counters,
            skipped: recursion + counters.twin_caught,
            timewait_skipped: self.minisocks.skipped()?,
            lost: LostCount {
                recursion,
                map_full: counters.map_full,
                ..LostCount::default()
            },
        })
    }
}

impl Iterate for SumProbes {
    fn iterate_sockets(&mut self) -> Result<IterLink> {
        iterate(&mut self.ebpf, "sum_found")
    }

    fn iterate_files(&mut self) -> Result<IterLink> {
        anyhow::bail!("who holds a socket is not added up")
    }
}

/// What the kernel takes, as it was shown by the programs that stream.
struct Rungs {
    reach: Reach,
    timewait: Option<TimewaitSource>,
    symbols: Symbols,
    hz: Option<u32>,
}

impl Rungs {
    fn find(kernel: &Kernel, options: &Options) -> Result<Self> {
        let impossible = |because: String| Failure::Impossible {
            what: "--aggregate".to_owned(),
            because,
            mend: "run it without: that takes any kernel since 5.8".to_owned(),
        };
        if options.forced == Some(StateSource::Tracepoint) {
            let why = "the classic tracepoint (--state-source) is too poor for it";
            return Err(impossible(why.to_owned()).into());
        }
        let mut probes = Probes::attach(kernel, options)?;
        if probes.source() != StateSource::TpBtf {
            let mut attempts = probes.attempts().iter().rev();
            let failed = attempts.find_map(|a| a.error.as_deref());
            let why = failed.unwrap_or("the BTF tracepoint can't be used");
            return Err(impossible(why.to_owned()).into());
        }
        probes.detach();
        let decoder = probes.decoder();
        Ok(Self {
            reach: probes.reach(),
            // Looks at minisocks are no hook: they tell of nothing as it happens.
            timewait: probes
                .timewait()
                .filter(|source| *source != TimewaitSource::Sampling),
            symbols: decoder.symbols,
            hz: decoder.hz,
        })
    }
}

/// Hands over what the programs read: they run only after that.
fn prepare(ebpf: &mut Ebpf, options: &Options, symbols: &Symbols) -> Result<()> {
    let map = ebpf.map_mut("FILTER").context("no map FILTER")?;
    let mut map: Array<_, [u64; FILTER_WORDS]> = Array::try_from(map)?;
    let words = options.filter.kernel.words();
    map.set(0, words, 0).context("handing the filter over")?;
    let Some(frames) = symbols.frames() else {
        log::warn!(
            "why TIME_WAIT ends can't be told: this kernel has its functions in too many pieces"
        );
        return Ok(());
    };
    let map = ebpf.map_mut("FRAMES").context("no map FRAMES")?;
    let mut map: Array<_, [u64; FRAMES_WORDS]> = Array::try_from(map)?;
    map.set(0, frames.words(), 0)
        .context("handing the kernel's functions over")
}
