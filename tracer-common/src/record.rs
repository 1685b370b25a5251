//! The records in the ring buffer. The first byte says which one it is.

use core::mem::{offset_of, size_of};

use crate::{
    address::{AF_INET, Address, mapped},
    timewait::{IntoTimewait, TimewaitEnd, TimewaitRearmed},
    wire::Fields,
};

/// [`StateChange`].
pub const KIND_STATE_CHANGE: u8 = 1;
/// [`ProcessSeen`].
pub const KIND_PROCESS_SEEN: u8 = 2;

/// [`IntoTimewait`].
pub const KIND_INTO_TIMEWAIT: u8 = 3;
/// [`TimewaitEnd`].
pub const KIND_TIMEWAIT_END: u8 = 4;
/// [`TimewaitRearmed`].
pub const KIND_TIMEWAIT_REARMED: u8 = 5;
/// [`SocketHeld`].
pub const KIND_SOCKET_HELD: u8 = 6;

/// [`StateChangeV4`].
pub const KIND_STATE_CHANGE_V4: u8 = 7;

/// [`Aborted`].
pub const KIND_ABORTED: u8 = 8;

/// [`StateChange::flags`]: submitted by the twin program, because the first one was skipped for
/// this event (it was interrupted on this CPU by the very softirq that made the event).
pub const FLAG_TWIN: u8 = 1;

/// [`StateChange::flags`]: not wanted by the filter, but the socket's opening could not be decided
/// and was sent: this says that it may be forgotten.
pub const FLAG_UNWANTED: u8 = 2;

/// [`StateChange::flags`]: `sk_shutdown` had `RCV_SHUTDOWN`.
pub const FLAG_RCV_SHUTDOWN: u8 = 4;

/// [`StateChange::flags`]: `sk_shutdown` had `SEND_SHUTDOWN`.
pub const FLAG_SEND_SHUTDOWN: u8 = 8;

/// [`StateChange::flags`]: no file stands behind the socket (`sk_socket` is null): it was never
/// accepted, or is closed already.
pub const FLAG_NO_FILE: u8 = 16;

/// [`StateChange::flags`]: `SOCK_DEAD`: an orphan, closed by its process.
pub const FLAG_DEAD: u8 = 32;

/// [`StateChange::flags`]: the socket was looked into: the flags above, `err` and `unread` say
/// something. Set on changes to `CLOSE` only.
pub const FLAG_LOOKED: u8 = 64;

/// Bytes that a record of this type takes in the ring buffer: with the kernel's own header of eight
/// (`struct bpf_ringbuf_hdr`) whole cache lines, so that none begins in the middle of one. What is
/// behind the record means nothing.
pub const fn room<T>() -> usize {
    const HEADER: usize = 8;
    const CACHE_LINE: usize = 64;
    (size_of::<T>() + HEADER).next_multiple_of(CACHE_LINE) - HEADER
}

/// One call of `inet_sock_set_state` on a TCP socket, in the kernel's words.
///
/// Source: `trace_inet_sock_set_state(sk, oldstate, newstate)`, `net/ipv4/af_inet.c`, since 4.16.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateChange {
    /// [`KIND_STATE_CHANGE`].
    pub kind: u8,
    /// `FLAG_*`.
    pub flags: u8,
    /// State left, see [`crate::state`].
    pub oldstate: u8,
    /// State entered.
    pub newstate: u8,
    /// `AF_INET` or `AF_INET6`, of the socket (a v4-mapped peer sits on an `AF_INET6` one).
    pub family: u16,
    /// Local port, host order; 0: not chosen yet.
    pub sport: u16,
    /// Remote port, host order; 0: not known yet.
    pub dport: u16,
    /// `sk_err`, a positive errno, as of a change to `CLOSE`.
    pub err: u16,
    /// Process (thread group) that made the change; 0 unless it really was that process, i.e. a
    /// user task that holds the socket's lock.
    pub tgid: u32,
    /// `bpf_ktime_get_ns`: `CLOCK_MONOTONIC`, ns.
    pub ts_ns: u64,
    /// Address of the socket: reused as soon as the socket is gone.
    pub sk: u64,
    /// Socket cookie, never reused; 0: unknown (no helper on this kernel, or too early in the
    /// socket's life).
    pub cookie: u64,
    /// Inode number of the network namespace; 0: unknown.
    pub netns: u32,
    /// `rcv_nxt - copied_seq` at a change from `ESTABLISHED`, `CLOSE_WAIT` or `SYN_RECV` to
    /// `CLOSE`: bytes that nobody read, the peer's FIN counted as one.
    pub unread: u32,
    /// Local address.
    pub saddr: Address,
    /// Remote address.
    pub daddr: Address,
}

