//! Why a socket lingers, by what it says of itself and by who holds it. What the facts do not decide
//! is unknown.

use std::fmt::Write as _;

use super::super::{
    inspected::{Holder, Inspected},
    owner::{Owner, OwnerSource},
    state::TcpState,
};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// CLOSE_WAIT: nobody called `accept` for it, and the peer has given up. SYN_RECV: nobody calls
    /// `accept`, so that there is no room for it.
    NeverAccepted,
    /// CLOSE_WAIT: data, or the end of file, waits; the application isn't reading.
    UnreadData,
    /// CLOSE_WAIT: several processes hold it; a `close` of one only drops a reference.
    Shared,
    /// CLOSE_WAIT: read to its end, held by one process: a `close` is missing.
    NotClosed,
    /// We still send: the peer has not acknowledged everything.
    Draining,
    /// Our FIN is out, and not acknowledged.
    Unacknowledged,
    /// FIN_WAIT2: the peer has not closed its side.
    PeerOpen,
    /// A handshake that the peer does not complete.
    NoAnswer,
    /// The facts do not tell.
    Unknown,
}

impl Cause {
    /// The stable token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeverAccepted => "never_accepted",
            Self::UnreadData => "unread_data",
            Self::Shared => "shared",
            Self::NotClosed => "not_closed",
            Self::Draining => "draining",
            Self::Unacknowledged => "unacknowledged",
            Self::PeerOpen => "peer_open",
            Self::NoAnswer => "no_answer",
            Self::Unknown => "unknown",
        }
    }
}

/// Bytes without the FIN, which the kernel counts as one. Of the peer's it is not known whether it
/// is among them: if anything waits, it does, for nothing comes after it.
pub(super) const fn without_fin(queue: u32) -> u32 {
    queue.saturating_sub(1)
}

/// The cause, and what it rests on.
pub(super) fn cause(
    socket: &Inspected,
    owner: Owner,
    listener: Option<&Inspected>,
) -> (Cause, String) {
    match socket.state {
        TcpState::CloseWait => close_wait(socket, owner, listener),
        TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck => leaving(socket),
        TcpState::FinWait2 => (
            Cause::PeerOpen,
            "our FIN is acknowledged, the peer's has not come".to_owned(),
        ),
        TcpState::SynSent => (
            Cause::NoAnswer,
            with_retransmits("our SYN is not answered", socket),
        ),
        TcpState::SynRecv => syn_recv(socket, listener),
        _ => (Cause::Unknown, String::new()),
    }
}

/// The same of a socket that nobody has looked at in its state; `looked`: somebody did at others.
pub(super) fn unseen(state: TcpState, looked: bool) -> (Cause, String) {
    let (cause, text) = match state {
        TcpState::FinWait2 => (
            Cause::PeerOpen,
            "our FIN is acknowledged, the peer's has not come",
        ),
        TcpState::SynSent => (Cause::NoAnswer, "our SYN is not answered"),
        _ if looked => (
            Cause::Unknown,
            "no look at it is recorded since it came into this state",
        ),
        _ => (Cause::Unknown, "no look at the sockets is recorded"),
    };
    (cause, text.to_owned())
}

