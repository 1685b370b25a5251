//! Every kernel field the programs read, by name: the contract with the running kernel, in one
//! place.

use std::{collections::HashMap, env::consts::ARCH};

use tracer_common::layout::{
    HASHINFO_WORDS, IDENTITY_WORDS, RegistersLayout, SnapshotLayout, SockLayout, TaskLayout,
    TimewaitLayout, TracepointLayout,
};

use super::{
    btf::{Btf, BtfError},
    tracefs::{Field, FormatError},
};

/// Where a socket's fields are on this kernel.
pub(super) fn resolve_sock(btf: &Btf<'_>) -> Result<SockLayout, BtfError> {
    Ok(SockLayout {
        family: btf.offset_of("sock_common.skc_family")?,
        num: btf.offset_of("sock_common.skc_num")?,
        dport: btf.offset_of("sock_common.skc_dport")?,
        daddr: btf.offset_of("sock_common.skc_daddr")?,
        rcv_saddr: btf.offset_of("sock_common.skc_rcv_saddr")?,
        v6_daddr: btf.offset_of("sock_common.skc_v6_daddr")?,
        v6_rcv_saddr: btf.offset_of("sock_common.skc_v6_rcv_saddr")?,
        net: btf.offset_of("sock_common.skc_net.net")?,
        net_inum: btf.offset_of("net.ns.inum")?,
        protocol: btf.offset_of("sock.sk_protocol")?,
        lock_owned: btf.offset_of("sock.sk_lock.owned")?,
        inet_sport: btf.offset_of("inet_sock.inet_sport")?,
        cookie: btf.offset_of("sock_common.skc_cookie")?,
        state: btf.offset_of("sock_common.skc_state")?,
        hash: btf.offset_of("sock_common.skc_hash")?,
        node: btf.offset_of("sock_common.skc_nulls_node")?,
        sock_flags: btf.offset_of("sock_common.skc_flags")?,
        err: btf.offset_of("sock.sk_err")?,
        shutdown: btf.offset_of("sock.sk_shutdown")?,
        file: btf.offset_of("sock.sk_socket")?,
        rcv_nxt: btf.offset_of("tcp_sock.rcv_nxt")?,
        copied_seq: btf.offset_of("tcp_sock.copied_seq")?,
    })
}

/// Where a minisock's fields are on this kernel, what it has in common with a socket being where that
/// has it.
pub(super) fn resolve_timewait(
    btf: &Btf<'_>,
    sock: &SockLayout,
) -> Result<TimewaitLayout, BtfError> {
    let row = "inet_timewait_death_row";
    let (buckets, buckets_bias) = match btf.offset_of(&format!("{row}.tw_refcount")) {
        Ok(offset) => (offset, 1),
        Err(_) => (btf.offset_of(&format!("{row}.tw_count"))?, 0),
    };
    let death_row = "net.ipv4.tcp_death_row";
    let early = |what: &'static str, offset: u32, words: usize| {
        let is_among = (offset as usize) < 8 * words;
        is_among.then_some(offset).ok_or(BtfError::TooFar(what))
    };
    for (what, offset) in [
        ("sock_common.skc_hash", sock.hash),
        ("sock_common.skc_state", sock.state),
        ("sock_common.skc_dport", sock.dport),
        ("sock_common.skc_num", sock.num),
        ("sock_common.skc_daddr", sock.daddr),
        ("sock_common.skc_rcv_saddr", sock.rcv_saddr),
    ] {
        early(what, offset, IDENTITY_WORDS)?;
    }
    let of_table = |path| early(path, btf.offset_of(path)?, HASHINFO_WORDS);
    Ok(TimewaitLayout {
        substate: btf.offset_of("inet_timewait_sock.tw_substate")?,
        timer: btf.offset_of("inet_timewait_sock.tw_timer")?,
        // Only since 6.14.
        entry_stamp: btf
            .offset_of("inet_timewait_sock.tw_entry_stamp")
            .unwrap_or(0),
        expires: btf.offset_of("timer_list.expires")?,
        function: btf.offset_of("timer_list.function")?,
        buckets,
        buckets_bias,
        max_buckets: btf.offset_of(&format!("{row}.sysctl_max_tw_buckets"))?,
        hashinfo: btf.offset_of(&format!("{row}.hashinfo"))?,
        ehash: of_table("inet_hashinfo.ehash")?,
        ehash_mask: of_table("inet_hashinfo.ehash_mask")?,
        death_row: btf.offset_of(death_row)?,
        death_row_is_pointer: u32::from(btf.is_pointer(death_row)),
        linger2: btf.offset_of("tcp_sock.linger2")?,
    })
}

