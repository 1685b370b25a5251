//! Records of a snapshot: the sockets and open files that are there when somebody asks. Written by
//! iterator programs, one after the other, with nothing in between.

use core::mem::{offset_of, size_of};

use crate::{address::Address, wire::Fields};

/// A TCP socket, or a timewait minisock, of the asker's network namespace (`iter/tcp`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketFound {
    /// See [`crate::state`]; `TIME_WAIT`: a minisock.
    pub state: u8,
    /// State that a minisock stands for.
    pub substate: u8,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Local port, host order.
    pub sport: u16,
    /// Remote port, host order.
    pub dport: u16,
    /// `CLOCK_MONOTONIC`, ns.
    pub ts_ns: u64,
    /// Address of the socket or minisock.
    pub sk: u64,
    /// Its cookie; 0: none was given yet.
    pub cookie: u64,
    /// `sk_socket`: what a file would hold; 0: none does.
    pub socket: u64,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// `tw_entry_stamp` of a minisock, see
    /// [`TimewaitEnd::entry_stamp`](crate::timewait::TimewaitEnd::entry_stamp).
    pub entry_stamp: u32,
    /// Local address.
    pub saddr: Address,
    /// Remote address.
    pub daddr: Address,
    /// Not yet read, the peer's FIN counted as one byte (`rcv_nxt - copied_seq`); of a listener, how
    /// many wait to be accepted (`sk_ack_backlog`).
    pub receive_queue: u32,
    /// Not yet acknowledged by the peer, our FIN counted as one byte (`write_seq - snd_una`); of a
    /// listener, how many may wait (`sk_max_ack_backlog`).
    pub send_queue: u32,
    /// Jiffies since the peer acknowledged something, if only what it had before (`rcv_tstamp`).
    pub heard_ago: u32,
    /// Jiffies since data came, or since the opening (`icsk_ack.lrcvtime`).
    pub data_ago: u32,
    /// Jiffies since data went out (`lsndtime`).
    pub sent_ago: u32,
    /// User that the socket belongs to.
    pub uid: u32,
    /// `sk_shutdown`: 1 for receiving, 2 for sending.
    pub shutdown: u8,
    /// `FOUND_*`.
    pub flags: u8,
    /// How often in a row what is unacknowledged was sent again (`icsk_retransmits`).
    pub retransmits: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// [`SocketFound::flags`]: a full socket, whose queues and ages were read.
pub const FOUND_FULL: u8 = 1;
/// [`SocketFound::flags`]: `SOCK_DEAD`: its process has closed it.
pub const FOUND_DEAD: u8 = 2;

/// An open file of a process (`iter/task_file`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileFound {
    /// The process (thread group).
    pub tgid: u32,
    /// The descriptor.
    pub fd: u32,
    /// `file.f_op`: what kind of file it is.
    pub f_op: u64,
    /// `file.private_data`: of a socket's file, its `struct socket`.
    pub private_data: u64,
    /// `file.f_count`: descriptors of it, and calls in progress.
    pub references: u64,
}

const _: () = {
    assert!(size_of::<SocketFound>() == 112);
    assert!(offset_of!(SocketFound, netns) == 40);
    assert!(offset_of!(SocketFound, saddr) == 48);
    assert!(offset_of!(SocketFound, receive_queue) == 80);
    assert!(offset_of!(SocketFound, shutdown) == 104);
    assert!(size_of::<FileFound>() == 32);
};

impl SocketFound {
    /// Takes one record apart; `None`: it has another length.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != size_of::<Self>() {
            return None;
        }
        let mut f = Fields::new(bytes);
        Some(Self {
            state: f.u8(),
            substate: f.u8(),
            family: f.u16(),
            sport: f.u16(),
            dport: f.u16(),
            ts_ns: f.u64(),
            sk: f.u64(),
            cookie: f.u64(),
            socket: f.u64(),
            netns: f.u32(),
            entry_stamp: f.u32(),
            saddr: f.bytes(),
            daddr: f.bytes(),
            receive_queue: f.u32(),
            send_queue: f.u32(),
            heard_ago: f.u32(),
            data_ago: f.u32(),
            sent_ago: f.u32(),
            uid: f.u32(),
            shutdown: f.u8(),
            flags: f.u8(),
            retransmits: f.u8(),
            reserved: f.bytes(),
        })
    }
}

impl FileFound {
    /// Takes one record apart; `None`: it has another length.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != size_of::<Self>() {
            return None;
        }
        let mut f = Fields::new(bytes);
        Some(Self {
            tgid: f.u32(),
            fd: f.u32(),
            f_op: f.u64(),
            private_data: f.u64(),
            references: f.u64(),
        })
    }
}
