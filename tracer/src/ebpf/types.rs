//! The kernel's type information, and what the programs are told of it: looked up once, however many
//! rungs are tried.

use anyhow::{Context as _, Result, anyhow};
use aya::Endianness;

use super::{
    btf::{Btf, BtfError},
    kernel::Kernel,
    layout,
    load::Globals,
    object::Cast,
};

/// See the module.
pub(super) struct Types {
    /// As aya wants it, to load programs by.
    pub btf: aya::Btf,
    /// With the offsets; what could not be found is zero.
    pub globals: Globals,
    /// Whether minisocks can be read.
    pub timewait: Result<(), BtfError>,
    /// Whether a snapshot can be taken.
    pub snapshot: Result<(), BtfError>,
    /// Whether kprobes can be read.
    pub registers: Result<(), BtfError>,
    /// See [`Kernel::preempts_tracepoints`].
    preempts: bool,
    /// How many arguments `inet_csk_accept` takes.
    pub accept_arguments: Option<usize>,
}

impl Types {
    /// Of the running kernel. Without the offsets of sockets and tasks nothing can be had.
    pub(super) fn resolve(kernel: &Kernel) -> Result<Self> {
        let bytes = kernel.btf.as_ref().map_err(|why| anyhow!("{why}"))?;
        let btf = Btf::parse(bytes).context("the kernel's BTF")?;
        let sock = layout::resolve_sock(&btf).context("the kernel's BTF")?;
        let timewait = layout::resolve_timewait(&btf, &sock);
        let snapshot = layout::resolve_snapshot(&btf);
        let registers = layout::resolve_registers(&btf);
        Ok(Self {
            globals: Globals {
                sock,
                task: layout::resolve_task(&btf).context("the kernel's BTF")?,
                timewait: timewait.clone().unwrap_or_default(),
                snapshot: snapshot.clone().unwrap_or_default(),
                registers: registers.clone().unwrap_or_default(),
                cast: Cast::find(&btf),
                ..Globals::default()
            },
            timewait: timewait.map(drop),
            snapshot: snapshot.map(drop),
            registers: registers.map(drop),
            preempts: kernel.preempts_tracepoints(),
            accept_arguments: btf.arguments("inet_csk_accept"),
            btf: aya::Btf::parse(bytes, Endianness::default()).context("the kernel's BTF")?,
        })
    }

    /// Of the programs on state changes, in the order in which they are attached: the last stands in for the
    /// first, and while the first may be away for long, the second between them does.
    pub(super) fn in_turn(&self, [first, second, last]: [&'static str; 3]) -> Vec<&'static str> {
        if self.preempts {
            vec![first, second, last]
        } else {
            vec![first, last]
        }
    }
}
