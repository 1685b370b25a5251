//! Who holds a socket, and how that is known. Never "whoever was on the CPU".

use std::fmt;

use hashbrown::HashMap;

use super::event::ProcessFact;

/// How the owner is known, the surest last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerSource {
    /// It is not.
    #[default]
    Unknown,
    /// It called `listen`.
    Listener,
    /// It called `close` or `shutdown`.
    Close,
    /// It is the only one with a descriptor of it.
    FdScan,
    /// It read from the socket.
    Read,
    /// It called `accept`.
    Accept,
    /// It called `connect`.
    Connect,
}

impl OwnerSource {
    /// The stable token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Listener => "listener",
            Self::Close => "close",
            Self::FdScan => "fd_scan",
            Self::Read => "read",
            Self::Accept => "accept",
            Self::Connect => "connect",
        }
    }
}

/// A process name: 16 bytes at most, any bytes, chosen by the process itself.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ProcessName(pub [u8; 16]);

impl ProcessName {
    /// Up to the first NUL.
    pub fn bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        &self.0[..end]
    }
}

impl fmt::Debug for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.bytes().escape_ascii())
    }
}

/// What is known of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its name.
    pub name: ProcessName,
    /// Its user.
    pub uid: u32,
    /// Its cgroup v2 id.
    pub cgroup: u64,
}

/// The owner of one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Process id in the initial pid namespace; 0: unknown.
    pub pid: u32,
    /// Place in the process list, plus one; 0: its facts are not known.
    facts: u32,
    /// How it is known.
    pub source: OwnerSource,
}

impl Owner {
    /// Nobody known.
    pub const UNKNOWN: Self = Self {
        pid: 0,
        facts: 0,
        source: OwnerSource::Unknown,
    };
}

/// Every process heard of, each distinct description once.
///
/// A connection keeps pointing at the description that was true when it was made, although the pid
/// may be another process by now.
#[derive(Debug, Default)]
pub struct Processes {
    list: Vec<Process>,
    latest: HashMap<u32, u32>,
    limit: usize,
}

impl Processes {
    /// Remembers at most `limit` descriptions; what comes later is known by pid only.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Takes note of a description.
    pub fn learn(&mut self, fact: &ProcessFact) {
        let process = fact.process;
        if let Some(&place) = self.latest.get(&fact.pid)
            && self.list.get(place as usize) == Some(&process)
        {
            return;
        }
        match u32::try_from(self.list.len()) {
            Ok(place) if self.list.len() < self.limit => {
                self.list.push(process);
                self.latest.insert(fact.pid, place);
            }
            _ => {
                self.latest.remove(&fact.pid);
            }
        }
    }

    /// The owner `pid`, as described last.
    pub fn owner(&self, pid: u32, source: OwnerSource) -> Owner {
        Owner {
            pid,
            facts: self.latest.get(&pid).map_or(0, |place| place + 1),
            source,
        }
    }

    /// What is known of an owner.
    #[inline]
    pub fn facts(&self, owner: Owner) -> Option<&Process> {
        let place = owner.facts.checked_sub(1)?;
        self.list.get(place as usize)
    }
}