const _: () = {
    assert!(size_of::<StateChange>() == 80);
    assert!(offset_of!(StateChange, tgid) == 12);
    assert!(offset_of!(StateChange, ts_ns) == 16);
    assert!(offset_of!(StateChange, netns) == 40);
    assert!(offset_of!(StateChange, saddr) == 48);
    assert!(offset_of!(StateChange, daddr) == 64);
};

/// A [`StateChange`] of an `AF_INET` socket: with the ring buffer's header one cache line. What is
/// written to the ring is not in any cache, and half of what an event costs. The fields are those of
/// the other, in its units.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateChangeV4 {
    /// [`KIND_STATE_CHANGE_V4`].
    pub kind: u8,
    /// `FLAG_*`.
    pub flags: u8,
    /// State left.
    pub oldstate: u8,
    /// State entered.
    pub newstate: u8,
    /// Local port.
    pub sport: u16,
    /// Remote port.
    pub dport: u16,
    /// `sk_err`.
    pub err: u16,
    /// Zero.
    pub reserved: u16,
    /// The process.
    pub tgid: u32,
    /// `CLOCK_MONOTONIC`, ns.
    pub ts_ns: u64,
    /// Address of the socket.
    pub sk: u64,
    /// Socket cookie.
    pub cookie: u64,
    /// Network namespace.
    pub netns: u32,
    /// Bytes that nobody read.
    pub unread: u32,
    /// Local address, network order.
    pub saddr: [u8; 4],
    /// Remote address, network order.
    pub daddr: [u8; 4],
}

const _: () = {
    assert!(size_of::<StateChangeV4>() == 56);
    assert!(offset_of!(StateChangeV4, ts_ns) == 16);
    assert!(offset_of!(StateChangeV4, saddr) == 48);
};

/// Frames of the kernel stack that are sent of a socket's end. On five kernels from 5.10 to 7.2 the
/// decisive one was at most the ninth.
pub const STACK_FRAMES: usize = 16;

/// A [`StateChange`] to `CLOSE` of a socket that its process had closed, and for which no minisock
/// takes over: whose RST it was, only the stack tells.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aborted {
    /// The change itself; its `kind` is [`KIND_ABORTED`].
    pub change: StateChange,
    /// Return addresses, innermost first; zeros after the last.
    pub stack: [u64; STACK_FRAMES],
}

const _: () = assert!(size_of::<Aborted>() == 208);

/// Facts about a process, sent before the first record that names it, and again when they change
/// (exec, setuid, a recycled pid).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessSeen {
    /// [`KIND_PROCESS_SEEN`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Thread group id in the initial pid namespace: what everybody calls the pid.
    pub tgid: u32,
    /// `CLOCK_MONOTONIC`, ns.
    pub ts_ns: u64,
    /// What was seen.
    pub facts: ProcessFacts,
}

/// What is remembered per process, so that it is sent once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// cgroup v2 id (inode of the cgroup's directory).
    pub cgroup: u64,
    /// `comm` of the thread group leader, NUL-padded; any bytes, chosen by the process itself.
    pub comm: [u8; 16],
    /// Real user id.
    pub uid: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<ProcessFacts>() == 32);
    assert!(size_of::<ProcessSeen>() == 48);
    assert!(offset_of!(ProcessSeen, facts) == 16);
};

/// A process was seen to hold a socket: it accepted it, or reads from it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketHeld {
    /// [`KIND_SOCKET_HELD`].
    pub kind: u8,
    /// `HELD_*`: how it is known.
    pub how: u8,
    /// Zero.
    pub reserved: u16,
    /// The process (thread group).
    pub tgid: u32,
    /// `CLOCK_MONOTONIC`, ns.
    pub ts_ns: u64,
    /// Address of the socket.
    pub sk: u64,
    /// Socket cookie; 0: unknown.
    pub cookie: u64,
}

/// [`SocketHeld::how`]: `inet_csk_accept` gave it to the process.
pub const HELD_ACCEPT: u8 = 1;
/// [`SocketHeld::how`]: the process read from it.
pub const HELD_READ: u8 = 2;

const _: () = assert!(size_of::<SocketHeld>() == 32);

/// A record, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// See [`StateChange`].
    StateChange(StateChange),
    /// See [`ProcessSeen`].
    ProcessSeen(ProcessSeen),
    /// See [`IntoTimewait`].
    IntoTimewait(IntoTimewait),
    /// See [`TimewaitEnd`].
    TimewaitEnd(TimewaitEnd),
    /// See [`TimewaitRearmed`].
    TimewaitRearmed(TimewaitRearmed),
    /// See [`SocketHeld`].
    SocketHeld(SocketHeld),
    /// See [`Aborted`].
    Aborted(Aborted),
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotARecord {
    /// Nothing at all.
    Empty,
    /// A kind this version does not know.
    UnknownKind(u8),
    /// Fewer or more bytes than the kind has.
    WrongLength {
        /// The kind.
        kind: u8,
        /// Bytes given.
        length: usize,
    },
}

