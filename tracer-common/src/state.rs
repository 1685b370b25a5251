//! TCP state numbers as the kernel's `include/net/tcp_states.h` has them (unchanged since 4.4).

/// Data flows.
pub const ESTABLISHED: u8 = 1;
/// `connect()` sent a SYN.
pub const SYN_SENT: u8 = 2;
/// A SYN arrived and was answered.
pub const SYN_RECV: u8 = 3;
/// We sent a FIN.
pub const FIN_WAIT1: u8 = 4;
/// Our FIN was acknowledged.
pub const FIN_WAIT2: u8 = 5;
/// The true 2MSL state; never seen on `inet_sock_set_state`.
pub const TIME_WAIT: u8 = 6;
/// No connection.
pub const CLOSE: u8 = 7;
/// The peer sent a FIN, we have not.
pub const CLOSE_WAIT: u8 = 8;
/// Both sent a FIN, ours is not yet acknowledged, the peer's came first.
pub const LAST_ACK: u8 = 9;
/// A listener.
pub const LISTEN: u8 = 10;
/// Both sent a FIN at the same time.
pub const CLOSING: u8 = 11;
/// A request socket; internal to the kernel.
pub const NEW_SYN_RECV: u8 = 12;
/// A bound, inactive socket; internal to `sock_diag` (6.8).
pub const BOUND_INACTIVE: u8 = 13;

/// How many numbers there are, the unused 0 included.
pub const COUNT: usize = 14;

/// The kernel's names, by number.
pub const NAMES: [&str; COUNT] = [
    "UNKNOWN",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
    "BOUND_INACTIVE",
];

/// Whether a socket that makes this change is a listener. (`LISTEN -> SYN_RECV` is made by its
/// child.)
#[inline]
pub const fn is_listener(oldstate: u8, newstate: u8) -> bool {
    newstate == LISTEN || (oldstate == LISTEN && newstate != SYN_RECV)
}
