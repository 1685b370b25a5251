//! The ladder for timewait minisocks: which hooks tell of them.

use std::path::Path;

use anyhow::Result;
use aya::{Btf, Ebpf};

use super::{load::verify, probes::Attached, types::Types};

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

/// By which the kernel says that it has kprobes (`perf_event_open`, since 4.17).
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe/type";

/// Refuses what can't be had, before anything is loaded for it.
pub(super) fn require(source: TimewaitSource, types: &Types) -> Result<()> {
    types.timewait.clone()?;
    if source == TimewaitSource::Kprobe {
        types.registers.clone()?;
        anyhow::ensure!(
            Path::new(KPROBES).exists(),
            "the kernel has no kprobes: there is no '{KPROBES}' (CONFIG_KPROBE_EVENTS)"
        );
    }
    Ok(())
}

/// What becomes of the lives of minisocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lives {
    /// They are streamed.
    Told,
    /// How long they lasted, and why they ended, is added up in the kernel.
    AddedUp,
}

impl TimewaitSource {
    /// The programs, each with what it is attached to.
    const fn hooks(self, lives: Lives) -> &'static [(&'static str, &'static str)] {
        match (self, lives) {
            (Self::Fentry, Lives::Told) => &[
                ("tw_alloc", ALLOC),
                ("tw_kill", KILL),
                ("tw_schedule", SCHEDULE),
            ],
            (Self::Fentry, Lives::AddedUp) => &[
                ("tw_alloc", ALLOC),
                ("sum_tw_kill", KILL),
                ("sum_tw_schedule", SCHEDULE),
            ],
            // The return first: a call without its return would leave its note behind.
            (Self::Kprobe, Lives::Told) => &[
                ("tw_alloc_return", ALLOC),
                ("tw_alloc_call", ALLOC),
                ("tw_kill_call", KILL),
                ("tw_schedule_call", SCHEDULE),
            ],
            (Self::Kprobe, Lives::AddedUp) => &[
                ("tw_alloc_return", ALLOC),
                ("tw_alloc_call", ALLOC),
                ("sum_tw_kill_call", KILL),
                ("sum_tw_schedule_call", SCHEDULE),
            ],
            (Self::Timer, Lives::Told) => &[("tw_timer_cancel", "timer_cancel")],
            (Self::Timer, Lives::AddedUp) => &[("sum_timer_cancel", "timer_cancel")],
            (Self::Sampling, _) => &[],
        }
    }
}

/// Loads and attaches one rung.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    btf: &Btf,
    source: TimewaitSource,
    lives: Lives,
    attached: &mut Attached,
) -> Result<()> {
    for (name, target) in source.hooks(lives) {
        verify(ebpf, btf, name, target)?;
        attached.hook(ebpf, name, target)?;
        attached.watch(ebpf, name)?;
    }
    Ok(())
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

/// Attaches the best that works, and says why the others did not.
pub(super) fn attach_accept(
    ebpf: &mut Ebpf,
    types: &Types,
    attached: &mut Attached,
) -> (Option<AcceptSource>, Vec<(&'static str, anyhow::Error)>) {
    let by_arity = match types.accept_arguments {
        Some(2) => Some("accept_of_two"),
        Some(4) => Some("accept_of_four"),
        _ => None,
    };
    let fexit = by_arity.map(|name| (AcceptSource::Fexit, "fexit:inet_csk_accept", name, ACCEPT));
    let others = [
        (
            AcceptSource::Kretprobe,
            "kretprobe:inet_csk_accept",
            "accept_return",
            ACCEPT,
        ),
        (
            AcceptSource::Read,
            "raw_tp:tcp_rcv_space_adjust",
            "read_from",
            "tcp_rcv_space_adjust",
        ),
    ];
    let mut failed = Vec::new();
    for (source, rung, name, target) in fexit.into_iter().chain(others) {
        let readable = match source {
            AcceptSource::Kretprobe => types.registers.clone().map_err(Into::into),
            AcceptSource::Fexit | AcceptSource::Read => Ok(()),
        };
        let tried = readable
            .and_then(|()| verify(ebpf, &types.btf, name, target))
            .and_then(|()| attached.hook(ebpf, name, target))
            // What the reads miss is told with the next one: no loss.
            .and_then(|()| match source {
                AcceptSource::Read => Ok(()),
                AcceptSource::Fexit | AcceptSource::Kretprobe => attached.watch(ebpf, name),
            });
        match tried {
            Ok(()) => return (Some(source), failed),
            Err(error) => failed.push((rung, error)),
        }
    }
    (None, failed)
}

/// Loads what a snapshot is taken with.
pub(super) fn load_iterators(ebpf: &mut Ebpf, btf: &Btf) -> Result<()> {
    verify(ebpf, btf, "snapshot_tcp", "tcp")?;
    verify(ebpf, btf, "snapshot_file", "task_file")
}
