//! What happened in a window of time, added up connection by connection.
//!
//! A connection is counted as a whole when it has ended, or when the window does: only then is it
//! known whose it was (an accepted socket has no owner until `accept`), and so all its figures stand
//! in the rows of one process, one port, one remote. Until then its story is kept, some 200 bytes.
//! The sums of the rows of each group are the totals.

mod figures;
mod group;
mod held;
mod merge;
mod snapshot;
mod story;
mod timeline;
mod waits;

use std::time::Duration;

use hashbrown::{HashMap, HashSet, hash_map::Entry};

use self::{figures::Subject, story::Story};
pub use self::{
    figures::{Connections, Failed, GROUP_STATES, GroupRow, StateFigures, Totals},
    group::{GroupKey, Groups, MAX_GROUP_ROWS},
    held::{Holdings, PortUse},
    merge::Addend,
    snapshot::{MAX_LISTED, OpenCloseWait, Snapshot, Waiting},
    timeline::Timeline,
    waits::{LINGERS, MAX_WAITS, Queue, Waiters, Waits},
};
use super::{
    connection::{ConnId, Role},
    course::{Began, Outcome},
    machine::Engine,
    state::{StateSet, TcpState},
    stuck::Cause,
    time::Mono,
    update::{Irregularity, Transition},
};

/// Stories kept at once. Of a connection beyond it, the end stands for the whole.
const MAX_STORIES: usize = 1 << 21;

/// The bounds of the time that was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub start: Mono,
    /// When it ended.
    pub end: Mono,
}

/// See the module.
#[derive(Debug)]
pub struct Window {
    /// Only connections that were in one of these; none: all.
    states: StateSet,
    stories: HashMap<ConnId, Story>,
    /// For so many stories.
    room: usize,
    totals: Totals,
    groups: GroupSet,
}

impl Default for Window {
    fn default() -> Self {
        Self::new(StateSet::default())
    }
}

impl Span {
    /// How long it was.
    pub fn length(&self) -> Duration {
        self.end.since(self.start)
    }
}

/// One list of rows for each thing that connections are told apart by.
#[derive(Clone, Debug, Default)]
pub struct GroupSet {
    /// By the owner's name.
    pub process: Groups,
    /// By the port that this host serves.
    pub local_port: Groups,
    /// By the peer's address.
    pub remote: Groups,
    /// By the port that the peer serves.
    pub remote_port: Groups,
}

impl GroupSet {
    /// The rows that a connection belongs to.
    fn subject(&mut self, t: &Transition) -> Subject {
        let remote_port = match (t.role, t.tuple.remote.port()) {
            (Role::PassiveOpen, _) => GroupKey::PassiveOpen,
            (Role::ActiveOpen, Some(port)) => GroupKey::Port(port),
            (Role::ActiveOpen, None) => GroupKey::Unknown,
            (Role::Unknown, _) => match t.tuple.local.port() {
                Some(port) => GroupKey::PerhapsPort(port),
                None => GroupKey::Unknown,
            },
        };
        Subject {
            process: self.process.place(GroupKey::process_of(t)),
            local_port: self.local_port.place(GroupKey::local_port_of(t)),
            remote: self.remote.place(GroupKey::remote_of(t)),
            remote_port: self.remote_port.place(remote_port),
            pid: t.owner.pid,
        }
    }

    /// The rows that it belongs to now. Whose it is may have changed; its ends have not, but for a child
    /// that its listener has just made, which has no peer yet.
    fn follow(&mut self, story: &mut Story, t: &Transition) {
        if story.course.last != TcpState::Listen && story.course.role == t.role {
            story.subject.process = self.process.place(GroupKey::process_of(t));
            story.subject.pid = t.owner.pid;
        } else {
            story.subject = self.subject(t);
        }
    }

    fn each(&mut self, subject: Subject, mut act: impl FnMut(&mut GroupRow)) {
        act(self.process.row(subject.process));
        act(self.local_port.row(subject.local_port));
        act(self.remote.row(subject.remote));
        act(self.remote_port.row(subject.remote_port));
    }
}

impl Window {
    /// Nothing counted yet. `states`: only connections that were in one of these while the window
    /// lasted; none: all.
    pub fn new(states: StateSet) -> Self {
        Self {
            states,
            stories: HashMap::new(),
            room: MAX_STORIES,
            totals: Totals::default(),
            groups: GroupSet::default(),
        }
    }

    /// With room for so many stories at once.
    #[must_use]
    pub const fn with_room(mut self, stories: usize) -> Self {
        self.room = stories;
        self
    }

    /// One transition. `wanted`: whether its connection is to be counted, as far as is known now; the
    /// last word of each connection counts.
    pub fn transition(&mut self, t: &Transition, start: Mono, wanted: bool) {
        let Some(conn) = t.conn.filter(|conn| self.has_room(*conn)) else {
            self.beyond(t, start, wanted);
            return;
        };
        let story = match self.stories.entry(conn) {
            Entry::Occupied(known) => {
                let story = known.into_mut();
                self.groups.follow(story, t);
                story
            }
            Entry::Vacant(new) => new.insert(Story::begin(t, start, self.groups.subject(t))),
        };
        story.wanted = wanted;
        if story.is_full() {
            story.flush_past(|stay, subject| {
                if wanted {
                    count_stay(&mut self.totals, &mut self.groups, stay, subject);
                }
            });
        }
        if let Some(outcome) = story.step(t)
            && let Some(story) = self.stories.remove(&conn)
        {
            self.settle(story, outcome);
        }
    }

