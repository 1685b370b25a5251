//! Which connections are shown: one meaning for kernel, user space and recordings.
//!
//! Family, ports, addresses and network namespace are decided by `tracer_common::filter`, which the
//! kernel programs run too. Process, cgroup and state are decided here: the owner may be found out
//! late, and a state that is not shown still counts for the dwell of the next.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use tracer_common::{
    filter::{FilterConfig, Verdict},
    state,
};

use crate::engine::{
    CgroupFact, ConnId, EventBody, Mono, Process, StateSet, TcpState, Transition, Update,
};

/// How many undecided openings are kept. Beyond it they count as not wanted.
const MAX_UNDECIDED: usize = 65_536;

/// How many cgroups below a wanted one are known. Beyond it others count as not wanted: a recording may
/// name as many as it likes.
const MAX_CGROUPS: usize = 1 << 20;

/// A transition may be told later than it happened: the engine holds none for longer than 2.5 s.
const LATE_NS: i128 = 10_000_000_000;

/// What is wanted. Empty criteria want everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// What the kernel can decide.
    pub kernel: Box<FilterConfig>,
    /// Owners by process id.
    pub pids: Vec<u32>,
    /// Owners by name.
    pub comms: Vec<Vec<u8>>,
    /// Owners by cgroup id.
    pub cgroups: HashSet<u64>,
    /// Owners by a cgroup that theirs is below.
    pub cgroups_below: Vec<String>,
    /// Transitions from or to one of these.
    pub states: StateSet,
}

impl Filter {
    /// Whether the kernel can drop anything.
    pub fn has_kernel_part(&self) -> bool {
        self.kernel.criteria != 0
    }

    /// Whether there is nothing that it would not let through.
    pub fn wants_everything(&self) -> bool {
        !self.has_kernel_part() && self.wants_any_process() && self.states.is_empty()
    }

    /// Holds everything against a transition.
    pub fn verdict(&self, transition: &Transition) -> Verdict {
        if !self.wants_state(transition) || !self.wants_owner(transition) {
            return Verdict::Reject;
        }
        let listens = transition.is_listener();
        let subject = transition.tuple.subject(transition.netns, listens);
        self.kernel.verdict(&subject)
    }

    /// What the kernel programs would have done with this: whether it is delivered at all. A change
    /// by which a connection turns out not to be wanted is delivered, and says so.
    pub fn admits(&self, body: &mut EventBody) -> bool {
        if !self.has_kernel_part() {
            return true;
        }
        let (tuple, netns, listens) = match body {
            EventBody::StateChange(c) => {
                let listens = state::is_listener(c.from as u8, c.to as u8);
                (&c.tuple, c.netns, listens)
            }
            EventBody::TimewaitEnd(end) => (&end.tuple, end.netns, false),
            EventBody::Found(found) => {
                let listens = found.state == TcpState::Listen;
                (&found.tuple, found.netns, listens)
            }
            EventBody::Inspected(seen) => {
                let listens = seen.state == TcpState::Listen;
                (&seen.tuple, seen.netns, listens)
            }
            _ => return true,
        };
        let subject = tuple.subject(netns, listens);
        if self.kernel.verdict(&subject) != Verdict::Reject {
            return true;
        }
        let EventBody::StateChange(change) = body else {
            return false;
        };
        let opening = subject.at_opening(change.from as u8);
        let undecided = |opening| self.kernel.verdict(&opening) == Verdict::Undecided;
        change.unwanted = opening.is_some_and(undecided);
        change.unwanted
    }

    fn wants_state(&self, transition: &Transition) -> bool {
        self.states.is_empty()
            || self.states.contains(transition.from)
            || self.states.contains(transition.to)
    }

    /// Whether it passes for sure.
    pub fn wants(&self, transition: &Transition) -> bool {
        self.verdict(transition) == Verdict::Pass
    }

    /// A cgroup's path is known: it may lie below one that is wanted.
    pub fn learn(&mut self, fact: &CgroupFact) {
        let below = |wanted: &String| is_below(&fact.path, wanted);
        if self.cgroups.len() < MAX_CGROUPS && self.cgroups_below.iter().any(below) {
            self.cgroups.insert(fact.id);
        }
    }

    /// Whether the owner is wanted, as far as it is known.
    pub fn wants_owner(&self, transition: &Transition) -> bool {
        let owner = transition.owner;
        if !self.pids.is_empty() && !self.pids.contains(&owner.pid) {
            return false;
        }
        let any_cgroup = self.cgroups.is_empty() && self.cgroups_below.is_empty();
        if self.comms.is_empty() && any_cgroup {
            return true;
        }
        let Some(process) = &transition.process else {
            return false;
        };
        let name = process.name.bytes();
        (self.comms.is_empty() || self.comms.iter().any(|comm| comm == name))
            && (any_cgroup || self.cgroups.contains(&process.cgroup))
    }
}

