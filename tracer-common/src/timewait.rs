//! Records about timewait minisocks (`struct inet_timewait_sock`): the smaller object that stands for
//! a connection in TIME_WAIT, and often for one in FIN_WAIT2 too. `tw_substate` says which.

use core::mem::{offset_of, size_of};

use crate::{address::Address, record::StateChange, wire::Fields};

/// [`IntoTimewait::outcome`]: the connection lives on in the minisock `tw`.
pub const OUTCOME_MADE: u8 = 1;
/// [`IntoTimewait::outcome`]: none was made, the bucket count was at `tcp_max_tw_buckets`.
pub const OUTCOME_OVERFLOW: u8 = 2;
/// [`IntoTimewait::outcome`]: none was made, although there was room: no memory.
pub const OUTCOME_NO_MEMORY: u8 = 3;
/// [`IntoTimewait::outcome`]: none was made, and why can't be told.
pub const OUTCOME_REFUSED: u8 = 4;
/// [`IntoTimewait::outcome`]: whether one was made can't be told.
pub const OUTCOME_UNTOLD: u8 = 5;

/// A full socket's change to `CLOSE` at which a minisock took over (or should have).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntoTimewait {
    /// The change itself; its `kind` is [`KIND_INTO_TIMEWAIT`](crate::record::KIND_INTO_TIMEWAIT).
    pub change: StateChange,
    /// Address of the minisock; reused like a socket's. 0: none was made.
    pub tw: u64,
    /// `OUTCOME_*`.
    pub outcome: u8,
    /// State that the minisock stands for: `FIN_WAIT2` or `TIME_WAIT`; 0: unknown.
    pub substate: u8,
    /// Zero.
    pub reserved: u16,
    /// Zero.
    pub padding: u32,
}

/// Frames of the kernel stack that a minisock's end has room for.
pub const END_FRAMES: usize = 13;

/// How many of them are asked for: each costs the unwinder 170 ns, every connection's. By every hook, on
/// five kernels from 5.10 to 7.2, the decisive one was at most the sixth on x86_64. On aarch64 those of a
/// tracepoint itself are on the stack, too, and it was the ninth (6.12).
pub const fn end_depth(is_x86_64: bool) -> u32 {
    if is_x86_64 { 8 } else { 13 }
}

const _: () = assert!(end_depth(false) as usize == END_FRAMES);

/// A minisock's timer was taken off, or the minisock was taken out of the tables: with whose frames
/// on the stack says why.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimewaitEnd {
    /// [`KIND_TIMEWAIT_END`](crate::record::KIND_TIMEWAIT_END).
    pub kind: u8,
    /// State that it stood for.
    pub substate: u8,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Local port, host order.
    pub sport: u16,
    /// Remote port, host order.
    pub dport: u16,
    /// `CLOCK_MONOTONIC`, ns.
    pub ts_ns: u64,
    /// Address of the minisock.
    pub tw: u64,
    /// Cookie, the same as the socket had; 0: unknown.
    pub cookie: u64,
    /// Inode number of the network namespace; 0: unknown (it is being taken down).
    pub netns: u32,
    /// Jiffies until its timer was due; negative: it was overdue (the timer wheel is coarse).
    pub remaining: i32,
    /// `tw_entry_stamp`: when it was entered, `CLOCK_MONOTONIC` in ms, low 32 bits; 0: this kernel
    /// (before 6.14) has none.
    pub entry_stamp: u32,
    /// Zero.
    pub reserved: u32,
    /// Local address.
    pub saddr: Address,
    /// Remote address.
    pub daddr: Address,
    /// Return addresses, innermost first; zeros after the last.
    pub stack: [u64; END_FRAMES],
}

/// A minisock's timer was set anew: the awaited FIN came (FIN_WAIT2 becomes TIME_WAIT), or something
/// that restarts the 2MSL time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimewaitRearmed {
    /// [`KIND_TIMEWAIT_REARMED`](crate::record::KIND_TIMEWAIT_REARMED).
    pub kind: u8,
    /// State that it stands for now.
    pub substate: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// `CLOCK_MONOTONIC`, ns.
    pub ts_ns: u64,
    /// Address of the minisock.
    pub tw: u64,
    /// Cookie; 0: unknown.
    pub cookie: u64,
}

/// `TCP_TIMEWAIT_LEN`, include/net/tcp.h, in ns.
pub const TIME_WAIT_NS: u64 = 60_000_000_000;

/// When `tw_entry_stamp` was taken, as seen at `at_ns`: it has the low 32 bits of the clock in ms.
#[inline]
pub const fn stamped(at_ns: u64, entry_stamp: u32) -> Option<u64> {
    if entry_stamp == 0 {
        return None;
    }
    let now_ms = at_ns / 1_000_000;
    #[expect(clippy::cast_possible_truncation, reason = "as the kernel does")]
    let ago_ms = (now_ms as u32).wrapping_sub(entry_stamp) as u64;
    // Older than a minisock ever gets: no such field, after all.
    if ago_ms >= u32::MAX as u64 / 2 {
        return None;
    }
    Some(now_ms.saturating_sub(ago_ms) * 1_000_000)
}

/// When a timer was set that at `at_ns` had `remaining` jiffies of TIME_WAIT's time to go.
#[inline]
pub const fn timer_set(at_ns: u64, remaining: i32, hz: u32) -> Option<u64> {
    // BPF divides numbers without a sign only, before 6.6.
    let hz = if hz == 0 { 1 } else { hz };
    let away_ns = remaining.unsigned_abs() as u64 * 1_000_000_000 / hz as u64;
    let gone_ns = if remaining < 0 {
        TIME_WAIT_NS + away_ns
    } else if away_ns > TIME_WAIT_NS {
        return None;
    } else {
        TIME_WAIT_NS - away_ns
    };
    at_ns.checked_sub(gone_ns)
}

const _: () = {
    assert!(size_of::<IntoTimewait>() == 96);
    assert!(offset_of!(IntoTimewait, tw) == 80);
    assert!(size_of::<TimewaitEnd>() == 184);
    assert!(offset_of!(TimewaitEnd, saddr) == 48);
    assert!(offset_of!(TimewaitEnd, stack) == 80);
    assert!(size_of::<TimewaitRearmed>() == 32);
};

impl IntoTimewait {
    #[inline]
    pub(crate) fn read(f: &mut Fields<'_>) -> Self {
        Self {
            change: StateChange::read(f),
            tw: f.u64(),
            outcome: f.u8(),
            substate: f.u8(),
            reserved: f.u16(),
            padding: f.u32(),
        }
    }
}

impl TimewaitEnd {
    #[inline]
    pub(crate) fn read(f: &mut Fields<'_>) -> Self {
        Self {
            kind: f.u8(),
            substate: f.u8(),
            family: f.u16(),
            sport: f.u16(),
            dport: f.u16(),
            ts_ns: f.u64(),
            tw: f.u64(),
            cookie: f.u64(),
            netns: f.u32(),
            remaining: f.i32(),
            entry_stamp: f.u32(),
            reserved: f.u32(),
            saddr: f.bytes(),
            daddr: f.bytes(),
            stack: core::array::from_fn(|_| f.u64()),
        }
    }
}

impl TimewaitRearmed {
    #[inline]
    pub(crate) fn read(f: &mut Fields<'_>) -> Self {
        Self {
            kind: f.u8(),
            substate: f.u8(),
            reserved: f.bytes(),
            ts_ns: f.u64(),
            tw: f.u64(),
            cookie: f.u64(),
        }
    }
}
