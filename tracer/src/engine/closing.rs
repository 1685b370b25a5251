//! Who closed first, and how a connection ended: from the order of its states and from what the
//! socket says of itself at the end (`sk_err`, `sk_shutdown`, whether a file stood behind it). Never
//! a guess: what the evidence does not decide is unknown.

use super::state::TcpState;

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
    pub(super) const EPIPE: u16 = 32;
    pub(super) const ENETUNREACH: u16 = 101;
    pub(super) const ECONNABORTED: u16 = 103;
    pub(super) const ECONNRESET: u16 = 104;
    pub(super) const ETIMEDOUT: u16 = 110;
    pub(super) const ECONNREFUSED: u16 = 111;
    pub(super) const EHOSTUNREACH: u16 = 113;
}

/// Who closed first, as far as this one change tells. `None`: it does not.
pub fn closed_first(
    from: TcpState,
    to: TcpState,
    evidence: Option<&Evidence>,
) -> Option<ClosedFirst> {
    use TcpState as S;
    Some(match (from, to) {
        (S::FinWait1, S::Closing) | (S::Closing, _) => ClosedFirst::Simultaneous,
        (S::FinWait1, S::FinWait2 | S::TimeWait | S::Close) | (S::FinWait2, _) => {
            ClosedFirst::Local
        }
        (_, S::CloseWait) | (S::CloseWait | S::LastAck, _) => ClosedFirst::Remote,
        (S::Established, S::Close) => match evidence.map(|e| e.err) {
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
pub fn was_closed_first(state: TcpState) -> Option<ClosedFirst> {
    match state {
        TcpState::FinWait2 => Some(ClosedFirst::Local),
        TcpState::CloseWait | TcpState::LastAck => Some(ClosedFirst::Remote),
        TcpState::Closing => Some(ClosedFirst::Simultaneous),
        _ => None,
    }
}

/// Why a full socket went to `CLOSE` from `from`; `port`: whether it had a local port. `None` for a
/// listener.
pub fn end_reason(from: TcpState, port: bool, evidence: Option<&Evidence>) -> Option<EndReason> {
    use TcpState as S;
    if from == S::Listen {
        return None;
    }
    let Some(evidence) = evidence else {
        return Some(EndReason::Unknown);
    };
    if let Some(reason) = evidence.by_stack {
        return Some(reason);
    }
    let connecting = from == S::SynSent;
    Some(match evidence.err {
        errno::ECONNREFUSED if connecting => EndReason::Refused,
        // The peer's, or ours to what it still sent: the stack was not asked.
        errno::ECONNRESET if matches!(from, S::FinWait1 | S::FinWait2) && evidence.dead => {
            EndReason::Unknown
        }
        errno::ECONNRESET | errno::EPIPE | errno::ECONNREFUSED => EndReason::Reset,
        errno::ETIMEDOUT => EndReason::Timeout,
        errno::EHOSTUNREACH | errno::ENETUNREACH => EndReason::Unreachable,
        errno::ECONNABORTED => EndReason::Destroyed,
        0 => match from {
            S::LastAck => EndReason::Closed,
            S::SynSent if !port => EndReason::NoPort,
            S::SynSent if evidence.shut_both => EndReason::Abandoned,
            // Mostly a second child of one handshake: the first had won the race.
            S::SynRecv => EndReason::Abandoned,
            S::Established | S::CloseWait => local_reset(from, evidence),
            // Half-closed by `shutdown`, and then closed: `tcp_disconnect`.
            S::FinWait1 | S::FinWait2 if !evidence.dead && evidence.has_file => {
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
fn local_reset(from: TcpState, evidence: &Evidence) -> EndReason {
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
    let fin = u32::from(from == TcpState::CloseWait);
    if evidence.unread > fin {
        EndReason::UnreadData
    } else {
        EndReason::Linger0
    }
}