/// Between two times of day, ns since 1970. `None`: no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Not before.
    pub since: Option<i128>,
    /// Before.
    pub until: Option<i128>,
}

impl Filter {
    /// Holds what is wanted of an owner against one process. `cgroup`: the path of its own, if known.
    pub fn wants_process(
        &self,
        pid: u32,
        process: Option<&Process>,
        cgroup: impl FnOnce(u64) -> Option<Arc<str>>,
    ) -> bool {
        let name = process.map(|p| p.name);
        let is_named = |comm: &Vec<u8>| name.is_some_and(|name| comm == name.bytes());
        let id = process.map_or(0, |p| p.cgroup);
        let any_cgroup = self.cgroups.is_empty() && self.cgroups_below.is_empty();
        let below = || {
            cgroup(id).is_some_and(|path| {
                let lies_below = |wanted: &String| is_below(&path, wanted);
                self.cgroups_below.iter().any(lies_below)
            })
        };
        (self.pids.is_empty() || self.pids.contains(&pid))
            && (self.comms.is_empty() || self.comms.iter().any(is_named))
            && (any_cgroup || self.cgroups.contains(&id) || below())
    }

    /// Whether nothing is asked of a connection's owner.
    pub fn wants_any_process(&self) -> bool {
        self.pids.is_empty()
            && self.comms.is_empty()
            && self.cgroups.is_empty()
            && self.cgroups_below.is_empty()
    }
}