/// Where the fields are that a snapshot reads.
pub(super) fn resolve_snapshot(btf: &Btf<'_>) -> Result<SnapshotLayout, BtfError> {
    let connection = "inet_connection_sock";
    let (references, references_bias) = match btf.offset_of("file.f_ref.refcnt") {
        Ok(offset) => (offset, 1),
        Err(_) => (btf.offset_of("file.f_count")?, 0),
    };
    Ok(SnapshotLayout {
        seq: btf.offset_of("bpf_iter_meta.seq")?,
        tgid: btf.offset_of("task_struct.tgid")?,
        f_op: btf.offset_of("file.f_op")?,
        private_data: btf.offset_of("file.private_data")?,
        references,
        references_bias,
        write_seq: btf.offset_of("tcp_sock.write_seq")?,
        snd_una: btf.offset_of("tcp_sock.snd_una")?,
        rcv_tstamp: btf.offset_of("tcp_sock.rcv_tstamp")?,
        lsndtime: btf.offset_of("tcp_sock.lsndtime")?,
        lrcvtime: btf.offset_of(&format!("{connection}.icsk_ack.lrcvtime"))?,
        retransmits: btf.offset_of(&format!("{connection}.icsk_retransmits"))?,
        ack_backlog: btf.offset_of("sock.sk_ack_backlog")?,
        max_ack_backlog: btf.offset_of("sock.sk_max_ack_backlog")?,
    })
}

/// Where a task's fields are on this kernel.
pub(super) fn resolve_task(btf: &Btf<'_>) -> Result<TaskLayout, BtfError> {
    Ok(TaskLayout {
        flags: btf.offset_of("task_struct.flags")?,
        group_leader: btf.offset_of("task_struct.group_leader")?,
        comm: btf.offset_of("task_struct.comm")?,
        tgid: btf.offset_of("task_struct.tgid")?,
        cred: btf.offset_of("task_struct.cred")?,
        uid: btf.offset_of("cred.uid")?,
        cgroups: btf.offset_of("task_struct.cgroups")?,
        default_cgroup: btf.offset_of("css_set.dfl_cgrp")?,
        kernfs_node: btf.offset_of("cgroup.kn")?,
        inode: btf.offset_of("kernfs_node.id")?,
        sock_lock_owned: btf.offset_of("sock.sk_lock.owned")?,
    })
}

/// Where a kprobe finds arguments and results on this architecture: those of its calling convention.
pub(super) fn resolve_registers(btf: &Btf<'_>) -> Result<RegistersLayout, BtfError> {
    match ARCH {
        "x86_64" => Ok(RegistersLayout {
            first: btf.offset_of("pt_regs.di")?,
            second: btf.offset_of("pt_regs.si")?,
            third: btf.offset_of("pt_regs.dx")?,
            returned: btf.offset_of("pt_regs.ax")?,
            link: 0,
        }),
        "aarch64" => {
            // x0, x1, x2; the result in x0, the way back in x30.
            let x0 = btf.offset_of("pt_regs.regs")?;
            Ok(RegistersLayout {
                first: x0,
                second: x0 + 8,
                third: x0 + 16,
                returned: x0,
                link: x0 + 30 * 8,
            })
        }
        _ => Err(BtfError::NoRegisters(ARCH)),
    }
}

/// Where the fields of `sock:inet_sock_set_state` are: RHEL and RT kernels widen the common header,
/// and `protocol` was one byte before 5.6.
pub(super) fn resolve_tracepoint(
    fields: &HashMap<String, Field>,
) -> Result<TracepointLayout, FormatError> {
    let offset = |name: &str, size: u32| match fields.get(name) {
        None => Err(FormatError::NoField(name.to_owned())),
        Some(field) if field.size != size => Err(FormatError::WrongSize {
            field: name.to_owned(),
            size: field.size,
            expected: size,
        }),
        Some(field) => Ok(field.offset),
    };
    Ok(TracepointLayout {
        skaddr: offset("skaddr", 8)?,
        oldstate: offset("oldstate", 4)?,
        newstate: offset("newstate", 4)?,
        sport: offset("sport", 2)?,
        dport: offset("dport", 2)?,
        family: offset("family", 2)?,
        protocol: offset("protocol", 2)?,
        saddr_v6: offset("saddr_v6", 16)?,
        daddr_v6: offset("daddr_v6", 16)?,
    })
}
