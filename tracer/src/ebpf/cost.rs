//! What programs cost the kernel: run time, run count and skipped runs of any loaded program.
//!
//! For `cargo xtask bench`. The kernel counts run time only while somebody asks for it (5.8,
//! `BPF_ENABLE_STATS`), and the asking costs each run some 40 ns: the empty program shows how much.

use std::{
    convert::Infallible,
    os::fd::OwnedFd,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::RingBuf,
    programs::{BtfTracePoint, ProgramInfo, loaded_programs},
    sys::{Stats, enable_stats},
};

use super::{counters, kernel::Kernel, load, object, probes::TRACEPOINT, types::Types};

/// How often a yardstick's ring buffer is emptied: as `source::live` does it.
const BATCH_DELAY: Duration = Duration::from_millis(40);

/// The kernel counts run times as long as this lives.
#[derive(Debug)]
pub struct RunStats {
    _held: OwnedFd,
}

impl RunStats {
    /// Switches the counting on.
    pub fn enable() -> Result<Self> {
        let held = enable_stats(Stats::RunTime).context("switching BPF run statistics on")?;
        Ok(Self { _held: held })
    }
}

/// What one program did since it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramCost {
    /// Never reused by the kernel.
    pub id: u32,
    /// At most 15 bytes of its name.
    pub name: String,
    /// Runs while the counting was on.
    pub runs: u64,
    /// Time in these, the cost of counting included.
    pub time: Duration,
    /// Runs skipped because the program was running on that CPU already. Always counted.
    pub skipped: u64,
}

/// All programs loaded now, whoever loaded them.
pub fn programs() -> Result<Vec<ProgramCost>> {
    let mut found = Vec::new();
    for info in loaded_programs() {
        let info = info.context("listing the loaded BPF programs")?;
        // One that was unloaded since it was listed is not of interest.
        found.extend(cost(&info).ok());
    }
    Ok(found)
}

fn cost(info: &ProgramInfo) -> Result<ProgramCost> {
    let fd = info.fd()?;
    Ok(ProgramCost {
        id: info.id(),
        name: String::from_utf8_lossy(info.name()).into_owned(),
        runs: info.run_count(),
        time: info.run_time(),
        skipped: counters::recursion_misses(&fd)?,
    })
}

/// Programs that ours are measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    /// Does nothing.
    Empty,
    /// Tells that something changed, and when: the clock, and a line in the ring buffer, which is emptied as
    /// a live trace does it.
    Least,
    /// A record of 64 bytes about the socket and the task, by helpers: see `probe::yardstick` of the
    /// kernel programs.
    Lean,
}

impl Yardstick {
    const fn program(self) -> &'static str {
        match self {
            Self::Empty => "set_state_empty",
            Self::Least => "set_state_least",
            Self::Lean => "set_state_lean",
        }
    }

    /// Attaches it where ours are, until what comes back is dropped.
    pub fn attach(self) -> Result<AttachedYardstick> {
        let types = Types::resolve(&Kernel::look())?;
        let sock = types.globals.sock.words();
        let mut ebpf = EbpfLoader::new()
            .override_global("SOCK", &sock[..], true)
            .load(&object::bytes(None))
            .context("creating the maps")?;
        let program: &mut BtfTracePoint = load::program(&mut ebpf, self.program())?;
        program
            .load(TRACEPOINT, &types.btf)
            .map_err(load::loading(self.program()))?;
        program
            .attach()
            .with_context(|| format!("attaching {}", self.program()))?;
        let reader = match self {
            Self::Empty => None,
            Self::Least | Self::Lean => Some(Reader::start(&mut ebpf)?),
        };
        Ok(AttachedYardstick {
            _ebpf: ebpf,
            reader,
        })
    }
}

/// Empties a ring buffer, and throws away what was in it.
struct Reader {
    thread: JoinHandle<()>,
    /// Nothing is ever sent: who drops it ends the thread.
    end: Sender<Infallible>,
}

impl Reader {
    fn start(ebpf: &mut Ebpf) -> Result<Self> {
        let ring = RingBuf::try_from(load::take_map(ebpf, "EVENTS")?);
        let mut ring = ring.context("mapping the ring buffer")?;
        let (end, ended) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("yardstick".to_owned())
            .spawn(move || {
                while ended.recv_timeout(BATCH_DELAY) == Err(RecvTimeoutError::Timeout) {
                    while ring.next().is_some() {}
                }
            })
            .context("starting the thread that empties the ring buffer")?;
        Ok(Self { thread, end })
    }
}

/// See [`Yardstick::attach`].
pub struct AttachedYardstick {
    _ebpf: Ebpf,
    reader: Option<Reader>,
}

impl Drop for AttachedYardstick {
    fn drop(&mut self) {
        if let Some(Reader { thread, end }) = self.reader.take() {
            drop(end);
            // It can't fail, and nobody is here to be told.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for AttachedYardstick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttachedYardstick").finish_non_exhaustive()
    }
}
