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
}

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
}

const _: () = {
    assert!(size_of::<SocketFound>() == 80);
    assert!(offset_of!(SocketFound, netns) == 40);
    assert!(offset_of!(SocketFound, saddr) == 48);
    assert!(size_of::<FileFound>() == 24);
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
        })
    }
}
