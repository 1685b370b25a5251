//! Where a minisock takes over from its socket: in the hash chain that both belong to.
//!
//! `tcp_time_wait` puts the minisock there (`inet_twsk_hashdance`, net/ipv4/inet_timewait_sock.c)
//! before it closes the socket, so at that change it is found, on every kernel and in every context.
//! Nothing is remembered from its making on: where a process works off the backlog of its socket
//! (`__release_sock`), softirqs come in between and make others, and it may go on on another CPU.

use tracer_common::{
    layout::{HASHINFO_WORDS, IDENTITY_WORDS, SockLayout, TimewaitLayout},
    state::TIME_WAIT,
};

use crate::{
    globals::offset,
    kernel::{Words, read},
};

/// How many are looked at. The kernel goes through the same chain for every segment: one as long as
/// this has other troubles.
const LONGEST: u32 = 64;

/// `struct inet_ehash_bucket` is the head of its chain, and nothing else.
const BUCKET: u64 = 8;

/// By what a socket and its minisock are known.
#[derive(Clone, Copy)]
pub struct Known {
    /// Over namespace, addresses and ports. Whatever is in a chain has some bits of it in common.
    pub hash: u32,
    /// Remote port, network order.
    pub dport: u16,
    /// Local port.
    pub num: u16,
    /// Addresses of an IPv4 connection, network order: remote, local.
    pub addresses: [u32; 2],
}

/// What [`minisock`] says where nobody can tell: no address, for it is odd.
pub const UNTOLD: u64 = 1;

/// The minisock that is known by this, among the connections of the namespace of a
/// `struct inet_timewait_death_row`; 0: there is none.
#[inline(never)]
pub fn minisock(death_row: u64, known: Known) -> u64 {
    let mut table = Words::<HASHINFO_WORDS>::NONE;
    table.read(read(death_row, offset!(TIMEWAIT: TimewaitLayout, hashinfo)));
    let chains: u64 = table.field(offset!(TIMEWAIT: TimewaitLayout, ehash));
    let mask: u32 = table.field(offset!(TIMEWAIT: TimewaitLayout, ehash_mask));
    let slot = u64::from(known.hash & mask);
    let mut node: u64 = read(chains + BUCKET * slot, 0);
    let mut identity = Words::<IDENTITY_WORDS>::NONE;
    for _ in 0..LONGEST {
        // `hlist_nulls`: the end of a chain is odd, and says whose end it is.
        if node & 1 == 1 {
            break;
        }
        let there = node - offset!(SOCK: SockLayout, node) as u64;
        identity.read(there);
        if is(&identity, known) {
            return there;
        }
        node = read(node, 0);
    }
    // Else it is longer, or what was stood on has gone over to another.
    if node == slot << 1 | 1 { 0 } else { UNTOLD }
}

/// Whether that is the beginning of the minisock's `struct sock_common`. One comparison, so that the
/// verifier has one way to go on from it, and not six.
#[inline(always)]
fn is(there: &Words<IDENTITY_WORDS>, known: Known) -> bool {
    let hash: u32 = there.field(offset!(SOCK: SockLayout, hash));
    let state: u8 = there.field(offset!(SOCK: SockLayout, state));
    let dport: u16 = there.field(offset!(SOCK: SockLayout, dport));
    let num: u16 = there.field(offset!(SOCK: SockLayout, num));
    let daddr: u32 = there.field(offset!(SOCK: SockLayout, daddr));
    let rcv_saddr: u32 = there.field(offset!(SOCK: SockLayout, rcv_saddr));
    let differs = (hash ^ known.hash)
        | u32::from(state ^ TIME_WAIT)
        | u32::from((dport ^ known.dport) | (num ^ known.num))
        | (daddr ^ known.addresses[0])
        | (rcv_saddr ^ known.addresses[1]);
    differs == 0
}
