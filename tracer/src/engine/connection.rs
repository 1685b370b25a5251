//! What is remembered of one connection.

use super::{closing::ClosedFirst, owner::Owner, state::TcpState, time::Mono, tuple::FourTuple};

/// The kernel's address of a socket or of a timewait minisock. The kernel reuses it within microseconds of the socket's end.
///
/// Whoever asks by `sock_diag` is not told it; then it is made of the cookie ([`SockId::of_cookie`]),
/// until an event shows the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SockId(pub u64);

impl SockId {
    /// No address begins with these two bits.
    const MADE_UP: u64 = 0b01;

    /// What stands for the address of the socket with this cookie. Before 5.12 each network namespace
    /// counts its cookies by itself.
    pub const fn of_cookie(cookie: u64, netns: u32) -> Self {
        // Mixed, for the sum of two counters is soon another's (the finalizer of SplitMix64).
        let mut id = cookie ^ (netns as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        id = (id ^ id >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ id >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((id ^ id >> 31) >> 2 | Self::MADE_UP << 62)
    }

    /// Whether it is the kernel's address.
    #[inline]
    pub const fn is_address(self) -> bool {
        self.0 >> 62 != Self::MADE_UP
    }
}

/// One connection (or listener), in order of first sight. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl ConnId {
    /// Its name where so many engines tell one story, and this one's place among them is `lane`.
    pub const fn among(self, lane: usize, lanes: usize) -> Self {
        let before = self.0.saturating_sub(1).saturating_mul(lanes as u64);
        Self(before.saturating_add(lane as u64).saturating_add(1))
    }
}

/// Which side opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The opening was not seen, or it is a listener.
    #[default]
    Unknown,
    /// This socket called `connect`.
    ActiveOpen,
    /// This socket came out of a listener.
    PassiveOpen,
}

impl Role {
    /// The stable token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::ActiveOpen => "active_open",
            Self::PassiveOpen => "passive_open",
        }
    }
}

/// How the entry into a state is known, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// It was not seen.
    Unseen,
    /// Not later than this.
    NotLater,
    /// Worked out later from a timer.
    Approximate,
    /// Seen as it happened, or stamped by the kernel.
    Exact,
}

/// A connection that the engine follows.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Its name.
    pub id: ConnId,
    /// Where the kernel keeps it.
    pub sock: SockId,
    /// 0: unknown.
    pub cookie: u64,
    /// When it entered `state`; meaningless if the entry was not seen.
    pub since: Mono,
    /// As complete as it has become.
    pub tuple: FourTuple,
    /// Inode of the network namespace; 0: unknown.
    pub netns: u32,
    /// Who holds it.
    pub owner: Owner,
    /// The state left last, to recognise a repeat.
    pub previous: TcpState,
    /// Where it is.
    pub state: TcpState,
    /// Which side opened.
    pub role: Role,
    /// Who closed first, once that is known.
    pub closed_first: Option<ClosedFirst>,
    /// Whether a minisock stands for it by now.
    pub in_minisock: bool,
    /// What `since` is worth.
    pub entry: Entry,
    /// Whether its opening transition still waits for the tuple.
    pub opening_held: bool,
}

impl Connection {
    /// Whether a cookie is another connection's. An unknown one is nobody's.
    #[inline]
    pub const fn is_another(&self, cookie: u64) -> bool {
        cookie != 0 && self.cookie != 0 && cookie != self.cookie
    }

    /// Takes an owner that is known more surely than the one it had.
    #[inline]
    pub fn own(&mut self, owner: Owner) {
        if owner.source > self.owner.source {
            self.owner = owner;
        }
    }
}

// One million of these, plus the index, are to stay well under 200 MiB.
const _: () = assert!(size_of::<Connection>() <= 104);
