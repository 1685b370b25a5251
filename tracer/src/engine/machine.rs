//! The engine itself: follows every connection from event to event.

use super::{
    connection::{ConnId, Connection, Role},
    event::{Event, EventBody, StateChange},
    loss::LossLedger,
    opening::Openings,
    owner::{Owner, OwnerSource, Processes},
    state::TcpState,
    stats::Stats,
    table::{Slot, Table},
    time::Mono,
    tuple::FourTuple,
    update::{Irregularity, Transition, Update},
};

/// The bounds of what is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections followed at once. Beyond it, new ones are told but not followed.
    pub connections: usize,
    /// Descriptions of processes.
    pub processes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1 << 21,
            processes: 1 << 20,
        }
    }
}

/// How many just-closed sockets are remembered, to recognise a late repeat by the twin.
const RECENT: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Engine {
    table: Table,
    openings: Openings,
    processes: Processes,
    stats: Stats,
    ledger: LossLedger,
    next_id: u64,
    /// The last closings: socket address and state left.
    recent: [(u64, TcpState); RECENT],
    recent_next: usize,
}

impl Engine {
    /// An engine that knows nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            table: Table::new(limits.connections),
            openings: Openings::default(),
            processes: Processes::new(limits.processes),
            stats: Stats::default(),
            ledger: LossLedger::default(),
            next_id: 1,
            recent: [(0, TcpState::Unknown); RECENT],
            recent_next: 0,
        }
    }

    /// Takes one event in; what follows from it is appended to `updates`.
    #[inline]
    pub fn handle_event(&mut self, event: &Event, updates: &mut Vec<Update>) {
        match &event.body {
            EventBody::StateChange(change) => self.state_change(event.at, change, updates),
            EventBody::Process(fact) => self.processes.learn(fact),
            EventBody::Lost(lost) => {
                self.ledger.lost.add(lost);
                updates.push(Update::Lost {
                    at: event.at,
                    lost: *lost,
                });
            }
            EventBody::Clock { wall_ns } => updates.push(Update::Clock {
                at: event.at,
                wall_ns: *wall_ns,
            }),
            EventBody::Watermark => self.handle_timeout(event.at, updates),
        }
    }

    /// Lets time pass: openings that have waited long enough are told as they are.
    pub fn handle_timeout(&mut self, now: Mono, updates: &mut Vec<Update>) {
        while let Some((id, slot)) = self.openings.due(now) {
            self.tell_opening(slot, Some(id), updates);
        }
    }

    /// The end: whatever still waits is told.
    pub fn finish(&mut self, updates: &mut Vec<Update>) {
        self.handle_timeout(Mono(u64::MAX), updates);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Mono> {
        self.openings.next_deadline()
    }

    /// Counts per state.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The account of what arrived and what did not.
    pub fn ledger(&self) -> &LossLedger {
        &self.ledger
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.table.len()
    }

    /// How many connections are open, by state.
    pub fn open_by_state(&self) -> [u64; TcpState::COUNT] {
        let mut open = [0; TcpState::COUNT];
        for connection in self.table.iter() {
            open[connection.state.index()] += 1;
        }
        open
    }

    fn state_change(&mut self, at: Mono, change: &StateChange, updates: &mut Vec<Update>) {
        self.ledger.delivered += 1;
        if change.unwanted {
            let forgotten = self.table.remove(change.sock);
            updates.extend(forgotten.map(|c| Update::Forgotten(c.id)));
            return;
        }
        let known = self.table.find(change.sock);
        if change.twin && self.is_repeat(known, change) {
            self.ledger.repeats += 1;
            return;
        }
        let slot = known.filter(|slot| !self.replaced(at, *slot, change, updates));
        match slot {
            Some(slot) if change.from == change.to => {
                self.unchanged(at, slot, change, updates);
            }
            None if change.from == change.to => self.ledger.unchanged += 1,
            Some(slot) => {
                // The opening's line comes before any other of its connection, with what this
                // event knows of the tuple.
                self.complete(slot, change);
                self.advance(at, slot, change, updates);
            }
            None => self.first_sight(at, change, updates),
        }
        if change.to == TcpState::Close {
            self.table.remove(change.sock);
            self.recent[self.recent_next] = (change.sock.0, change.from);
            self.recent_next = (self.recent_next + 1) % RECENT;
        }
    }

    /// The twin tells an event that the first program told already, when the note between them was
    /// overwritten. A socket can't make the same change twice in a row.
    fn is_repeat(&self, known: Option<Slot>, change: &StateChange) -> bool {
        match known.and_then(|slot| self.table.get(slot)) {
            Some(connection) => connection.state == change.to && connection.previous == change.from,
            None => {
                change.to == TcpState::Close && self.recent.contains(&(change.sock.0, change.from))
            }
        }
    }

    /// Fills in what the connection did not know before.
    fn complete(&mut self, slot: Slot, change: &StateChange) {
        let Some(connection) = self.table.get_mut(slot) else {
            return;
        };
        if !connection.tuple.is_complete() {
            connection.tuple = merged(connection.tuple, change.tuple);
        }
        if connection.cookie == 0 {
            connection.cookie = change.cookie;
        }
    }

    /// Whether the socket has become another connection, whose beginning or whose predecessor's end
    /// was not seen.
    fn replaced(
        &mut self,
        at: Mono,
        slot: Slot,
        change: &StateChange,
        updates: &mut Vec<Update>,
    ) -> bool {
        let Some(connection) = self.table.get(slot) else {
            return true;
        };
        let another_cookie =
            change.cookie != 0 && connection.cookie != 0 && connection.cookie != change.cookie;
        let another_tuple = connection.tuple.contradicts(&change.tuple);
        let replaced = is_opening(change) || another_cookie || another_tuple;
        if replaced {
            let irregularity = Irregularity {
                replaced,
                ..irregularity(connection, at, change)
            };
            self.tell_opening(slot, None, updates);
            self.ledger.irregular += 1;
            updates.push(Update::Irregular(irregularity));
            self.table.remove(change.sock);
        }
        replaced
    }

    /// `close()` after `shutdown()` reports the state that the socket is in already
    /// (`tcp_close_state`): no transition, but its owner is known now.
    fn unchanged(&mut self, at: Mono, slot: Slot, change: &StateChange, updates: &mut Vec<Update>) {
        self.ledger.unchanged += 1;
        self.complete(slot, change);
        self.tell_opening(slot, None, updates);
        let owner = named_by(change, &self.processes);
        let Some(connection) = self.table.get_mut(slot) else {
            return;
        };
        if owner.source > connection.owner.source {
            connection.owner = owner;
        }
        if connection.state != change.from {
            self.ledger.irregular += 1;
            updates.push(Update::Irregular(irregularity(connection, at, change)));
            connection.state = change.to;
            connection.since_known = false;
        }
    }

    /// The next change of a connection that we follow.
    fn advance(&mut self, at: Mono, slot: Slot, change: &StateChange, updates: &mut Vec<Update>) {
        self.tell_opening(slot, None, updates);
        let Some(connection) = self.table.get_mut(slot) else {
            return;
        };
        let regular = connection.state == change.from;
        let dwell = (regular && connection.since_known).then(|| at.since(connection.since));
        if !regular {
            self.ledger.irregular += 1;
            updates.push(Update::Irregular(irregularity(connection, at, change)));
        }
        connection.previous = change.from;
        connection.state = change.to;
        connection.since = at;
        connection.since_known = true;
        let owner = named_by(change, &self.processes);
        if owner.source > connection.owner.source {
            connection.owner = owner;
        }
        let exact = dwell.is_some();
        let mut transition = told(connection, at, change.from);
        transition.process = self.processes.facts(connection.owner).copied();
        transition.dwell = dwell;
        transition.exact = exact;
        self.stats.transition(change.from, change.to, dwell);
        updates.push(Update::Transition(transition));
    }

    /// The first change of a connection that we see.
    fn first_sight(&mut self, at: Mono, change: &StateChange, updates: &mut Vec<Update>) {
        let opening = is_opening(change);
        if !opening {
            self.ledger.unknown_starts += 1;
        }
        let id = ConnId(self.next_id);
        self.next_id += 1;
        let connection = Connection {
            id,
            sock: change.sock,
            cookie: change.cookie,
            since: at,
            tuple: change.tuple,
            netns: change.netns,
            owner: named_by(change, &self.processes),
            previous: change.from,
            state: change.to,
            role: match (change.from, change.to) {
                (TcpState::Close, TcpState::SynSent) => Role::ActiveOpen,
                (TcpState::Listen, TcpState::SynRecv) => Role::PassiveOpen,
                _ => Role::Unknown,
            },
            since_known: true,
            opening_held: false,
        };
        self.stats.transition(change.from, change.to, None);
        let slot = if change.to == TcpState::Close {
            None
        } else {
            let slot = self.table.insert(connection);
            self.ledger.untracked += u64::from(slot.is_none());
            slot
        };
        let waits = opening && change.to != TcpState::Listen && !change.tuple.is_complete();
        if let (true, Some(slot)) = (waits, slot) {
            if let Some(connection) = self.table.get_mut(slot) {
                connection.opening_held = true;
            }
            self.openings.hold(at, id, slot);
            return;
        }
        let mut transition = told(&connection, at, change.from);
        transition.process = self.processes.facts(connection.owner).copied();
        transition.exact = opening;
        if slot.is_none() && change.to != TcpState::Close {
            transition.conn = None;
        }
        updates.push(Update::Transition(transition));
    }

    /// Tells a held opening, if it is still held (and is the connection that `id` names).
    fn tell_opening(&mut self, slot: Slot, id: Option<ConnId>, updates: &mut Vec<Update>) {
        let Some(connection) = self.table.get_mut(slot) else {
            return;
        };
        if !connection.opening_held || id.is_some_and(|id| id != connection.id) {
            return;
        }
        connection.opening_held = false;
        // Nothing happened since: the opening is the change that the connection is in.
        let mut transition = told(connection, connection.since, connection.previous);
        transition.process = self.processes.facts(connection.owner).copied();
        transition.exact = true;
        updates.push(Update::Transition(transition));
    }
}

