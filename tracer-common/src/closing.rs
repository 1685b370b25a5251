//! Who closed first, and how a connection ended: from the order of its states and from what the
//! socket says of itself at the end (`sk_err`, `sk_shutdown`, whether a file stood behind it). Never
//! a guess: what the evidence does not decide is unknown.
//!
//! Here, because the engine and the kernel programs that add up by themselves ([`crate::books`]) judge
//! by the same table. Nothing of this is in a record: these are not wire types.

use crate::state as s;

/// Whose FIN came first, or what ended the connection before there was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClosedFirst {
    /// This host's FIN.
    Local,
    /// The peer's FIN.
    Remote,
    /// Both were under way at once (RFC 9293 3.6, figure 13).
    Simultaneous,
    /// This host's RST, before any FIN.
    LocalReset,
    /// The peer's RST, before any FIN.
    RemoteReset,
    /// The peer did not answer, before any FIN.
    Timeout,
    /// It ended, and the evidence does not tell.
    Unknown,
}

impl ClosedFirst {
    /// All, in the order of the report.
    pub const ALL: [Self; 7] = [
        Self::Local,
        Self::Remote,
        Self::Simultaneous,
        Self::LocalReset,
        Self::RemoteReset,
        Self::Timeout,
        Self::Unknown,
    ];

    /// The stable token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Simultaneous => "simultaneous",
            Self::LocalReset => "local_reset",
            Self::RemoteReset => "remote_reset",
            Self::Timeout => "timeout",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a state that leads to `CLOSE` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndReason {
    /// TIME_WAIT: its time was over (`tw_timer_handler`).
    Expired,
    /// TIME_WAIT: `connect` took its port (`tcp_twsk_unique`).
    Reused,
    /// TIME_WAIT: a SYN of the same tuple opened a new connection (RFC 9293 3.10.7.4, RFC 6191).
    SynRecycled,
    /// A RST of the peer.
    Reset,
    /// Its network namespace was taken down (`inet_twsk_purge`).
    Purged,
    /// Destroyed from outside: `ss -K`, `tcp_abort`.
    Destroyed,
    /// FIN_WAIT2 of an orphan: `tcp_fin_timeout` was over.
    FinTimeout,
    /// FIN_WAIT2 of an orphan: the peer sent data (or a SYN), and got a RST.
    DataAfterClose,
    /// There should have been a minisock: `tcp_max_tw_buckets` was reached.
    Overflow,
    /// There should have been a minisock: no memory.
    NoMemory,
    /// Both FINs were acknowledged.
    Closed,
    /// `connect`: a RST answered.
    Refused,
    /// `connect`: no route, or ICMP said so. Later: the last attempt ended so.
    Unreachable,
    /// Nothing was answered: retransmissions, keep-alive or `TCP_USER_TIMEOUT`.
    Timeout,
    /// `connect`: no local port was free.
    NoPort,
    /// Given up by this host before it was established.
    Abandoned,
    /// Closed with data unread: a RST was sent (RFC 2525 2.17).
    UnreadData,
    /// Closed with a linger time of 0: a RST was sent.
    Linger0,
    /// `connect(AF_UNSPEC)`: a RST was sent.
    Disconnected,
    /// Never accepted, and the listener was closed: a RST was sent.
    ListenerClosed,
    /// The evidence does not tell.
    Unknown,
}

impl EndReason {
    /// All, in the order of the declaration: `EndReason::ALL[reason as usize] == reason`.
    pub const ALL: [Self; 21] = [
        Self::Expired,
        Self::Reused,
        Self::SynRecycled,
        Self::Reset,
        Self::Purged,
        Self::Destroyed,
        Self::FinTimeout,
        Self::DataAfterClose,
        Self::Overflow,
        Self::NoMemory,
        Self::Closed,
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::NoPort,
        Self::Abandoned,
        Self::UnreadData,
        Self::Linger0,
        Self::Disconnected,
        Self::ListenerClosed,
        Self::Unknown,
    ];

    /// The stable token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Reused => "reused",
            Self::SynRecycled => "syn_recycled",
            Self::Reset => "reset",
            Self::Purged => "purged",
            Self::Destroyed => "destroyed",
            Self::FinTimeout => "fin_timeout",
            Self::DataAfterClose => "data_after_close",
            Self::Overflow => "overflow",
            Self::NoMemory => "no_memory",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::NoPort => "no_port",
            Self::Abandoned => "abandoned",
            Self::UnreadData => "unread_data",
            Self::Linger0 => "linger_0",
            Self::Disconnected => "disconnected",
            Self::ListenerClosed => "listener_closed",
            Self::Unknown => "unknown",
        }
    }
}

const _: () = {
    let mut i = 0;
    while i < EndReason::ALL.len() {
        assert!(EndReason::ALL[i] as usize == i);
        i += 1;
    }
};

/// What the socket said of itself when it changed to `CLOSE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// `sk_err`.
    pub err: u16,
    /// `sk_shutdown` had both bits: `close` was called.
    pub shut_both: bool,
    /// A file stood behind it.
    pub has_file: bool,
    /// `SOCK_DEAD`: its process had closed it before.
    pub dead: bool,
    /// `rcv_nxt - copied_seq`: unread bytes, the FIN counted as one.
    pub unread: u32,
    /// What the kernel's stack said, where it was asked.
    pub by_stack: Option<EndReason>,
}

