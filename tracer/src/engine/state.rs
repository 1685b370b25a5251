//! TCP states by name.

use std::{fmt, str::FromStr};

use tracer_common::state;

/// A TCP state, RFC 9293 section 3.3.2, with the kernel's additions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TcpState {
    /// A number that this version has no name for.
    Unknown = 0,
    /// Data flows.
    Established = state::ESTABLISHED,
    /// Our SYN is out.
    SynSent = state::SYN_SENT,
    /// The peer's SYN was answered.
    SynRecv = state::SYN_RECV,
    /// Our FIN is out.
    FinWait1 = state::FIN_WAIT1,
    /// Our FIN was acknowledged.
    FinWait2 = state::FIN_WAIT2,
    /// Both FINs done, 2MSL runs.
    TimeWait = state::TIME_WAIT,
    /// No connection.
    Close = state::CLOSE,
    /// The peer's FIN came, ours has not gone out.
    CloseWait = state::CLOSE_WAIT,
    /// The peer's FIN came first, ours is out.
    LastAck = state::LAST_ACK,
    /// A listener.
    Listen = state::LISTEN,
    /// Both FINs crossed.
    Closing = state::CLOSING,
    /// Kernel: a request socket.
    NewSynRecv = state::NEW_SYN_RECV,
    /// Kernel: bound, inactive.
    BoundInactive = state::BOUND_INACTIVE,
}

impl TcpState {
    /// How many there are; [`TcpState::index`] is below it.
    pub const COUNT: usize = state::COUNT;

    /// All of them, by number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Unknown,
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
        Self::NewSynRecv,
        Self::BoundInactive,
    ];

    /// From the kernel's number; total.
    #[inline]
    pub fn from_number(number: u8) -> Self {
        *Self::ALL.get(usize::from(number)).unwrap_or(&Self::Unknown)
    }

    /// Its place in tables by state.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The kernel's name.
    #[inline]
    pub const fn name(self) -> &'static str {
        state::NAMES[self as usize]
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Not the name of a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown state '{0}' (known: ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE \
     CLOSE_WAIT LAST_ACK LISTEN CLOSING, or as ss spells them, and its groups all, connected, \
     synchronized)"
)]
pub struct UnknownState(pub String);

impl FromStr for TcpState {
    type Err = UnknownState;

    /// The kernel's names and those of `ss`, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let canonical: String = text
            .chars()
            .filter(|c| !matches!(c, '-' | '_'))
            .map(|c| c.to_ascii_lowercase())
            .collect();
        Ok(match canonical.as_str() {
            "established" | "estab" => Self::Established,
            "synsent" => Self::SynSent,
            "synrecv" => Self::SynRecv,
            "finwait1" => Self::FinWait1,
            "finwait2" => Self::FinWait2,
            "timewait" => Self::TimeWait,
            "close" | "closed" | "unconnected" | "unconn" => Self::Close,
            "closewait" => Self::CloseWait,
            "lastack" => Self::LastAck,
            "listen" | "listening" => Self::Listen,
            "closing" => Self::Closing,
            _ => return Err(UnknownState(text.to_owned())),
        })
    }
}

/// Some of the states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSet(u16);

impl StateSet {
    /// Whether the state is one of them.
    #[inline]
    pub const fn contains(self, state: TcpState) -> bool {
        self.0 >> state.index() & 1 == 1
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds one.
    pub const fn insert(&mut self, state: TcpState) {
        self.0 |= 1 << state.index();
    }

    /// Whether the two have a state in common.
    #[inline]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds those of another set.
    pub const fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl FromIterator<TcpState> for StateSet {
    fn from_iter<I: IntoIterator<Item = TcpState>>(states: I) -> Self {
        let mut set = Self::default();
        for state in states {
            set.insert(state);
        }
        set
    }
}

/// Kept in less than a socket.
const fn is_small(state: TcpState) -> bool {
    matches!(state, TcpState::TimeWait | TcpState::NewSynRecv)
}

impl FromStr for StateSet {
    type Err = UnknownState;

    /// One state, or one of the groups of `ss` (`connected`: all but CLOSE and LISTEN;
    /// `synchronized`: connected but for SYN_SENT; `bucket`: TIME_WAIT and requests; `big`: all others; `all`).
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let group = |keep: fn(TcpState) -> bool| {
            let named = TcpState::ALL
                .into_iter()
                .filter(|s| *s != TcpState::Unknown);
            Ok(named.filter(|s| keep(*s)).collect())
        };
        match text.to_ascii_lowercase().as_str() {
            "all" => group(|_| true),
            "bucket" => group(is_small),
            "big" => group(|s| !is_small(s)),
            "connected" => group(|s| !matches!(s, TcpState::Close | TcpState::Listen)),
            "synchronized" => {
                group(|s| !matches!(s, TcpState::Close | TcpState::Listen | TcpState::SynSent))
            }
            _ => Ok([text.parse()?].into_iter().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_the_kernels() {
        for (number, state) in TcpState::ALL.into_iter().enumerate() {
            assert_eq!(state.index(), number);
            assert_eq!(TcpState::from_number(u8::try_from(number).unwrap()), state);
        }
        assert_eq!(TcpState::from_number(200), TcpState::Unknown);
    }

    #[test]
    fn both_spellings_are_accepted() {
        for name in ["TIME_WAIT", "time-wait", "Time-Wait", "timewait"] {
            assert_eq!(name.parse(), Ok(TcpState::TimeWait), "{name}");
        }
        assert_eq!("fin-wait-1".parse(), Ok(TcpState::FinWait1));
        assert_eq!("estab".parse(), Ok(TcpState::Established));
        assert!("TIMEWAITING".parse::<TcpState>().is_err());
        assert!("unknown".parse::<TcpState>().is_err());
    }

    #[test]
    fn groups_are_those_of_ss() {
        let set: StateSet = "synchronized".parse().unwrap();
        assert!(set.contains(TcpState::CloseWait));
        assert!(!set.contains(TcpState::SynSent));
        assert!(!set.contains(TcpState::Listen));
    }
}