/// The beginning of a connection or a listener: whatever was on the socket is over.
const fn is_opening(change: &StateChange) -> bool {
    matches!(
        (change.from, change.to),
        (TcpState::Close, TcpState::SynSent | TcpState::Listen)
            | (TcpState::Listen, TcpState::SynRecv)
    )
}

fn irregularity(connection: &Connection, at: Mono, change: &StateChange) -> Irregularity {
    Irregularity {
        at,
        conn: connection.id,
        believed: connection.state,
        from: change.from,
        replaced: false,
    }
}

fn named_by(change: &StateChange, processes: &Processes) -> Owner {
    let source = match (change.pid, change.to) {
        (0, _) => return Owner::UNKNOWN,
        (_, TcpState::SynSent) => OwnerSource::Connect,
        (_, TcpState::Listen) => OwnerSource::Listener,
        _ => OwnerSource::Close,
    };
    processes.owner(change.pid, source)
}

/// What is known now, over what was known before.
fn merged(before: FourTuple, now: FourTuple) -> FourTuple {
    let mut tuple = now;
    if now.local.port == 0 {
        tuple.local.port = before.local.port;
    }
    if now.remote.port == 0 {
        tuple.remote = before.remote;
    }
    tuple
}

fn told(connection: &Connection, at: Mono, from: TcpState) -> Transition {
    Transition {
        at,
        conn: Some(connection.id),
        cookie: connection.cookie,
        from,
        to: connection.state,
        dwell: None,
        tuple: connection.tuple,
        netns: connection.netns,
        role: connection.role,
        owner: connection.owner,
        process: None,
        exact: false,
    }
}
