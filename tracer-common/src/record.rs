//! The records in the ring buffer. The first byte says which one it is.

use core::mem::{offset_of, size_of};

use crate::{address::Address, wire::Fields};

/// [`StateChange`].
pub const KIND_STATE_CHANGE: u8 = 1;
/// [`ProcessSeen`].
pub const KIND_PROCESS_SEEN: u8 = 2;

/// [`StateChange::flags`]: submitted by the twin program, because the first one was skipped for
/// this event (it was interrupted on this CPU by the very softirq that made the event).
pub const FLAG_TWIN: u8 = 1;

/// [`StateChange::flags`]: not wanted by the filter, but the socket's opening could not be decided
/// and was sent: this says that it may be forgotten.
pub const FLAG_UNWANTED: u8 = 2;

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
    /// Zero.
    pub reserved: u16,
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
    /// Zero.
    pub reserved2: u32,
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

/// A record, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// See [`StateChange`].
    StateChange(StateChange),
    /// See [`ProcessSeen`].
    ProcessSeen(ProcessSeen),
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
    /// Takes one ring buffer entry apart. Total: whatever the bytes are, it returns.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Self, NotARecord> {
        let kind = *bytes.first().ok_or(NotARecord::Empty)?;
        let expected = match kind {
            KIND_STATE_CHANGE => size_of::<StateChange>(),
            KIND_PROCESS_SEEN => size_of::<ProcessSeen>(),
            _ => return Err(NotARecord::UnknownKind(kind)),
        };
        if bytes.len() != expected {
            return Err(NotARecord::WrongLength {
                kind,
                length: bytes.len(),
            });
        }
        let mut fields = Fields::new(bytes);
        Ok(if kind == KIND_STATE_CHANGE {
            Self::StateChange(StateChange::read(&mut fields))
        } else {
            Self::ProcessSeen(ProcessSeen::read(&mut fields))
        })
    }
}

impl StateChange {
    #[inline]
    fn read(f: &mut Fields<'_>) -> Self {
        Self {
            kind: f.u8(),
            flags: f.u8(),
            oldstate: f.u8(),
            newstate: f.u8(),
            family: f.u16(),
            sport: f.u16(),
            dport: f.u16(),
            reserved: f.u16(),
            tgid: f.u32(),
            ts_ns: f.u64(),
            sk: f.u64(),
            cookie: f.u64(),
            netns: f.u32(),
            reserved2: f.u32(),
            saddr: f.bytes(),
            daddr: f.bytes(),
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
