//! Stuck sockets taken together: by who holds them, and on which port.

use std::{collections::BTreeMap, fmt};

use hashbrown::HashMap;

use super::{
    super::{owner::ProcessName, state::TcpState},
    Age, Cause, StuckSocket,
};

/// The port that sockets have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// A listener's: we serve there.
    Local(u16),
    /// The peer's: we are its client.
    Remote(u16),
}

impl Port {
    /// Of a socket.
    pub(super) const fn of(served: bool, local: u16, remote: u16) -> Self {
        if served {
            Self::Local(local)
        } else {
            Self::Remote(remote)
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(port) => write!(f, "on port {port}"),
            Self::Remote(port) => write!(f, "to port {port}"),
        }
    }
}

/// Sockets of the same processes, on the same port, in the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Who holds them, or should accept them; none: nobody that was seen.
    pub pids: Vec<u32>,
    /// The port.
    pub port: Port,
    /// The state.
    pub state: TcpState,
    /// How many.
    pub sockets: usize,
    /// The longest time in the state.
    pub oldest: Age,
    /// Why, most frequent first.
    pub causes: Vec<(Cause, usize)>,
    /// Place of the oldest in the list that the groups were made of.
    pub example: usize,
    /// Each process has one of its own, as those of a server do that forks for every connection.
    pub one_each: bool,
}

/// The groups, largest first. `sockets` are oldest first.
pub fn groups(sockets: &[StuckSocket]) -> Vec<Group> {
    let mut by_key: BTreeMap<(Vec<u32>, Port, TcpState), Group> = BTreeMap::new();
    for (place, socket) in sockets.iter().enumerate() {
        let (pids, port) = (socket.processes(), socket.port());
        let group = by_key
            .entry((pids.clone(), port, socket.state))
            .or_insert_with(|| Group {
                pids,
                port,
                state: socket.state,
                sockets: 0,
                oldest: socket.age,
                causes: Vec::new(),
                example: place,
                one_each: false,
            });
        group.sockets += 1;
        group.count(socket.cause, 1);
    }
    sorted(by_key.into_values())
}

/// Takes the processes together that have one socket each, the same name, and the same port: what a
/// server forks for a connection is no case of its own.
pub fn one_each(groups: Vec<Group>, name: impl Fn(u32) -> Option<ProcessName>) -> Vec<Group> {
    let (mut merged, mut of_name): (Vec<Group>, HashMap<_, usize>) = Default::default();
    for group in groups {
        let name = match group.pids[..] {
            [pid] if group.sockets == 1 => name(pid),
            _ => None,
        };
        let Some(name) = name else {
            merged.push(group);
            continue;
        };
        let place = *of_name
            .entry((name, group.port, group.state))
            .or_insert(merged.len());
        match merged.get_mut(place) {
            Some(first) => first.take(group),
            None => merged.push(group),
        }
    }
    sorted(merged)
}

impl Group {
    /// Whether this is one of them.
    pub fn has(&self, socket: &StuckSocket) -> bool {
        let pids = socket.processes();
        let same =
            pids == self.pids || (self.one_each && pids.iter().all(|pid| self.pids.contains(pid)));
        same && (socket.port(), socket.state) == (self.port, self.state)
    }

    fn count(&mut self, cause: Cause, sockets: usize) {
        match self.causes.iter_mut().find(|(c, _)| *c == cause) {
            Some((_, count)) => *count += sockets,
            None => self.causes.push((cause, sockets)),
        }
    }

    fn take(&mut self, other: Self) {
        self.one_each = true;
        self.sockets += other.sockets;
        for (cause, sockets) in other.causes {
            self.count(cause, sockets);
        }
        if other.example < self.example {
            self.example = other.example;
            self.oldest = other.oldest;
            self.pids.splice(0..0, other.pids);
        } else {
            self.pids.extend(other.pids);
        }
    }
}

/// Largest first, with their most frequent cause first.
fn sorted(groups: impl IntoIterator<Item = Group>) -> Vec<Group> {
    let mut groups: Vec<Group> = groups.into_iter().collect();
    for group in &mut groups {
        group
            .causes
            .sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    }
    groups.sort_by_key(|group| (std::cmp::Reverse(group.sockets), group.example));
    groups
}
