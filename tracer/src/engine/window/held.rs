//! What sockets that are open hold: local ports towards one destination, listening ports, orphans.

use hashbrown::{HashMap, HashSet};
use tracer_common::address::Address;

use super::super::{connection::Role, open::OpenSocket, state::TcpState, tuple::Endpoint};

/// Destinations that are listed, those with the most ports.
pub const MAX_DESTINATIONS: usize = 20;

/// Local ports that are taken from one address towards one destination: a port can't be used twice for
/// the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortUse {
    /// Local address.
    pub local: Address,
    /// The destination.
    pub remote: Endpoint,
    /// Inode of the network namespace.
    pub netns: u32,
    /// By sockets that a process may hold.
    pub live: u64,
    /// By those in TIME_WAIT.
    pub time_wait: u64,
    /// Of all, those that were opened in the window.
    pub opened: u64,
}

impl PortUse {
    /// All that are taken.
    pub const fn taken(&self) -> u64 {
        self.live + self.time_wait
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// Destinations with the most ports taken, [`MAX_DESTINATIONS`] at most.
    pub ports: Vec<PortUse>,
    /// Ports that somebody listens on, with their network namespace.
    pub listening: Vec<(u32, u16)>,
    /// Connections in FIN_WAIT2 that no process holds any more.
    pub orphans: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counting {
    ports: HashMap<(Address, Endpoint, u32), PortUse>,
    /// Network namespace and port of those that listen.
    pub(super) listening: HashSet<(u32, u16)>,
    orphans: u64,
}

impl Counting {
    /// One socket; `opened`: in the window. `served`: whether this host listens on its local port.
    pub(super) fn take(&mut self, open: &OpenSocket, opened: bool, served: bool) {
        let t = &open.last;
        if t.to == TcpState::Listen {
            self.listening.insert((t.netns, t.tuple.local.port));
            return;
        }
        self.orphans += u64::from(t.to == TcpState::FinWait2 && open.in_minisock);
        let outgoing = match t.role {
            Role::ActiveOpen => true,
            Role::PassiveOpen => false,
            Role::Unknown => !served,
        };
        if !outgoing || !t.tuple.is_complete() {
            return;
        }
        let (local, remote) = (t.tuple.local.address, t.tuple.remote);
        let ports = self.ports.entry((local, remote, t.netns)).or_default();
        (ports.local, ports.remote, ports.netns) = (local, remote, t.netns);
        ports.opened += u64::from(opened);
        if t.to == TcpState::TimeWait {
            ports.time_wait += 1;
        } else {
            ports.live += 1;
        }
    }

    pub(super) fn finish(self) -> Holdings {
        let mut ports: Vec<_> = self.ports.into_values().collect();
        let order = |p: &PortUse| {
            (
                std::cmp::Reverse(p.taken()),
                p.remote.address,
                p.remote.port,
                p.local,
            )
        };
        ports.sort_by_key(order);
        ports.truncate(MAX_DESTINATIONS);
        let mut listening: Vec<_> = self.listening.into_iter().collect();
        listening.sort_unstable();
        Holdings {
            ports,
            listening,
            orphans: self.orphans,
        }
    }
}
