//! What the latest look showed. Bounded; each look replaces the one before.

use std::collections::BTreeMap;

use hashbrown::{HashMap, hash_map::Entry};

use super::super::{
    connection::{Entry as Known, Role, SockId},
    inspected::{Descriptors, Inspected, Looked},
    machine::Engine,
    state::TcpState,
    time::Mono,
    window::Queue,
};

/// A socket's facts, and when they were true.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Mono,
    /// When it was seen in this state first, look after look.
    pub(super) first: Mono,
    pub(super) facts: Inspected,
}

impl Seen {
    /// When what is seen now was seen first. Addresses are reused: only a cookie tells that it is the
    /// same.
    fn first_of(&self, at: Mono, now: &Inspected) -> Mono {
        let before = &self.facts;
        let same = now.cookie != 0 && (before.cookie, before.state) == (now.cookie, now.state);
        if same { self.first } else { at }
    }
}

/// Listeners on one port that are told apart (`SO_REUSEPORT`: one for each thread, mostly).
const MAX_ON_A_PORT: usize = 1024;

/// See the module.
#[derive(Debug)]
pub struct Looks {
    sockets: HashMap<SockId, Seen>,
    /// By address and namespace they could not be found otherwise: few.
    listeners: BTreeMap<(u32, u16), Vec<Seen>>,
    /// How many listeners that is.
    listening: usize,
    descriptors: HashMap<u32, (Mono, Descriptors)>,
    latest: Option<Looked>,
    first: Option<Mono>,
    at: Mono,
    limit: usize,
    /// Sockets that found no room.
    dropped: u64,
}

impl Looks {
    /// Room for so many sockets.
    pub fn new(limit: usize) -> Self {
        Self {
            sockets: HashMap::new(),
            listeners: BTreeMap::new(),
            listening: 0,
            descriptors: HashMap::new(),
            latest: None,
            first: None,
            at: Mono(0),
            limit,
            dropped: 0,
        }
    }

    /// A socket's address has come to be known.
    pub(in super::super) fn rename(&mut self, from: SockId, to: SockId) {
        if let Some(mut seen) = self.sockets.remove(&from) {
            seen.facts.sock = to;
            self.sockets.insert(to, seen);
        }
    }

    fn inspected(&mut self, at: Mono, facts: Inspected) {
        if facts.state == TcpState::Listen {
            let key = (facts.netns, facts.tuple.local.port);
            let there = self.listeners.entry(key).or_default();
            let seen = Seen {
                at,
                first: at,
                facts,
            };
            let known = there.iter_mut().find(|s| s.facts.sock == seen.facts.sock);
            if let Some(known) = known {
                *known = seen;
            } else if self.listening < self.limit && there.len() < MAX_ON_A_PORT {
                self.listening += 1;
                there.push(seen);
            } else {
                self.dropped += 1;
            }
            return;
        }
        let full = self.sockets.len() >= self.limit;
        match self.sockets.entry(facts.sock) {
            Entry::Occupied(mut there) => {
                let first = there.get().first_of(at, &facts);
                there.insert(Seen { at, first, facts });
            }
            Entry::Vacant(_) if full => self.dropped += 1,
            Entry::Vacant(place) => {
                place.insert(Seen {
                    at,
                    first: at,
                    facts,
                });
            }
        }
    }

    /// A process's open files.
    pub(in super::super) fn descriptors(&mut self, at: Mono, descriptors: Descriptors) {
        if self.descriptors.len() < self.limit {
            self.descriptors.insert(descriptors.pid, (at, descriptors));
        }
    }

    /// Forgets what this look did not show.
    pub(in super::super) fn ended(&mut self, at: Mono, looked: Looked) {
        self.sockets.retain(|_, seen| seen.at >= looked.began);
        self.listeners.retain(|_, there| {
            there.retain(|seen| seen.at >= looked.began);
            !there.is_empty()
        });
        self.listening = self.listeners.values().map(Vec::len).sum();
        self.descriptors.retain(|_, (at, _)| *at >= looked.began);
        self.latest = Some(looked);
        self.first.get_or_insert(at);
        self.at = at;
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = &Seen> {
        self.sockets.values()
    }

    /// The listener that a connection with this local end came out of: on its address, else on every
    /// address.
    pub(super) fn listener_of(&self, socket: &Inspected) -> Option<&Inspected> {
        let local = socket.tuple.local;
        let there = self.listeners.get(&(socket.netns, local.port))?;
        let on = |seen: &&Seen| seen.facts.tuple.local.ip() == local.ip();
        let exact = there.iter().find(on);
        let any = |seen: &&Seen| seen.facts.tuple.local.ip().is_unspecified();
        exact.or_else(|| there.iter().find(any)).map(|s| &s.facts)
    }

    /// Whether this host serves a connection on this port of its own: its role tells, else that somebody
    /// listens there.
    pub(super) fn serves(&self, role: Role, netns: u32, port: u16) -> bool {
        match role {
            Role::ActiveOpen => false,
            Role::PassiveOpen => true,
            Role::Unknown => self.listens(netns, port),
        }
    }

    /// Whether a process is known to be stopped, by a signal or a debugger.
    pub fn is_stopped(&self, pid: u32) -> bool {
        self.descriptors_of(pid).is_some_and(|d| d.stopped)
    }

    /// Whether somebody listens on this port there.
    fn listens(&self, netns: u32, port: u16) -> bool {
        self.listeners.contains_key(&(netns, port))
    }

    /// The open files of a process.
    pub fn descriptors_of(&self, pid: u32) -> Option<Descriptors> {
        self.descriptors.get(&pid).map(|(_, d)| *d)
    }

    /// The look that this is from.
    pub fn latest(&self) -> Option<Looked> {
        self.latest
    }

    /// When the latest look had ended.
    pub fn at(&self) -> Mono {
        self.at
    }

    /// When the first look had ended.
    pub(super) fn first(&self) -> Option<Mono> {
        self.first
    }

    /// Sockets that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Engine {
    /// A socket was looked into. One that is older than the trace may be known to have been in its
    /// state for some time.
    pub(in super::super) fn inspected(&mut self, at: Mono, facts: &Inspected) {
        let facts = self.addressed(facts);
        let slot = self.table.find(facts.sock);
        if let Some(connection) = slot.and_then(|slot| self.table.get_mut(slot))
            && connection.entry == Known::NotLater
            && connection.state == facts.state
            && !connection.is_another(facts.cookie)
            && let Some(not_later) = facts.not_later
        {
            connection.since = connection.since.min(not_later);
        }
        self.looks.inspected(at, facts);
    }

    /// The listeners that have connections to accept.
    pub(in super::super) fn queues(&self) -> Vec<Queue> {
        let listeners = self.looks.listeners.values().flatten();
        let queues = listeners.filter_map(|seen| {
            let facts = &seen.facts;
            let inside = facts.inside.filter(|inside| inside.receive_queue > 0)?;
            let pids = super::cause::processes(&facts.holders);
            let first = pids.first().and_then(|pid| self.process(*pid));
            Some(Queue {
                netns: facts.netns,
                port: facts.tuple.local.port,
                name: first.map(|process| process.name),
                pids,
                waiting: inside.receive_queue,
                backlog: inside.send_queue,
            })
        });
        queues.collect()
    }

    /// What the latest look showed.
    pub fn looks(&self) -> &Looks {
        &self.looks
    }
}
