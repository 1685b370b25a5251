//! Stuck sockets taken together: by who holds them, and on which port.

use std::collections::BTreeMap;

use super::{super::state::TcpState, Age, Cause, StuckSocket, cause::processes};

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
}

/// The groups, largest first. `sockets` are oldest first.
pub fn groups(sockets: &[StuckSocket]) -> Vec<Group> {
    let mut by_key: BTreeMap<(Vec<u32>, Port, TcpState), Group> = BTreeMap::new();
    for (place, socket) in sockets.iter().enumerate() {
        let mut pids = processes(&socket.holders);
        if pids.is_empty() {
            pids = processes(&socket.listener);
        }
        if pids.is_empty() && socket.owner.pid != 0 {
            pids.push(socket.owner.pid);
        }
        let port = Port::of(
            socket.served,
            socket.tuple.local.port,
            socket.tuple.remote.port,
        );
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
            });
        group.sockets += 1;
        match group.causes.iter_mut().find(|(c, _)| *c == socket.cause) {
            Some((_, count)) => *count += 1,
            None => group.causes.push((socket.cause, 1)),
        }
    }
    let mut groups: Vec<Group> = by_key.into_values().collect();
    for group in &mut groups {
        group
            .causes
            .sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    }
    groups.sort_by_key(|group| (std::cmp::Reverse(group.sockets), group.example));
    groups
}