impl Record {
    /// Takes one ring buffer entry apart, which has its [`room`]. Total: whatever the bytes are, it
    /// returns.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Self, NotARecord> {
        let kind = *bytes.first().ok_or(NotARecord::Empty)?;
        let expected = match kind {
            KIND_STATE_CHANGE => room::<StateChange>(),
            KIND_PROCESS_SEEN => room::<ProcessSeen>(),
            KIND_INTO_TIMEWAIT => room::<IntoTimewait>(),
            KIND_TIMEWAIT_END => room::<TimewaitEnd>(),
            KIND_TIMEWAIT_REARMED => room::<TimewaitRearmed>(),
            KIND_SOCKET_HELD => room::<SocketHeld>(),
            KIND_STATE_CHANGE_V4 => room::<StateChangeV4>(),
            KIND_ABORTED => room::<Aborted>(),
            _ => return Err(NotARecord::UnknownKind(kind)),
        };
        if bytes.len() != expected {
            return Err(NotARecord::WrongLength {
                kind,
                length: bytes.len(),
            });
        }
        let f = &mut Fields::new(bytes);
        Ok(match kind {
            KIND_STATE_CHANGE => Self::StateChange(StateChange::read(f)),
            KIND_STATE_CHANGE_V4 => Self::StateChange(StateChangeV4::read(f).widened()),
            KIND_PROCESS_SEEN => Self::ProcessSeen(ProcessSeen::read(f)),
            KIND_INTO_TIMEWAIT => Self::IntoTimewait(IntoTimewait::read(f)),
            KIND_TIMEWAIT_END => Self::TimewaitEnd(TimewaitEnd::read(f)),
            KIND_TIMEWAIT_REARMED => Self::TimewaitRearmed(TimewaitRearmed::read(f)),
            KIND_SOCKET_HELD => Self::SocketHeld(SocketHeld::read(f)),
            _ => Self::Aborted(Aborted::read(f)),
        })
    }
}

impl StateChange {
    #[inline]
    pub(crate) fn read(f: &mut Fields<'_>) -> Self {
        Self {
            kind: f.u8(),
            flags: f.u8(),
            oldstate: f.u8(),
            newstate: f.u8(),
            family: f.u16(),
            sport: f.u16(),
            dport: f.u16(),
            err: f.u16(),
            tgid: f.u32(),
            ts_ns: f.u64(),
            sk: f.u64(),
            cookie: f.u64(),
            netns: f.u32(),
            unread: f.u32(),
            saddr: f.bytes(),
            daddr: f.bytes(),
        }
    }
}

impl StateChangeV4 {
    #[inline]
    fn read(f: &mut Fields<'_>) -> Self {
        Self {
            kind: f.u8(),
            flags: f.u8(),
            oldstate: f.u8(),
            newstate: f.u8(),
            sport: f.u16(),
            dport: f.u16(),
            err: f.u16(),
            reserved: f.u16(),
            tgid: f.u32(),
            ts_ns: f.u64(),
            sk: f.u64(),
            cookie: f.u64(),
            netns: f.u32(),
            unread: f.u32(),
            saddr: f.bytes(),
            daddr: f.bytes(),
        }
    }

    /// The same as the general record.
    #[inline]
    pub const fn widened(&self) -> StateChange {
        StateChange {
            kind: KIND_STATE_CHANGE,
            flags: self.flags,
            oldstate: self.oldstate,
            newstate: self.newstate,
            family: AF_INET,
            sport: self.sport,
            dport: self.dport,
            err: self.err,
            tgid: self.tgid,
            ts_ns: self.ts_ns,
            sk: self.sk,
            cookie: self.cookie,
            netns: self.netns,
            unread: self.unread,
            saddr: mapped(self.saddr),
            daddr: mapped(self.daddr),
        }
    }
}

impl Aborted {
    #[inline]
    fn read(f: &mut Fields<'_>) -> Self {
        Self {
            change: StateChange::read(f),
            stack: core::array::from_fn(|_| f.u64()),
        }
    }
}

impl ProcessSeen {
    #[inline]
    fn read(f: &mut Fields<'_>) -> Self {
        Self {
            kind: f.u8(),
            reserved: f.bytes(),
            tgid: f.u32(),
            ts_ns: f.u64(),
            facts: ProcessFacts {
                cgroup: f.u64(),
                comm: f.bytes(),
                uid: f.u32(),
                reserved: f.u32(),
            },
        }
    }
}

impl SocketHeld {
    #[inline]
    fn read(f: &mut Fields<'_>) -> Self {
        Self {
            kind: f.u8(),
            how: f.u8(),
            reserved: f.u16(),
            tgid: f.u32(),
            ts_ns: f.u64(),
            sk: f.u64(),
            cookie: f.u64(),
        }
    }
}