/// Whether a cgroup is another, or below it.
fn is_below(path: &str, wanted: &str) -> bool {
    let rest = path.strip_prefix(wanted.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Lets the wanted transitions through, in order per connection.
///
/// A connection's opening may not be decided by what is known of its tuple: it waits here for the
/// connection's next transition.
#[derive(Debug)]
pub struct Gate {
    filter: Filter,
    window: Window,
    /// Everything goes through.
    is_open: bool,
    /// What the wall clock is ahead of the kernel's.
    offset_ns: i128,
    /// The least that it ever was: it may be set back to that.
    least_offset_ns: Option<i128>,
    undecided: HashMap<ConnId, Transition>,
}

impl Gate {
    /// A gate for this filter.
    pub fn new(filter: Filter) -> Self {
        Self {
            is_open: filter.wants_everything(),
            filter,
            window: Window::default(),
            offset_ns: 0,
            least_offset_ns: None,
            undecided: HashMap::new(),
        }
    }

    /// Lets through only what happened within this.
    pub fn within(mut self, window: Window) -> Self {
        self.window = window;
        self.is_open &= window == Window::default();
        self
    }

    /// Whether it keeps back what the kernel programs would let through.
    pub fn leaves_out(&self) -> bool {
        let any = self.filter.wants_any_process() && self.filter.states.is_empty();
        !any || self.window != Window::default()
    }

    /// Takes an update in, and tells what of it is to be shown.
    #[inline]
    pub fn sift<E>(
        &mut self,
        update: &Update,
        mut tell: impl FnMut(&Update) -> Result<(), E>,
    ) -> Result<(), E> {
        match update {
            Update::Transition(_) if self.is_open => {}
            Update::Transition(transition) => {
                for transition in self.pass(transition).into_iter().flatten() {
                    tell(&Update::Transition(transition))?;
                }
                return Ok(());
            }
            Update::Forgotten(conn) => self.forget(*conn),
            Update::Cgroup(fact) => self.learn(fact),
            Update::Clock { at, wall_ns } => self.set_clock(*at, *wall_ns),
            Update::Irregular(irregularity) if irregularity.replaced => {
                self.forget(irregularity.conn);
            }
            Update::Irregular(_) | Update::Lost { .. } => {}
        }
        tell(update)
    }

    /// Whether nothing that comes from now on can be within the window: what the engine holds back is
    /// told by then, and nothing of the window waits here. A clock that was set ahead may be set back.
    pub fn is_over(&self, now: Mono) -> bool {
        let (Some(until), Some(least_ns)) = (self.window.until, self.least_offset_ns) else {
            return false;
        };
        let wall_ns = i128::from(now.0) + least_ns;
        wall_ns >= until.saturating_add(LATE_NS)
            && !self.undecided.values().any(|waits| self.is_within(waits))
    }

    /// What the wall clock showed.
    fn set_clock(&mut self, at: Mono, wall_ns: i64) {
        self.offset_ns = i128::from(wall_ns) - i128::from(at.0);
        let least_ns = self.least_offset_ns.get_or_insert(self.offset_ns);
        *least_ns = self.offset_ns.min(*least_ns);
    }

    /// A cgroup's path is known: it may lie below one that is wanted.
    fn learn(&mut self, fact: &CgroupFact) {
        self.filter.learn(fact);
    }

    /// A connection of which nothing more will be heard.
    fn forget(&mut self, conn: ConnId) {
        self.undecided.remove(&conn);
    }

    fn is_within(&self, transition: &Transition) -> bool {
        let wall_ns = i128::from(transition.at.0) + self.offset_ns;
        self.window.since.is_none_or(|since| wall_ns >= since)
            && self.window.until.is_none_or(|until| wall_ns < until)
    }

    /// What to show now that this happened: an earlier transition of the connection, and this one.
    #[inline]
    pub fn pass(&mut self, transition: &Transition) -> [Option<Transition>; 2] {
        let waited = match transition.conn {
            Some(conn) if !self.undecided.is_empty() => self.undecided.remove(&conn),
            _ => None,
        };
        let earlier = waited
            .map(|waited| Transition {
                tuple: transition.tuple,
                cookie: transition.cookie,
                ..waited
            })
            .filter(|earlier| self.filter.verdict(earlier) == Verdict::Pass)
            .filter(|earlier| self.is_within(earlier));
        let this = match self.filter.verdict(transition) {
            Verdict::Pass => Some(*transition).filter(|this| self.is_within(this)),
            Verdict::Reject => None,
            Verdict::Undecided => {
                if let Some(conn) = transition.conn
                    && transition.to != TcpState::Close
                    && self.undecided.len() < MAX_UNDECIDED
                {
                    self.undecided.insert(conn, *transition);
                }
                None
            }
        };
        [earlier, this]
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tracer_common::filter::{RPORT, add_port};

    use super::*;
    use crate::engine::Irregularity;

    /// Wants one remote port, which an opening by its listener does not know.
    fn gate() -> Gate {
        let mut filter = Filter::default();
        filter.kernel.criteria = RPORT;
        add_port(&mut filter.kernel.rports, 443);
        Gate::new(filter)
    }

    /// An opening, and what follows it.
    fn life(conn: usize) -> [Transition; 2] {
        let opening = Transition::made(conn as u64, TcpState::Listen, TcpState::SynRecv);
        let mut next = Transition::made(conn as u64, TcpState::SynRecv, TcpState::Established);
        next.tuple.remote.port = 443;
        [opening, next]
    }

    #[test]
    fn openings_wait_to_be_decided_up_to_a_bound() {
        let mut gate = gate();
        for conn in 0..=MAX_UNDECIDED {
            let [opening, _] = life(conn);
            assert_eq!(gate.pass(&opening), [None, None]);
        }
        let mut shown = |conn| {
            let [_, next] = life(conn);
            gate.pass(&next).into_iter().flatten().count()
        };
        assert_eq!(shown(0), 2, "the opening waited");
        assert_eq!(shown(MAX_UNDECIDED - 1), 2);
        assert_eq!(shown(MAX_UNDECIDED), 1, "there was no room for its opening");
    }

    #[test]
    fn one_that_was_decided_makes_room() {
        let mut gate = gate();
        for conn in 0..MAX_UNDECIDED {
            gate.pass(&life(conn)[0]);
        }
        gate.pass(&life(0)[1]);
        let [opening, next] = life(MAX_UNDECIDED);
        gate.pass(&opening);
        assert_eq!(gate.pass(&next).into_iter().flatten().count(), 2);
    }

    #[test]
    fn one_whose_end_was_not_seen_makes_room() {
        let mut gate = gate();
        let [opening, _] = life(7);
        gate.pass(&opening);
        let irregularity = |replaced| {
            Update::Irregular(Irregularity {
                at: Mono(8),
                conn: ConnId(7),
                believed: TcpState::SynRecv,
                from: TcpState::Listen,
                replaced,
            })
        };
        let mut sift = |update| gate.sift(&update, |_| Ok::<_, Infallible>(()));
        sift(irregularity(false)).unwrap();
        sift(irregularity(true)).unwrap();
        assert!(gate.undecided.is_empty());
    }

    #[test]
    fn cgroups_below_a_wanted_one_are_learned_up_to_a_bound() {
        let mut filter = Filter {
            cgroups_below: vec!["/a".to_owned()],
            ..Filter::default()
        };
        let mut learn = |id, path: &str| {
            let path = path.into();
            filter.learn(&CgroupFact { id, path });
            filter.cgroups.contains(&id)
        };
        assert!(learn(1, "/a"));
        assert!(learn(2, "/a/b"));
        assert!(!learn(3, "/ab"));
        for id in 4..2 + MAX_CGROUPS as u64 {
            assert!(learn(id, "/a/b"));
        }
        assert!(!learn(0, "/a/b"), "there is no room");
    }
}
