//! Which process made a change, if it really was a process.
//!
//! The task on the CPU is the socket's user only where the kernel calls `inet_sock_set_state` from
//! a system call of that task. Elsewhere it is a bystander that a softirq interrupted; on loopback
//! a plausible one: the peer.

use core::mem::size_of;

use aya_ebpf::helpers::{bpf_get_current_task, generated::bpf_get_current_task_btf};
use tracer_common::{
    layout::TaskLayout,
    record::{KIND_PROCESS_SEEN, ProcessFacts, ProcessSeen},
    state::{CLOSE, FIN_WAIT1, LAST_ACK, LISTEN, SYN_SENT},
};

use crate::{
    emit::{self, By},
    globals::{HAS_TASK_BTF, offset},
    kernel::{load, read},
    maps::{PROCESSES, RECENT},
};

/// `PF_KTHREAD`, include/linux/sched.h: NFS, the delayed `fput` of another task, and the like.
const PF_KTHREAD: u32 = 0x0020_0000;

/// States that are entered from a system call: `connect`, `listen`, `close` or `shutdown`. `CLOSE`
/// often is not; then no task holds the socket's lock, or it works off what came for its own socket.
#[inline(always)]
fn made_by_a_call(newstate: u8) -> bool {
    matches!(newstate, SYN_SENT | LISTEN | FIN_WAIT1 | LAST_ACK | CLOSE)
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
pub fn of(by: By, newstate: u8, ts_ns: u64, lock_owned: impl FnOnce() -> u32) -> Owner {
    if !made_by_a_call(newstate) || offset!(TASK: TaskLayout, flags) == 0 || lock_owned() == 0 {
        return Owner::UNKNOWN;
    }
    current(by, ts_ns)
}

/// The process on this CPU; unknown if it is a kernel thread. The caller knows that it is the one.
#[inline(always)]
pub fn current(by: By, ts_ns: u64) -> Owner {
    let task = current_task();
    if field::<u32>(task, offset!(TASK: TaskLayout, flags)) & PF_KTHREAD != 0 {
        return Owner::UNKNOWN;
    }
    let tgid = field(task, offset!(TASK: TaskLayout, tgid));
    let leader = pointer(task, offset!(TASK: TaskLayout, group_leader));
    let comm = offset!(TASK: TaskLayout, comm);
    let cred = pointer(task, offset!(TASK: TaskLayout, cred));
    let facts = Facts {
        cgroup: cgroup(task),
        comm: [field(leader, comm), field(leader, comm + 8)],
        uid: field(cred, offset!(TASK: TaskLayout, uid)),
        reserved: 0,
    };
    Owner {
        tgid,
        described: describe(by, tgid, ts_ns, &facts),
    }
}

/// Makes sure that user space knows the process; whether that took a record.
#[inline(always)]
fn describe(by: By, tgid: u32, ts_ns: u64, facts: &Facts) -> bool {
    let recent = RECENT.get_ptr_mut(tgid % RECENT_PROCESSES);
    if let Some(recent) = recent {
        // SAFETY: a per-CPU value. Whoever interrupts may replace it: it is compared as a whole.
        let recent = unsafe { &*recent };
        if recent.tgid == tgid && recent.facts.is(facts) {
            return false;
        }
    }
    // SAFETY: the value is only compared, field by field; a torn one is described once more.
    let known = unsafe { PROCESSES.get(tgid) }.is_some_and(|seen| seen.is(facts));
    let described = !known && tell(by, tgid, ts_ns, facts);
    if described {
        // An entry that finds no room is described again with the next event: nothing is lost.
        let _ = PROCESSES.insert(tgid, facts, 0);
    }
    if let Some(recent) = recent
        && (known || described)
    {
        // SAFETY: as above.
        unsafe {
            (*recent).facts = *facts;
            (*recent).tgid = tgid;
        }
    }
    described
}

const _: () = assert!(size_of::<Facts>() == size_of::<ProcessFacts>());

/// Describes a process to user space; whether that got through.
#[inline(always)]
fn tell(by: By, tgid: u32, ts_ns: u64, facts: &Facts) -> bool {
    emit::tell(by, |record: *mut ProcessSeen| {
        // SAFETY: a reservation of this size; every field is written.
        unsafe {
            (*record).kind = KIND_PROCESS_SEEN;
            (*record).reserved = [0; 3];
            (*record).tgid = tgid;
            (*record).ts_ns = ts_ns;
            (&raw mut (*record).facts).cast::<Facts>().write(*facts);
        }
    })
}

/// How many processes each CPU recognises without a look into [`PROCESSES`].
pub const RECENT_PROCESSES: u32 = 64;

/// A process that user space knows, and how it was described.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Recent {
    facts: Facts,
    tgid: u32,
    reserved: u32,
}

/// [`ProcessFacts`](tracer_common::record::ProcessFacts) with the name as two words: bytes would be
/// copied and compared one by one.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Facts {
    pub cgroup: u64,
    pub comm: [u64; 2],
    pub uid: u32,
    pub reserved: u32,
}

impl Facts {
    #[inline(always)]
    fn is(&self, other: &Self) -> bool {
        self.cgroup == other.cgroup
            && self.comm[0] == other.comm[0]
            && self.comm[1] == other.comm[1]
            && self.uid == other.uid
    }
}

#[inline(always)]
fn current_task() -> *const u8 {
    if HAS_TASK_BTF.load() == 0 {
        // SAFETY: no argument, no effect.
        unsafe { bpf_get_current_task() as *const u8 }
    } else {
        // SAFETY: no argument, no effect.
        unsafe { bpf_get_current_task_btf().cast_const().cast() }
    }
}

/// As `bpf_get_current_cgroup_id` walks: it, and the other helpers of its kind, cost a call each.
#[inline(always)]
fn cgroup(task: *const u8) -> u64 {
    let set = pointer(task, offset!(TASK: TaskLayout, cgroups));
    let cgroup = pointer(set, offset!(TASK: TaskLayout, default_cgroup));
    let node = pointer(cgroup, offset!(TASK: TaskLayout, kernfs_node));
    field(node, offset!(TASK: TaskLayout, inode))
}

#[inline(always)]
fn pointer(base: *const u8, offset: usize) -> *const u8 {
    field(base, offset)
}

/// A task's field, or of what hangs on it: by a load where the verifier knows the type, which is twenty times as fast.
#[inline(always)]
fn field<T: Copy>(task: *const u8, offset: usize) -> T {
    if HAS_TASK_BTF.load() == 0 {
        read(task as u64, offset)
    } else {
        // SAFETY: `current_task` gave a BTF pointer, or it was loaded through one.
        unsafe { load(task, offset) }
    }
}
