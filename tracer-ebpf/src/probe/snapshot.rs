//! What is there when the tool starts: iterators over TCP sockets and over open files. They run when
//! user space reads, and cost nothing otherwise.

use core::mem::size_of;

use aya_ebpf::{
    bindings::seq_file,
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_jiffies64, bpf_seq_write},
    },
};
use tracer_common::{
    address::UNSPECIFIED,
    layout::{SnapshotLayout, SockLayout, TimewaitLayout},
    snapshot::{FOUND_DEAD, FOUND_FULL, FileFound, SocketFound},
    state::{LISTEN, NEW_SYN_RECV, TIME_WAIT},
};

use super::common::Common;
use crate::{
    globals::{SNAPSHOT_WITHOUT, offset},
    kernel::{InMemory, load, read},
};

/// `SOCK_DEAD`, include/net/sock.h: the first of `enum sock_flags`.
const SOCK_DEAD: u64 = 1;

/// `struct bpf_iter__tcp`, `struct bpf_iter__task_file`: pointers, the first to `bpf_iter_meta`. The
/// last call has null for the others.
#[derive(Clone, Copy)]
pub struct Context(pub *const u64);

impl Context {
    #[inline(always)]
    pub fn argument(self, i: usize) -> *const u8 {
        // SAFETY: the program's context.
        unsafe { load::<u64>(self.0.cast(), 8 * i) as *const u8 }
    }

    #[inline(always)]
    fn write<T>(self, record: &T) {
        let meta: *const u8 = self.argument(0);
        let offset = offset!(SNAPSHOT: SnapshotLayout, seq);
        // SAFETY: loaded through the context; what does not fit is asked for again.
        unsafe {
            let seq: *mut seq_file = load::<u64>(meta, offset) as *mut seq_file;
            bpf_seq_write(seq, (&raw const *record).cast(), size_of::<T>() as u32);
        }
    }
}

/// One socket.
#[inline(always)]
pub fn tcp(context: Context) {
    let sk = context.argument(1) as u64;
    if sk == 0 {
        return;
    }
    let common = Common(sk);
    let state = common.state();
    if state == NEW_SYN_RECV || SNAPSHOT_WITHOUT.load() >> (state & 31) & 1 == 1 {
        return;
    }
    let family = common.family();
    let (saddr, daddr) = common.addresses(family);
    let mut found = SocketFound {
        state,
        substate: 0,
        family,
        sport: common.num(),
        dport: common.dport(),
        // SAFETY: no argument, no effect.
        ts_ns: unsafe { bpf_ktime_get_ns() },
        sk,
        cookie: common.cookie(),
        socket: 0,
        netns: common.netns(),
        entry_stamp: 0,
        saddr: UNSPECIFIED,
        daddr: UNSPECIFIED,
        receive_queue: 0,
        send_queue: 0,
        heard_ago: 0,
        data_ago: 0,
        sent_ago: 0,
        // SAFETY: the program's context: `uid` is the third member.
        uid: unsafe { load(context.0.cast(), 16) },
        shutdown: 0,
        flags: 0,
        retransmits: 0,
        reserved: [0; 5],
    };
    // SAFETY: fields of our own record, aligned to eight.
    unsafe {
        (&raw mut found.saddr).cast::<InMemory>().write(saddr);
        (&raw mut found.daddr).cast::<InMemory>().write(daddr);
    }
    if state == TIME_WAIT {
        found.substate = read(sk, offset!(TIMEWAIT: TimewaitLayout, substate));
        let stamp = offset!(TIMEWAIT: TimewaitLayout, entry_stamp);
        if stamp != 0 {
            found.entry_stamp = read(sk, stamp);
        }
    } else {
        found.socket = read(sk, offset!(SOCK: SockLayout, file));
        inspect(sk, &mut found);
    }
    context.write(&found);
}

/// What a full socket says of itself. The iterator holds its lock (5.15).
#[inline(always)]
fn inspect(sk: u64, found: &mut SocketFound) {
    found.flags = FOUND_FULL;
    if read::<u64>(sk, offset!(SOCK: SockLayout, sock_flags)) & SOCK_DEAD != 0 {
        found.flags |= FOUND_DEAD;
    }
    found.shutdown = read(sk, offset!(SOCK: SockLayout, shutdown));
    if found.state == LISTEN {
        found.receive_queue = read(sk, offset!(SNAPSHOT: SnapshotLayout, ack_backlog));
        found.send_queue = read(sk, offset!(SNAPSHOT: SnapshotLayout, max_ack_backlog));
        return;
    }
    let number = |offset| read::<u32>(sk, offset);
    found.receive_queue = number(offset!(SOCK: SockLayout, rcv_nxt))
        .wrapping_sub(number(offset!(SOCK: SockLayout, copied_seq)));
    found.send_queue = number(offset!(SNAPSHOT: SnapshotLayout, write_seq))
        .wrapping_sub(number(offset!(SNAPSHOT: SnapshotLayout, snd_una)));
    // SAFETY: no argument, no effect.
    let now = unsafe { bpf_jiffies64() } as u32;
    found.heard_ago = now.wrapping_sub(number(offset!(SNAPSHOT: SnapshotLayout, rcv_tstamp)));
    found.data_ago = now.wrapping_sub(number(offset!(SNAPSHOT: SnapshotLayout, lrcvtime)));
    found.sent_ago = now.wrapping_sub(number(offset!(SNAPSHOT: SnapshotLayout, lsndtime)));
    found.retransmits = read(sk, offset!(SNAPSHOT: SnapshotLayout, retransmits));
}

/// One open file.
#[inline(always)]
pub fn file(context: Context) {
    let (task, file) = (context.argument(1) as u64, context.argument(3) as u64);
    if task == 0 || file == 0 {
        return;
    }
    // SAFETY: the program's context: `fd` is the third member.
    let fd: u32 = unsafe { load(context.0.cast(), 16) };
    context.write(&FileFound {
        tgid: read(task, offset!(SNAPSHOT: SnapshotLayout, tgid)),
        fd,
        f_op: read(file, offset!(SNAPSHOT: SnapshotLayout, f_op)),
        private_data: read(file, offset!(SNAPSHOT: SnapshotLayout, private_data)),
        references: read::<u64>(file, offset!(SNAPSHOT: SnapshotLayout, references))
            .wrapping_add(offset!(SNAPSHOT: SnapshotLayout, references_bias) as u64),
    });
}
