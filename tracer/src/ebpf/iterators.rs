//! Looking at sockets and open files without attaching anything: two iterators, run when they are
//! read.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    programs::{Iter, iter::IterLink},
};

use super::{
    kernel::Kernel,
    load::{load, program},
    probes::Options,
    timewait,
    types::Types,
};

/// Where a look at the sockets comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotSource {
    /// The kernel's iterators over sockets and files.
    Iterators,
    /// `sock_diag`, and the descriptors in /proc.
    SockDiag,
}

impl SnapshotSource {
    /// The stable token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iterators => "iter",
            Self::SockDiag => "sock_diag",
        }
    }
}

/// How looks are to be taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct SnapshotOptions {
    /// From here, and from nowhere else.
    pub forced: Option<SnapshotSource>,
    /// A bit for each state whose sockets are left out.
    pub without: u32,
}

/// What a look is taken with.
pub trait Iterate {
    /// An iterator over the TCP sockets of the network namespace of whoever opens it.
    fn iterate_sockets(&mut self) -> Result<IterLink>;
    /// An iterator over the open files of all processes.
    fn iterate_files(&mut self) -> Result<IterLink>;
}

/// The iterators, loaded alone.
pub struct Iterators(Ebpf);

impl Iterators {
    /// Loads them; of the options only what concerns them counts.
    pub fn load(kernel: &Kernel, options: &Options) -> Result<Self> {
        let types = Types::resolve(kernel)?;
        types.snapshot.context("the kernel's BTF")?;
        let mut ebpf = load(EbpfLoader::new(), options, &types.globals)?;
        timewait::load_iterators(&mut ebpf, &types.btf)?;
        Ok(Self(ebpf))
    }
}

impl std::fmt::Debug for Iterators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iterators").finish_non_exhaustive()
    }
}

impl Iterate for Iterators {
    fn iterate_sockets(&mut self) -> Result<IterLink> {
        iterate(&mut self.0, "snapshot_tcp")
    }

    fn iterate_files(&mut self) -> Result<IterLink> {
        iterate(&mut self.0, "snapshot_file")
    }
}

/// Makes an iterator of a program that was loaded.
pub(super) fn iterate(ebpf: &mut Ebpf, name: &str) -> Result<IterLink> {
    let program: &mut Iter = program(ebpf, name)?;
    let link = program
        .attach()
        .with_context(|| format!("attaching {name}"))?;
    Ok(program.take_link(link)?)
}