fn close_wait(socket: &Inspected, owner: Owner, listener: Option<&Inspected>) -> (Cause, String) {
    let Some(inside) = socket.inside else {
        return (Cause::Unknown, "nothing is known of its inside".to_owned());
    };
    let processes = processes(&socket.holders);
    if !inside.has_file && !inside.dead {
        let mut text = "no process has accepted it".to_owned();
        match listener {
            Some(listener) => text += &queue_of(listener),
            None => text += "; its listener is not seen",
        }
        return (Cause::NeverAccepted, text);
    }
    if inside.receive_queue > 0 {
        let text = match without_fin(inside.receive_queue) {
            0 => "the end of file waits to be read".to_owned(),
            1 => "1 byte waits to be read".to_owned(),
            bytes => format!("{bytes} bytes wait to be read"),
        };
        return (Cause::UnreadData, text + &held_by(&processes));
    }
    if inside.send_queue > 0 {
        let text = format!("{} bytes are not acknowledged", inside.send_queue);
        return (Cause::Draining, with_retransmits(&text, socket));
    }
    let gone = if owner.source >= OwnerSource::FdScan && !processes.contains(&owner.pid) {
        format!("; pid {}, which had it, has closed its own", owner.pid)
    } else {
        String::new()
    };
    match processes.len() {
        0 => (
            Cause::Unknown,
            "read to its end; no process is seen that holds it: one in another pid namespace, a \
             descriptor on its way (SCM_RIGHTS), io_uring, or the kernel"
                .to_owned(),
        ),
        1 => {
            let unseen = inside
                .references
                .map_or(0, |all| all.saturating_sub(socket.descriptors));
            let mut text = "read to its end, nothing unsent, one holder".to_owned();
            if unseen > 0 {
                let _ = write!(
                    text,
                    ", and {unseen} more references: calls in progress, or holders out of sight"
                );
            }
            (Cause::NotClosed, text + &gone)
        }
        count => (
            Cause::Shared,
            format!(
                "read to its end; {count} processes hold it: pid {}{gone}",
                list(&processes)
            ),
        ),
    }
}

/// What waits at a listener.
fn queue_of(listener: &Inspected) -> String {
    let Some(queue) = listener.inside else {
        return String::new();
    };
    let mut text = format!(
        "; {} of at most {} wait at listener {}:{}",
        queue.receive_queue,
        // The kernel lets one more in than the backlog says (sk_acceptq_is_full).
        u64::from(queue.send_queue) + 1,
        listener.tuple.local.ip(),
        listener.tuple.local.port,
    );
    let of = processes(&listener.holders);
    if !of.is_empty() {
        text += &format!(" of pid {}", list(&of));
    }
    text
}

/// SYN_RECV: while its listener's queue is full, the kernel drops what would complete the handshake.
fn syn_recv(socket: &Inspected, listener: Option<&Inspected>) -> (Cause, String) {
    let full = |listener: &&Inspected| {
        let queue = listener.inside;
        queue.is_some_and(|queue| queue.receive_queue > queue.send_queue)
    };
    match listener.filter(full) {
        Some(listener) => {
            let text = with_retransmits(
                "the accept queue is full: the peer's answer is dropped",
                socket,
            );
            (Cause::NeverAccepted, text + &queue_of(listener))
        }
        None => (
            Cause::NoAnswer,
            with_retransmits("our SYN-ACK is not answered", socket),
        ),
    }
}

/// FIN_WAIT1, CLOSING, LAST_ACK: our FIN is queued at least.
fn leaving(socket: &Inspected) -> (Cause, String) {
    match socket.inside.map(|inside| without_fin(inside.send_queue)) {
        None => (Cause::Unknown, "nothing is known of its inside".to_owned()),
        Some(0) => (
            Cause::Unacknowledged,
            with_retransmits("our FIN is not acknowledged", socket),
        ),
        Some(bytes) => (
            Cause::Draining,
            with_retransmits(
                &format!("{bytes} bytes and our FIN are not acknowledged"),
                socket,
            ),
        ),
    }
}

fn with_retransmits(text: &str, socket: &Inspected) -> String {
    match socket.inside.and_then(|inside| inside.retransmits) {
        None | Some(0) => text.to_owned(),
        Some(1) => format!("{text}, sent again once"),
        Some(times) => format!("{text}, sent again {times} times"),
    }
}

fn held_by(processes: &[u32]) -> String {
    match processes {
        [] => "; no process is seen that holds it".to_owned(),
        [_] => String::new(),
        several => format!(
            "; {} processes hold it: pid {}",
            several.len(),
            list(several)
        ),
    }
}

/// Each process once.
pub(super) fn processes(holders: &[Holder]) -> Vec<u32> {
    let mut pids: Vec<u32> = holders.iter().map(|h| h.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn list(pids: &[u32]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = pids.iter().take(SHOWN).map(u32::to_string).collect();
    let more = if pids.len() > SHOWN { ", ..." } else { "" };
    shown.join(", ") + more
}
