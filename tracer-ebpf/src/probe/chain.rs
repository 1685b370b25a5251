//! Where a minisock takes over from its socket: in the hash chain that both belong to.
//!
//! `tcp_time_wait` puts the minisock there (`inet_twsk_hashdance`, net/ipv4/inet_timewait_sock.c)
//! before it closes the socket, so at that change it is found, on every kernel and in every context.
//! Nothing is remembered from its making on: where a process works off the backlog of its socket
//! (`__release_sock`), softirqs come in between and make others, and it may go on on another CPU.

use tracer_common::{
    layout::{SockLayout, TimewaitLayout},
    state::TIME_WAIT,
};

use crate::{
    globals::offset,
    kernel::read,
    probe::common::Common,
};

/// How many are looked at. The kernel goes through the same chain for every segment: one as long as
/// this has other troubles.
const LONGEST: u32 = 64;

/// `struct inet_ehash_bucket` is the head of its chain, and nothing else.
const BUCKET: u64 = 8;

/// By what a socket and its minisock are known.
#[derive(Clone, Copy)]
pub struct Known {
    /// Over namespace, addresses and ports, with a secret of the host.
    pub hash: u32,
    /// Remote port, network order.
    pub dport: u16,
    /// Remote address of an IPv4 connection, network order.
    pub daddr: u32,
}

/// The minisock that is known by this, among the connections of the namespace of a
/// `struct inet_timewait_death_row`; 0: there is none.
#[inline(never)]
pub fn minisock(death_row: u64, known: Known) -> u64 {
    let table: u64 = read(death_row, offset!(TIMEWAIT: TimewaitLayout, hashinfo));
    let chains: u64 = read(table, offset!(TIMEWAIT: TimewaitLayout, ehash));
    let mask: u32 = read(table, offset!(TIMEWAIT: TimewaitLayout, ehash_mask));
    let slot = u64::from(known.hash & mask);
    let head = chains + BUCKET * slot;
    let mut node: u64 = read(head, 0);
    for _ in 0..LONGEST {
        // `hlist_nulls`: the end of a chain is odd, and says whose end it is.
        if node & 1 == 1 {
            if node >> 1 == slot {
                break;
            }
            // What was stood on has gone over to another chain.
            node = read(head, 0);
            continue;
        }
        let there = Common(node - offset!(SOCK: SockLayout, node) as u64);
        if there.hash() == known.hash {
            // The socket has left, and two connections with the same hash are as good as never.
            return if there.is(known) { there.0 } else { 0 };
        }
        node = read(node, 0);
    }
    0
}

impl Common {
    #[inline(always)]
    fn is(self, known: Known) -> bool {
        self.state() == TIME_WAIT
            && self.dport().to_be() == known.dport
            && self.daddr() == known.daddr
    }
}