    /// One of a connection whose story there is no room for: the stays on both sides of it are counted,
    /// and the connection when it closes.
    fn beyond(&mut self, t: &Transition, start: Mono, wanted: bool) {
        let mut story = Story::begin(t, start, self.groups.subject(t));
        story.wanted = wanted;
        if let Some(outcome) = story.step(t) {
            self.settle(story, outcome);
        } else if self.counts(&story) {
            story.end(Outcome::Lost);
            self.count_stays(&mut story);
        }
    }

    /// A connection turned out to have ended unseen.
    pub fn irregular(&mut self, irregularity: &Irregularity) {
        if irregularity.replaced
            && let Some(story) = self.stories.remove(&irregularity.conn)
        {
            self.settle(story, Outcome::Lost);
        }
    }

    /// A connection that is not to be counted after all.
    pub fn forget(&mut self, conn: ConnId) {
        self.stories.remove(&conn);
    }

    /// The end: connections that are still open are counted as such, if they are `wanted` (their
    /// latest change is shown).
    pub fn close(
        mut self,
        engine: &Engine,
        span: Span,
        wanted: impl Fn(&Transition) -> bool,
    ) -> Snapshot {
        let mut close_wait = snapshot::OldestFirst::default();
        let is_close_wait = |state| state == TcpState::CloseWait;
        let (seen, _) = engine.stuck(span.end, is_close_wait, Duration::ZERO);
        let causes = seen.iter().filter_map(|s| Some((s.conn?, s.cause)));
        let causes: HashMap<ConnId, Cause> = causes.collect();
        let mut counted = HashSet::new();
        let mut holdings = held::Counting::default();
        let mut served = engine.listening_ports();
        for open in engine.open_sockets(span.end) {
            let t = &open.last;
            let known = t.conn.and_then(|conn| self.stories.remove(&conn));
            let subject = self.groups.subject(t);
            let mut story =
                known.unwrap_or_else(|| Story::found(t, open.in_minisock, span.start, subject));
            story.subject = subject;
            story.wanted = wanted(t);
            story.be_in(t.to);
            let counts = self.counts(&story);
            if counts {
                let is_served = served.contains(&t.tuple.local.port);
                holdings.take(&open, story.course.began == Began::Opened, is_served);
            }
            if counts && t.to == TcpState::CloseWait {
                counted.extend(t.conn);
                let cause = t.conn.and_then(|conn| causes.get(&conn).copied());
                close_wait.take(open, cause.unwrap_or(Cause::Unknown));
            }
            let orphan = open.in_minisock;
            self.settle(story, Outcome::Open { orphan });
        }
        // What is left was overwritten in the engine's table: its end was not seen.
        let lost: Vec<Story> = self.stories.drain().map(|(_, story)| story).collect();
        for story in lost {
            self.settle(story, Outcome::Lost);
        }
        served.extend(self.groups.local_port.ports());
        self.groups.local_port.resolve_ports(&served, true);
        self.groups.remote_port.resolve_ports(&served, false);
        let waits = waits::waits(engine, span.end, seen, &counted, &holdings.listening);
        Snapshot {
            span,
            unwatched: Duration::ZERO,
            totals: self.totals,
            groups: self.groups,
            close_wait: close_wait.finish(),
            waits,
            holdings: holdings.finish(),
            sysctls: engine.sysctls().clone(),
        }
    }

    fn has_room(&self, conn: ConnId) -> bool {
        self.stories.len() < self.room || self.stories.contains_key(&conn)
    }

    fn counts(&self, story: &Story) -> bool {
        story.wanted && (self.states.is_empty() || self.states.meets(story.course.visited))
    }

    fn count_stays(&mut self, story: &mut Story) {
        story.flush(|stay, subject| count_stay(&mut self.totals, &mut self.groups, stay, subject));
    }

    /// Adds up what is known of a connection.
    fn settle(&mut self, mut story: Story, outcome: Outcome) {
        if !self.counts(&story) {
            return;
        }
        story.end(outcome);
        self.count_stays(&mut story);
        let course = &story.course;
        self.totals.count_ends(course, outcome);
        if !course.is_counted() {
            return;
        }
        self.totals.count_connection(course, outcome);
        let pid = story.subject.pid;
        self.groups.each(story.subject, |row| {
            row.count_connection(course, outcome, pid);
        });
    }
}

fn count_stay(totals: &mut Totals, groups: &mut GroupSet, stay: &story::Stay, subject: Subject) {
    totals.count_stay(stay);
    if stay.state != TcpState::Listen {
        groups.each(subject, |row| row.count_stay(stay));
    }
}
