//! Rows of figures by key: bounded, what comes later is folded into one.

use hashbrown::{HashMap, HashSet};
use tracer_common::address::{Address, is_unspecified};

use super::{
    super::{connection::Role, owner::ProcessName, update::Transition},
    figures::GroupRow,
};

/// Keys that have a row of their own; the rest goes into [`GroupKey::Other`].
pub const MAX_GROUP_ROWS: usize = 1000;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupKey {
    /// Owners of this name.
    Process(ProcessName),
    /// A port that one side serves.
    Port(u16),
    /// A local port of a connection of which it is not known which side opened it.
    PerhapsPort(u16),
    /// A peer.
    Address(Address),
    /// Connections that this host opened: their local ports mean nothing.
    ActiveOpen,
    /// Connections that a peer opened: their remote ports mean nothing.
    PassiveOpen,
    /// What the key is made of is not known.
    Unknown,
    /// Keys beyond [`MAX_GROUP_ROWS`].
    Other,
}

impl GroupKey {
    /// Who holds a connection.
    #[inline]
    pub fn process_of(t: &Transition) -> Self {
        t.process.map_or(Self::Unknown, |p| Self::Process(p.name))
    }

    /// The port of a connection that this host serves.
    #[inline]
    pub const fn local_port_of(t: &Transition) -> Self {
        match (t.role, t.tuple.local.port()) {
            (Role::ActiveOpen, _) => Self::ActiveOpen,
            (_, None) => Self::Unknown,
            (Role::PassiveOpen, Some(port)) => Self::Port(port),
            (Role::Unknown, Some(port)) => Self::PerhapsPort(port),
        }
    }

    /// A connection's peer.
    #[inline]
    pub fn remote_of(t: &Transition) -> Self {
        if is_unspecified(&t.tuple.remote.address) {
            Self::Unknown
        } else {
            Self::Address(t.tuple.remote.address)
        }
    }
}

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u16);

/// The rows. The first is [`GroupKey::Other`].
#[derive(Clone, Debug)]
pub struct Groups {
    places: HashMap<GroupKey, Place>,
    rows: Vec<(GroupKey, GroupRow)>,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            rows: vec![(GroupKey::Other, GroupRow::default())],
        }
    }
}

impl Groups {
    /// The rows in which anything was counted, those with the most connections first; of equal ones
    /// those with the most TIME_WAITs, then the first seen.
    pub fn rows(&self) -> Vec<(GroupKey, &GroupRow)> {
        let counted = self.rows.iter().filter(|(_, row)| !row.is_empty());
        let mut rows: Vec<_> = counted.map(|(key, row)| (*key, row)).collect();
        rows.sort_by_key(|(_, row)| std::cmp::Reverse((row.connections, row.time_waits())));
        rows
    }

    pub(super) fn place(&mut self, key: GroupKey) -> Place {
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        match u16::try_from(self.rows.len()) {
            Ok(next) if self.rows.len() <= MAX_GROUP_ROWS => {
                self.rows.push((key, GroupRow::default()));
                self.places.insert(key, Place(next));
                Place(next)
            }
            _ => Place(0),
        }
    }

    pub(super) fn row(&mut self, place: Place) -> &mut GroupRow {
        &mut self.rows[usize::from(place.0)].1
    }

    /// Adds the rows of another window. `same_host`: a process id means the same in both.
    pub(super) fn merge(&mut self, other: &Self, same_host: bool) {
        for (key, row) in other.rows.iter().filter(|(_, row)| !row.is_empty()) {
            let place = match key {
                GroupKey::Other => Place(0),
                key => self.place(*key),
            };
            let sum = self.row(place);
            sum.merge(row);
            if !same_host {
                sum.pid = GroupRow::SEVERAL;
            }
        }
    }

    /// Decides what the ports are of connections of which it is not known who opened them: a port on
    /// which this host listens, or others came in, is served here (`here`), or by nobody that we know.
    pub(super) fn resolve_ports(&mut self, served: &HashSet<u16>, here: bool) {
        for at in 0..self.rows.len() {
            let GroupKey::PerhapsPort(port) = self.rows[at].0 else {
                continue;
            };
            let row = std::mem::take(&mut self.rows[at].1);
            let key = match (served.contains(&port), here) {
                (true, true) => GroupKey::Port(port),
                (true, false) => GroupKey::PassiveOpen,
                (false, _) => GroupKey::Unknown,
            };
            if let Some(place) = self.places.get(&key).copied() {
                self.row(place).merge(&row);
            } else {
                self.rows[at] = (key, row);
                let place = u16::try_from(at).map_or(Place(0), Place);
                self.places.insert(key, place);
            }
        }
    }

    /// The ports that have a row.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.rows.iter().filter_map(|(key, row)| match key {
            GroupKey::Port(port) if !row.is_empty() => Some(*port),
            _ => None,
        })
    }
}
