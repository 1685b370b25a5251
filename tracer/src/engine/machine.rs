//! The engine itself: follows every connection from event to event.

use std::time::Duration;

use tracer_common::closing;

use super::{
    closing::{ClosedFirst, EndReason, closed_first, end_reason},
    connection::{ConnId, Connection, Entry, Role, SockId},
    event::{Event, EventBody, Minisock, StateChange},
    limbo::Limbo,
    loss::LossLedger,
    opening::Openings,
    overdue::Overdue,
    owner::{Owner, OwnerSource, Processes},
    state::TcpState,
    stats::Stats,
    step::{Step, told},
    stuck::{CloseWaits, Looks},
    sysctl::Sysctls,
    table::{Slot, Table},
    time::{Mono, OPENING_HOLD},
    tuple::FourTuple,
    update::{Irregularity, Transition, Update},
};

/// The bounds of what is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections followed at once. Beyond it, new ones are told but not followed. Half as many more
    /// may wait to be found in a minisock.
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
    pub(super) table: Table,
    openings: Openings,
    pub(super) limbo: Limbo,
    pub(super) processes: Processes,
    pub(super) stats: Stats,
    pub(super) ledger: LossLedger,
    pub(super) looks: Looks,
    /// Kept for those who ask for leaks.
    pub(super) close_waits: Option<Box<CloseWaits>>,
    sysctls: Sysctls,
    pub(super) overdue: Overdue,
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
            openings: Openings::new(limits.connections),
            limbo: Limbo::new(limits.connections.div_ceil(2)),
            processes: Processes::new(limits.processes),
            stats: Stats::default(),
            ledger: LossLedger::default(),
            looks: Looks::new(limits.connections),
            close_waits: None,
            sysctls: Sysctls::default(),
            overdue: Overdue::default(),
            next_id: 1,
            recent: [(0, TcpState::Unknown); RECENT],
            recent_next: 0,
        }
    }

    /// Names connections from this one on: where several engines tell one story.
    pub const fn naming_from(mut self, first: ConnId) -> Self {
        self.next_id = first.0;
        self
    }

    /// The name of the next connection.
    pub const fn next_name(&self) -> ConnId {
        ConnId(self.next_id)
    }

    /// Takes one event in; what follows from it is appended to `updates`.
    #[inline]
    pub fn handle_event(&mut self, event: &Event, updates: &mut Vec<Update>) {
        match &event.body {
            EventBody::StateChange(change) => self.state_change(event.at, change, updates),
            EventBody::TimewaitRearmed(rearmed) => {
                self.timewait_rearmed(event.at, rearmed, updates);
            }
            EventBody::TimewaitEnd(end) => self.timewait_end(event.at, end, updates),
            EventBody::Process(fact) => self.processes.learn(fact),
            EventBody::Cgroup(fact) => updates.push(Update::Cgroup(fact.clone())),
            EventBody::Held(held) => self.held(held),
            EventBody::Found(found) => self.found(event.at, found, updates),
            EventBody::Inspected(inspected) => self.inspected(event.at, inspected),
            EventBody::Descriptors(descriptors) => {
                self.looks.descriptors(event.at, *descriptors);
            }
            EventBody::Looked(looked) => {
                self.ledger.unseen = self.ledger.unseen.max(&looked.unseen);
                self.looks.ended(event.at, *looked);
            }
            EventBody::Lost(lost) => {
                self.ledger.lost.add(lost);
                self.overdue.lost(event.at);
                updates.push(Update::Lost {
                    at: event.at,
                    lost: *lost,
                });
            }
            EventBody::Sysctl(sysctl) => self.sysctls.learn(sysctl),
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
        while let Some(held) = self.limbo.due(now) {
            self.tell_closed(&held, updates);
        }
        self.let_overdue_go(now, updates);
    }

    /// The end: whatever still waits is told.
    pub fn finish(&mut self, updates: &mut Vec<Update>) {
        self.overdue.cancel();
        self.handle_timeout(Mono(u64::MAX), updates);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Mono> {
        let deadlines = [
            self.openings.next_deadline(),
            self.limbo.next_deadline(),
            self.overdue.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Counts per state.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The account of what arrived and what did not.
    pub fn ledger(&self) -> &LossLedger {
        &self.ledger
    }

    /// The kernel's settings.
    pub fn sysctls(&self) -> &Sysctls {
        &self.sysctls
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.table.len()
    }

    /// Minisocks that wait for a FIN, as far as it was told.
    pub fn waiting_for_fin(&self) -> usize {
        let waits = |c: &&Connection| c.in_minisock && c.state == TcpState::FinWait2;
        self.table.iter().filter(waits).count()
    }

    /// The open connections: state, and how long they have been in it at least.
    pub fn open_dwells(&self, now: Mono) -> impl Iterator<Item = (TcpState, Duration)> {
        let known = self.table.iter().filter(|c| c.entry != Entry::Unseen);
        known.map(move |c| (c.state, now.since(c.since)))
    }

    fn state_change(&mut self, at: Mono, change: &StateChange, updates: &mut Vec<Update>) {
        self.ledger.delivered += 1;
        let known = self.known(change);
        if change.unwanted {
            if let Some(forgotten) = self.table.remove(change.sock) {
                let (from, to) = (forgotten.previous, forgotten.state);
                if matches!(to, TcpState::SynSent | TcpState::SynRecv) {
                    self.stats.not_opened(from, to);
                }
                updates.push(Update::Forgotten(forgotten.id));
            }
            return;
        }
        if change.twin && self.is_repeat(known, change) {
            self.ledger.repeats += 1;
            return;
        }
        let slot = known.filter(|slot| !self.replaced(at, *slot, change, updates));
        if change.minisock == Some(Minisock::Unseen) {
            self.hold_close(at, slot, change, updates);
            self.remember(change);
            return;
        }
        // The kernel closes the socket; the connection goes on in the minisock.
        let to = match change.minisock {
            Some(Minisock::Made { state, tw }) => {
                self.make_room(at, tw, change, updates);
                state
            }
            _ => change.to,
        };
        match slot {
            Some(slot) if change.from == to => self.unchanged(at, slot, change, updates),
            None if change.from == to => {
                self.ledger.unchanged += 1;
                if change.minisock.is_some() {
                    self.ledger.unknown_starts += 1;
                    self.follow(at, change, to, Entry::Unseen);
                }
            }
            Some(slot) => {
                // The opening's line comes before any other of its connection, with what this
                // event knows of the tuple.
                self.complete(slot, change);
                self.advance(at, slot, change, to, updates);
            }
            None => self.first_sight(at, change, to, updates),
        }
        if change.to == TcpState::Close {
            self.socket_gone(change);
        }
    }

    /// A full socket is closed: forgotten, or renamed to the minisock that took over.
    fn socket_gone(&mut self, change: &StateChange) {
        let closed_first = match change.minisock {
            Some(Minisock::Made { tw, .. }) => {
                let renamed = self.table.rename(change.sock, tw);
                let connection = renamed.and_then(|slot| self.table.get_mut(slot));
                connection.map(|connection| {
                    connection.in_minisock = true;
                    connection.closed_first
                })
            }
            refused => {
                if refused.is_some() {
                    self.stats.never_created();
                }
                let removed = self.table.remove(change.sock);
                removed.map(|connection| connection.closed_first)
            }
        };
        if let Some(first) = closed_first
            && counts_as_closed(change.from)
        {
            self.stats.closed(first.unwrap_or(ClosedFirst::Unknown));
        }
        self.remember(change);
    }

    /// For a minisock that is made. It may have been seen there before its socket's change was told; of another
    /// the end was not seen.
    fn make_room(&mut self, at: Mono, tw: SockId, change: &StateChange, updates: &mut Vec<Update>) {
        let there = self.table.find(tw);
        let Some((slot, there)) = there.and_then(|slot| Some((slot, self.table.get(slot)?))) else {
            return;
        };
        if there.is_another(change.cookie) || there.tuple.contradicts(&change.tuple) {
            self.succeeded(at, slot, change, updates);
        } else {
            self.tell_opening(slot, None, updates);
        }
    }

    /// What was there ended unseen: its memory is another's by now.
    fn succeeded(&mut self, at: Mono, slot: Slot, change: &StateChange, updates: &mut Vec<Update>) {
        self.tell_opening(slot, None, updates);
        let Some(connection) = self.table.get(slot) else {
            return;
        };
        self.ledger.irregular += 1;
        updates.push(Update::Irregular(Irregularity {
            replaced: true,
            ..irregularity(connection, at, change)
        }));
        self.table.remove(connection.sock);
    }

    /// For a late repeat by the twin.
    fn remember(&mut self, change: &StateChange) {
        self.recent[self.recent_next] = (change.sock.0, change.from);
        self.recent_next = (self.recent_next + 1) % RECENT;
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
            connection.tuple = change.tuple.over(connection.tuple);
        }
        if connection.cookie == 0 {
            connection.cookie = change.cookie;
        }
        self.was_opening(slot);
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
        let replaced = is_opening(change)
            || connection.is_another(change.cookie)
            || connection.tuple.contradicts(&change.tuple)
            || may_be_another(connection, at, change);
        if replaced {
            self.succeeded(at, slot, change, updates);
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
        connection.own(owner);
        if connection.state != change.from {
            self.ledger.irregular += 1;
            updates.push(Update::Irregular(irregularity(connection, at, change)));
            connection.entry = Entry::Unseen;
            self.table.enter(slot, change.to);
        }
    }

    /// The next change of a connection that we follow.
    fn advance(
        &mut self,
        at: Mono,
        slot: Slot,
        change: &StateChange,
        to: TcpState,
        updates: &mut Vec<Update>,
    ) {
        self.tell_opening(slot, None, updates);
        let owner = named_by(change, &self.processes);
        let Some(connection) = self.table.get_mut(slot) else {
            return;
        };
        if connection.state != change.from {
            self.ledger.irregular += 1;
            updates.push(Update::Irregular(irregularity(connection, at, change)));
            connection.entry = Entry::Unseen;
        }
        connection.own(owner);
        let mut first = closed_first(change.from, to, change.evidence.as_ref());
        if to == TcpState::Close && counts_as_closed(change.from) {
            first = first.or(Some(ClosedFirst::Unknown));
        }
        let step = Step {
            from: change.from,
            to,
            closed_first: first,
            end_reason: why(change, to, &connection.tuple),
            exact: true,
        };
        self.step(at, slot, step, updates);
    }

    /// A name for the next connection.
    pub(super) fn next_id(&mut self) -> ConnId {
        let id = ConnId(self.next_id);
        self.next_id += 1;
        id
    }

    /// Begins to follow a connection that is in state `to` now; not one that has none.
    pub(super) fn follow(
        &mut self,
        at: Mono,
        change: &StateChange,
        to: TcpState,
        entry: Entry,
    ) -> (Connection, Option<Slot>) {
        let connection = Connection {
            id: self.next_id(),
            sock: change.sock,
            cookie: change.cookie,
            since: at,
            tuple: change.tuple,
            netns: change.netns,
            owner: named_by(change, &self.processes),
            previous: change.from,
            state: to,
            role: match (change.from, to) {
                (TcpState::Close, TcpState::SynSent) => Role::ActiveOpen,
                (TcpState::Listen, TcpState::SynRecv) => Role::PassiveOpen,
                _ => Role::Unknown,
            },
            closed_first: closed_first(change.from, to, change.evidence.as_ref()),
            in_minisock: false,
            entry,
            opening_held: false,
        };
        if to == TcpState::Close {
            return (connection, None);
        }
        let slot = self.table.insert(connection);
        self.ledger.untracked += u64::from(slot.is_none());
        (connection, slot)
    }

    /// The first change of a connection that we see.
    fn first_sight(
        &mut self,
        at: Mono,
        change: &StateChange,
        to: TcpState,
        updates: &mut Vec<Update>,
    ) {
        let opening = is_opening(change);
        if !opening {
            self.ledger.unknown_starts += 1;
        }
        let (mut connection, slot) = self.follow(at, change, to, Entry::Exact);
        self.stats.transition(change.from, to, None);
        let waits = opening && to != TcpState::Listen && !change.tuple.is_complete();
        if let (true, Some(slot)) = (waits, slot) {
            if let Some(connection) = self.table.get_mut(slot) {
                connection.opening_held = true;
            }
            if let Some((id, slot)) = self.openings.hold(at, connection.id, slot) {
                self.tell_opening(slot, Some(id), updates);
            }
            return;
        }
        let reason = why(change, to, &change.tuple);
        if to == TcpState::Close && counts_as_closed(change.from) {
            let first = *connection.closed_first.get_or_insert(ClosedFirst::Unknown);
            self.stats.closed(first);
        }
        let is_followed = slot.is_some() || to == TcpState::Close;
        updates.push(Update::Transition(Transition {
            conn: is_followed.then_some(connection.id),
            exact: opening,
            end_reason: reason,
            ..told(&self.processes, &connection, at, change.from)
        }));
    }

    /// Tells a held opening, if it is still held (and is the connection that `id` names).
    pub(super) fn tell_opening(
        &mut self,
        slot: Slot,
        id: Option<ConnId>,
        updates: &mut Vec<Update>,
    ) {
        let Some(connection) = self.table.get_mut(slot) else {
            return;
        };
        if !connection.opening_held || id.is_some_and(|id| id != connection.id) {
            return;
        }
        connection.opening_held = false;
        // Nothing happened since: the opening is the change that the connection is in.
        let (since, previous) = (connection.since, connection.previous);
        updates.push(Update::Transition(Transition {
            exact: true,
            ..told(&self.processes, connection, since, previous)
        }));
    }
}

/// The beginning of a connection or a listener: whatever was on the socket is over.
const fn is_opening(change: &StateChange) -> bool {
    closing::is_opening(change.from as u8, change.to as u8)
}

/// Whether a full socket that leaves this state for good was a connection: no listener, and nothing
/// that was never established.
pub(super) const fn counts_as_closed(from: TcpState) -> bool {
    closing::counts_as_closed(from as u8)
}

/// Why a full socket closed; `None` if it did not, or lives on in a minisock.
fn why(change: &StateChange, to: TcpState, tuple: &FourTuple) -> Option<EndReason> {
    if to != TcpState::Close {
        return None;
    }
    match change.minisock {
        Some(Minisock::Refused(reason)) => Some(reason),
        _ => end_reason(change.from, tuple.local.port != 0, change.evidence.as_ref()),
    }
}

/// Whether a connection of which neither cookie nor whole tuple is known yet had better not be taken
/// for the one that changes now: something was lost in between. A child's first change is followed at
/// once by its second, in the same softirq.
fn may_be_another(connection: &Connection, at: Mono, change: &StateChange) -> bool {
    let identified = connection.cookie != 0 || connection.tuple.is_complete();
    let late = connection.role == Role::PassiveOpen && at.since(connection.since) > OPENING_HOLD;
    !identified && (connection.state != change.from || late)
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
