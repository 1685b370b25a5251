//! Where the fields are that the kernel programs read: offsets from the running kernel's BTF, or
//! from the tracepoint's `format` file, handed over as read-only globals. The verifier folds them
//! into constants. An offset is never baked in: stable backports and vendor kernels move them.

use core::mem::size_of;

/// Offsets into the kernel's structs, in bytes, for the BTF tracepoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SockLayout {
    /// `sock_common.skc_family`, u16.
    pub family: u32,
    /// `sock_common.skc_num`: local port, u16, host order.
    pub num: u32,
    /// `sock_common.skc_dport`, u16, network order.
    pub dport: u32,
    /// `sock_common.skc_daddr`, u32, network order.
    pub daddr: u32,
    /// `sock_common.skc_rcv_saddr`, u32, network order.
    pub rcv_saddr: u32,
    /// `sock_common.skc_v6_daddr`, 16 bytes.
    pub v6_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`, 16 bytes.
    pub v6_rcv_saddr: u32,
    /// `sock_common.skc_net.net`, pointer to `struct net`.
    pub net: u32,
    /// `net.ns.inum`, u32.
    pub net_inum: u32,
    /// `sock.sk_protocol`, u16 since 5.6.
    pub protocol: u32,
    /// `sock.sk_lock.owned`, int: a task holds the socket.
    pub lock_owned: u32,
    /// `inet_sock.inet_sport`, u16, network order: still set when `skc_num` is cleared at CLOSE.
    pub inet_sport: u32,
    /// `sock_common.skc_cookie`, u64; 0: none was given yet.
    pub cookie: u32,
    /// `sock_common.skc_state`, u8 (volatile).
    pub state: u32,
    /// `sock_common.skc_hash`, u32: the same for a socket and its minisock.
    pub hash: u32,
    /// `sock_common.skc_nulls_node`, a `hlist_nulls_node`: in the table of connections.
    pub node: u32,
    /// `sock_common.skc_flags`, unsigned long: bit 0 is `SOCK_DEAD`.
    pub sock_flags: u32,
    /// `sock.sk_err`, int.
    pub err: u32,
    /// `sock.sk_shutdown`, u8.
    pub shutdown: u32,
    /// `sock.sk_socket`, pointer.
    pub file: u32,
    /// `tcp_sock.rcv_nxt`, u32.
    pub rcv_nxt: u32,
    /// `tcp_sock.copied_seq`, u32.
    pub copied_seq: u32,
}

/// Words at the beginning of a `sock_common` among which `hash`, `state`, the ports and the IPv4 addresses
/// are.
pub const IDENTITY_WORDS: usize = 3;

/// Words at the beginning of an `inet_hashinfo` among which `ehash` and `ehash_mask` are.
pub const HASHINFO_WORDS: usize = 3;

/// Offsets for timewait minisocks. `inet_timewait_sock` begins with a `sock_common`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimewaitLayout {
    /// `inet_timewait_sock.tw_substate`, u8 (volatile).
    pub substate: u32,
    /// `inet_timewait_sock.tw_timer`, a `timer_list`.
    pub timer: u32,
    /// `inet_timewait_sock.tw_entry_stamp`, u32; 0: before 6.14, there is none.
    pub entry_stamp: u32,
    /// `timer_list.expires`, unsigned long.
    pub expires: u32,
    /// `timer_list.function`, pointer.
    pub function: u32,
    /// Bucket count of an `inet_timewait_death_row`: `tw_refcount`, or `tw_count` before 5.19.
    pub buckets: u32,
    /// What to subtract from it: 1 for `tw_refcount`.
    pub buckets_bias: u32,
    /// `inet_timewait_death_row.sysctl_max_tw_buckets`, int.
    pub max_buckets: u32,
    /// `inet_timewait_death_row.hashinfo`, pointer: where the namespace has its connections.
    pub hashinfo: u32,
    /// `inet_hashinfo.ehash`, pointer to as many chains as
    pub ehash: u32,
    /// `inet_hashinfo.ehash_mask`, u32, and one.
    pub ehash_mask: u32,
    /// `net.ipv4.tcp_death_row`.
    pub death_row: u32,
    /// It is a pointer there (6.0 and 6.1), not the struct.
    pub death_row_is_pointer: u32,
    /// `tcp_sock.linger2`, int: negative: FIN_WAIT2 is not waited in.
    pub linger2: u32,
}

/// Offsets for the snapshot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotLayout {
    /// `bpf_iter_meta.seq`, pointer.
    pub seq: u32,
    /// `task_struct.tgid`, int.
    pub tgid: u32,
    /// `file.f_op`, pointer.
    pub f_op: u32,
    /// `file.private_data`, pointer.
    pub private_data: u32,
    /// `file.f_ref.refcnt`, or `file.f_count` before 6.13; both long.
    pub references: u32,
    /// What to add to it: 1 for `f_ref`.
    pub references_bias: u32,
    /// `tcp_sock.write_seq`, u32.
    pub write_seq: u32,
    /// `tcp_sock.snd_una`, u32.
    pub snd_una: u32,
    /// `tcp_sock.rcv_tstamp`, u32, jiffies.
    pub rcv_tstamp: u32,
    /// `tcp_sock.lsndtime`, u32, jiffies.
    pub lsndtime: u32,
    /// `inet_connection_sock.icsk_ack.lrcvtime`, u32, jiffies.
    pub lrcvtime: u32,
    /// `inet_connection_sock.icsk_retransmits`, u8.
    pub retransmits: u32,
    /// `sock.sk_ack_backlog`, u32.
    pub ack_backlog: u32,
    /// `sock.sk_max_ack_backlog`, u32.
    pub max_ack_backlog: u32,
}

/// Offsets into `task_struct`, for telling a user process from a kernel thread and for its name.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskLayout {
    /// `task_struct.flags`, u32.
    pub flags: u32,
    /// `task_struct.group_leader`, pointer.
    pub group_leader: u32,
    /// `task_struct.comm`, 16 bytes.
    pub comm: u32,
    /// `task_struct.tgid`, i32.
    pub tgid: u32,
    /// `task_struct.cred`, pointer.
    pub cred: u32,
    /// `cred.uid`, u32.
    pub uid: u32,
    /// `task_struct.cgroups`, pointer to a `css_set`.
    pub cgroups: u32,
    /// `css_set.dfl_cgrp`, pointer to the `cgroup` of v2.
    pub default_cgroup: u32,
    /// `cgroup.kn`, pointer to a `kernfs_node`.
    pub kernfs_node: u32,
    /// `kernfs_node.id`, u64.
    pub inode: u32,
    /// `sock.sk_lock.owned` again, for the classic tracepoint; 0 when there is no BTF at all, and
    /// then no owner is ever reported.
    pub sock_lock_owned: u32,
}

/// Offsets into `pt_regs`, by the calling convention of the architecture: what a kprobe is handed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistersLayout {
    /// The first argument, u64.
    pub first: u32,
    /// The second argument, u64.
    pub second: u32,
    /// The third argument, u64.
    pub third: u32,
    /// What a function returns, u64.
    pub returned: u32,
    /// Where a function that was just called returns to, u64; 0: that is on the stack.
    pub link: u32,
}

/// Offsets into the record of the classic tracepoint `sock:inet_sock_set_state`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TracepointLayout {
    /// `skaddr`, pointer.
    pub skaddr: u32,
    /// `oldstate`, int.
    pub oldstate: u32,
    /// `newstate`, int.
    pub newstate: u32,
    /// `sport`, u16, host order.
    pub sport: u32,
    /// `dport`, u16, host order.
    pub dport: u32,
    /// `family`, u16.
    pub family: u32,
    /// `protocol`, u16 (u8 before 5.6).
    pub protocol: u32,
    /// `saddr_v6`, 16 bytes, v4-mapped for `AF_INET`.
    pub saddr_v6: u32,
    /// `daddr_v6`, 16 bytes.
    pub daddr_v6: u32,
}

macro_rules! words {
    ($layout:ident { $($field:ident),+ $(,)? }) => {
        impl $layout {
            /// The offsets in the order of the fields: the bytes of the read-only global.
            pub const fn words(&self) -> [u32; size_of::<$layout>() / 4] {
                [$(self.$field),+]
            }
        }
    };
}

words!(SockLayout {
    family,
    num,
    dport,
    daddr,
    rcv_saddr,
    v6_daddr,
    v6_rcv_saddr,
    net,
    net_inum,
    protocol,
    lock_owned,
    inet_sport,
    cookie,
    state,
    hash,
    node,
    sock_flags,
    err,
    shutdown,
    file,
    rcv_nxt,
    copied_seq,
});
words!(TimewaitLayout {
    substate,
    timer,
    entry_stamp,
    expires,
    function,
    buckets,
    buckets_bias,
    max_buckets,
    hashinfo,
    ehash,
    ehash_mask,
    death_row,
    death_row_is_pointer,
    linger2,
});
words!(SnapshotLayout {
    seq,
    tgid,
    f_op,
    private_data,
    references,
    references_bias,
    write_seq,
    snd_una,
    rcv_tstamp,
    lsndtime,
    lrcvtime,
    retransmits,
    ack_backlog,
    max_ack_backlog,
});
words!(TaskLayout {
    flags,
    group_leader,
    comm,
    tgid,
    cred,
    uid,
    cgroups,
    default_cgroup,
    kernfs_node,
    inode,
    sock_lock_owned
});
words!(RegistersLayout {
    first,
    second,
    third,
    returned,
    link,
});
words!(TracepointLayout {
    skaddr,
    oldstate,
    newstate,
    sport,
    dport,
    family,
    protocol,
    saddr_v6,
    daddr_v6,
});
