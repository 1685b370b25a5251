//! Which process made a change, if it really was a process.
//!
//! The task on the CPU is the socket's user only where the kernel calls `inet_sock_set_state` from
//! a system call of that task. Elsewhere it is a bystander that a softirq interrupted; on loopback
//! a plausible one: the peer.

use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task,
    bpf_get_current_uid_gid,
};
use tracer_common::{
    layout::TaskLayout,
    record::ProcessFacts,
    state::{FIN_WAIT1, LAST_ACK, LISTEN, SYN_SENT},
};

use crate::{emit, globals::offset, kernel::read, maps::PROCESSES};

/// `PF_KTHREAD`, include/linux/sched.h: NFS, the delayed `fput` of another task, and the like.
const PF_KTHREAD: u32 = 0x0020_0000;

/// States that are entered from a system call: `connect`, `listen`, `close` or `shutdown`.
#[inline(always)]
fn made_by_a_call(newstate: u8) -> bool {
    matches!(newstate, SYN_SENT | LISTEN | FIN_WAIT1 | LAST_ACK)
}

/// The process that made a change.
#[derive(Clone, Copy)]
pub struct Owner {
    /// Its thread group; 0 if it is not known.
    pub tgid: u32,
    /// It was new, and has been described to user space.
    pub described: bool,
}

impl Owner {
    const UNKNOWN: Self = Self {
        tgid: 0,
        described: false,
    };
}

/// Who made the change.
///
/// `lock_owned` is `sk->sk_lock.owned`: a task, not a softirq, holds the socket.
#[inline(always)]
pub fn of(newstate: u8, ts_ns: u64, lock_owned: impl FnOnce() -> u32) -> Owner {
    if !made_by_a_call(newstate) || offset!(TASK: TaskLayout, flags) == 0 || lock_owned() == 0 {
        return Owner::UNKNOWN;
    }
    // SAFETY: no argument, no effect.
    let task = unsafe { bpf_get_current_task() };
    if read::<u32>(task, offset!(TASK: TaskLayout, flags)) & PF_KTHREAD != 0 {
        return Owner::UNKNOWN;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let leader: u64 = read(task, offset!(TASK: TaskLayout, group_leader));
    let facts = ProcessFacts {
        // SAFETY: no argument, no effect.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        comm: read(leader, offset!(TASK: TaskLayout, comm)),
        uid: bpf_get_current_uid_gid() as u32,
        reserved: 0,
    };
    // SAFETY: the value is only compared, field by field; a torn one is described once more.
    let known = unsafe { PROCESSES.get(tgid) }.is_some_and(|seen| same(seen, &facts));
    let described = !known && emit::process_seen(tgid, ts_ns, &facts);
    if described {
        // An entry that finds no room is described again with the next event: nothing is lost.
        let _ = PROCESSES.insert(tgid, facts, 0);
    }
    Owner { tgid, described }
}

#[inline(always)]
fn same(a: &ProcessFacts, b: &ProcessFacts) -> bool {
    let words = |comm: &[u8; 16]| {
        let c = comm;
        [
            u64::from_ne_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]),
            u64::from_ne_bytes([c[8], c[9], c[10], c[11], c[12], c[13], c[14], c[15]]),
        ]
    };
    let (x, y) = (words(&a.comm), words(&b.comm));
    a.cgroup == b.cgroup && a.uid == b.uid && x[0] == y[0] && x[1] == y[1]
}