/// Errno values, include/uapi/asm-generic/errno.h. They differ on mips and sparc, for which there is
/// no build.
mod errno {
    pub(crate) const EPIPE: u16 = 32;
    pub(crate) const ENETUNREACH: u16 = 101;
    pub(crate) const ECONNABORTED: u16 = 103;
    pub(crate) const ECONNRESET: u16 = 104;
    pub(crate) const ETIMEDOUT: u16 = 110;
    pub(crate) const ECONNREFUSED: u16 = 111;
    pub(crate) const EHOSTUNREACH: u16 = 113;
}

/// Who closed first, as far as this one change tells. `None`: it does not.
#[inline]
pub fn closed_first(from: u8, to: u8, evidence: Option<&Evidence>) -> Option<ClosedFirst> {
    Some(match (from, to) {
        (s::FIN_WAIT1, s::CLOSING) | (s::CLOSING, _) => ClosedFirst::Simultaneous,
        (s::FIN_WAIT1, s::FIN_WAIT2 | s::TIME_WAIT | s::CLOSE) | (s::FIN_WAIT2, _) => {
            ClosedFirst::Local
        }
        (_, s::CLOSE_WAIT) | (s::CLOSE_WAIT | s::LAST_ACK, _) => ClosedFirst::Remote,
        (s::ESTABLISHED, s::CLOSE) => match evidence.map(|e| e.err) {
            Some(0 | errno::ECONNABORTED) => ClosedFirst::LocalReset,
            Some(errno::ECONNRESET | errno::EPIPE | errno::ECONNREFUSED) => {
                ClosedFirst::RemoteReset
            }
            Some(errno::ETIMEDOUT | errno::EHOSTUNREACH | errno::ENETUNREACH) => {
                ClosedFirst::Timeout
            }
            _ => ClosedFirst::Unknown,
        },
        _ => return None,
    })
}

/// Who closed first, as far as the state tells that a connection is found in.
#[inline]
pub fn was_closed_first(state: u8) -> Option<ClosedFirst> {
    match state {
        s::FIN_WAIT2 => Some(ClosedFirst::Local),
        s::CLOSE_WAIT | s::LAST_ACK => Some(ClosedFirst::Remote),
        s::CLOSING => Some(ClosedFirst::Simultaneous),
        _ => None,
    }
}

/// Why a full socket went to `CLOSE` from `from`; `port`: whether it had a local port. `None` for a
/// listener.
#[inline]
pub fn end_reason(from: u8, port: bool, evidence: Option<&Evidence>) -> Option<EndReason> {
    if from == s::LISTEN {
        return None;
    }
    let Some(evidence) = evidence else {
        return Some(EndReason::Unknown);
    };
    if let Some(reason) = evidence.by_stack {
        return Some(reason);
    }
    let connecting = from == s::SYN_SENT;
    Some(match evidence.err {
        errno::ECONNREFUSED if connecting => EndReason::Refused,
        // The peer's, or ours to what it still sent: the stack was not asked.
        errno::ECONNRESET if matches!(from, s::FIN_WAIT1 | s::FIN_WAIT2) && evidence.dead => {
            EndReason::Unknown
        }
        errno::ECONNRESET | errno::EPIPE | errno::ECONNREFUSED => EndReason::Reset,
        errno::ETIMEDOUT => EndReason::Timeout,
        errno::EHOSTUNREACH | errno::ENETUNREACH => EndReason::Unreachable,
        errno::ECONNABORTED => EndReason::Destroyed,
        0 => match from {
            s::LAST_ACK => EndReason::Closed,
            s::SYN_SENT if !port => EndReason::NoPort,
            s::SYN_SENT if evidence.shut_both => EndReason::Abandoned,
            // Mostly a second child of one handshake: the first had won the race.
            s::SYN_RECV => EndReason::Abandoned,
            s::ESTABLISHED | s::CLOSE_WAIT => local_reset(from, evidence),
            // Half-closed by `shutdown`, and then closed: `tcp_disconnect`.
            s::FIN_WAIT1 | s::FIN_WAIT2 if !evidence.dead && evidence.has_file => {
                if evidence.shut_both {
                    EndReason::Linger0
                } else {
                    EndReason::Disconnected
                }
            }
            _ => EndReason::Unknown,
        },
        _ => EndReason::Unknown,
    })
}

/// Why this host ended it without a FIN.
#[inline]
fn local_reset(from: u8, evidence: &Evidence) -> EndReason {
    if evidence.dead {
        return EndReason::Unknown;
    }
    if !evidence.has_file {
        return EndReason::ListenerClosed;
    }
    if !evidence.shut_both {
        return EndReason::Disconnected;
    }
    // `close` does not count the FIN as data.
    let fin = u32::from(from == s::CLOSE_WAIT);
    if evidence.unread > fin {
        EndReason::UnreadData
    } else {
        EndReason::Linger0
    }
}

/// Whether a full socket that leaves this state for good was a connection: no listener, and nothing
/// that was never established.
#[inline]
pub const fn counts_as_closed(from: u8) -> bool {
    !matches!(from, s::LISTEN | s::SYN_SENT | s::SYN_RECV)
}

/// The beginning of a connection or a listener: whatever was on the socket is over.
#[inline]
pub const fn is_opening(from: u8, to: u8) -> bool {
    matches!(
        (from, to),
        (s::CLOSE, s::SYN_SENT | s::LISTEN) | (s::LISTEN, s::SYN_RECV)
    )
}
