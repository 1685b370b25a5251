//! Read-only globals: set by the tool before loading, frozen, and folded into constants by the
//! verifier, which also drops the branches they rule out.

use aya_ebpf::Global;
use tracer_common::layout::{
    RegistersLayout, SnapshotLayout, SockLayout, TaskLayout, TimewaitLayout, TracepointLayout,
};

/// Where a socket's fields are.
#[unsafe(no_mangle)]
pub static SOCK: Global<SockLayout> = Global::new(SockLayout {
    family: 0,
    num: 0,
    dport: 0,
    daddr: 0,
    rcv_saddr: 0,
    v6_daddr: 0,
    v6_rcv_saddr: 0,
    net: 0,
    net_inum: 0,
    protocol: 0,
    lock_owned: 0,
    inet_sport: 0,
    cookie: 0,
    state: 0,
    hash: 0,
    node: 0,
    sock_flags: 0,
    err: 0,
    shutdown: 0,
    file: 0,
    rcv_nxt: 0,
    copied_seq: 0,
});

/// Where a minisock's fields are.
#[unsafe(no_mangle)]
pub static TIMEWAIT: Global<TimewaitLayout> = Global::new(TimewaitLayout {
    substate: 0,
    timer: 0,
    entry_stamp: 0,
    expires: 0,
    function: 0,
    buckets: 0,
    buckets_bias: 0,
    max_buckets: 0,
    hashinfo: 0,
    ehash: 0,
    ehash_mask: 0,
    death_row: 0,
    death_row_is_pointer: 0,
    linger2: 0,
});

/// Where the fields are that a snapshot reads.
#[unsafe(no_mangle)]
pub static SNAPSHOT: Global<SnapshotLayout> = Global::new(SnapshotLayout {
    seq: 0,
    tgid: 0,
    f_op: 0,
    private_data: 0,
    references: 0,
    references_bias: 0,
    write_seq: 0,
    snd_una: 0,
    rcv_tstamp: 0,
    lsndtime: 0,
    lrcvtime: 0,
    retransmits: 0,
    ack_backlog: 0,
    max_ack_backlog: 0,
});

/// Which sockets a snapshot leaves out: a bit for each state that nobody asked for.
#[unsafe(no_mangle)]
pub static SNAPSHOT_WITHOUT: Global<u32> = Global::new(0);

/// Which hooks tell of minisocks: one of `HOOK_*`.
#[unsafe(no_mangle)]
pub static TIMEWAIT_HOOK: Global<u32> = Global::new(0);
/// None.
pub const HOOK_NONE: u32 = 0;
/// Functions, of which `inet_twsk_alloc` says when there was none to be had.
pub const HOOK_ALLOC: u32 = 1;
/// Their timers.
pub const HOOK_TIMER: u32 = 2;

/// Address of `tw_timer_handler`: how a minisock's timer is recognised.
#[unsafe(no_mangle)]
pub static TIMEWAIT_HANDLER: Global<u64> = Global::new(0);

/// `CONFIG_HZ`; 0: not known. For what is added up here only.
#[unsafe(no_mangle)]
pub static JIFFIES_PER_SECOND: Global<u32> = Global::new(0);

/// How many frames of a minisock's end are asked for: `tracer_common::timewait::end_depth`.
#[unsafe(no_mangle)]
pub static END_DEPTH: Global<u32> = Global::new(0);

/// Where a task's fields are; all zero without BTF.
#[unsafe(no_mangle)]
pub static TASK: Global<TaskLayout> = Global::new(TaskLayout {
    flags: 0,
    group_leader: 0,
    comm: 0,
    tgid: 0,
    cred: 0,
    uid: 0,
    cgroups: 0,
    default_cgroup: 0,
    kernfs_node: 0,
    inode: 0,
    sock_lock_owned: 0,
});

/// Where arguments and results are among the registers.
#[unsafe(no_mangle)]
pub static REGISTERS: Global<RegistersLayout> = Global::new(RegistersLayout {
    first: 0,
    second: 0,
    third: 0,
    returned: 0,
    link: 0,
});

/// Where the classic tracepoint's fields are.
#[unsafe(no_mangle)]
pub static TRACEPOINT: Global<TracepointLayout> = Global::new(TracepointLayout {
    skaddr: 0,
    oldstate: 0,
    newstate: 0,
    sport: 0,
    dport: 0,
    family: 0,
    protocol: 0,
    saddr_v6: 0,
    daddr_v6: 0,
});

/// [`tracer_common::cast::STRUCT`] in the kernel's BTF; 0: `bpf_rdonly_cast` is not there (6.2).
#[unsafe(no_mangle)]
pub static CAST_TO: Global<u32> = Global::new(0);

/// Whether `bpf_get_socket_cookie` is there for tracing programs (5.12).
#[unsafe(no_mangle)]
pub static HAS_COOKIE: Global<u32> = Global::new(0);

/// Whether `bpf_get_current_task_btf` is there (5.11).
#[unsafe(no_mangle)]
pub static HAS_TASK_BTF: Global<u32> = Global::new(0);

/// Whether [`crate::maps::FILTER`] holds any criterion.
#[unsafe(no_mangle)]
pub static HAS_FILTER: Global<u32> = Global::new(0);

/// One offset out of a layout: `offset!(SOCK: SockLayout, num)`.
///
/// Reads that field alone, and volatile: the compiler must not fold in the zeros above.
macro_rules! offset {
    ($global:ident : $layout:ty, $field:ident) => {{
        let layout = (&raw const $crate::globals::$global).cast::<$layout>();
        // SAFETY: `Global` is `repr(transparent)` over the layout, which is initialised.
        unsafe { core::ptr::read_volatile(&raw const (*layout).$field) as usize }
    }};
}
pub(crate) use offset;
