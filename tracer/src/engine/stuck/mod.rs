//! Which sockets linger, since when, held by whom and why: from the connections that are followed
//! and the latest look at them.

mod cause;
mod groups;
mod leak;
mod looks;
mod past;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

pub use cause::Cause;
pub use groups::{Group, Port, groups, one_each};
pub use leak::{CloseWaits, Leak, LeakKey, Verdict};
pub use looks::Looks;

use self::{cause::without_fin, looks::Seen};
use super::{
    connection::{ConnId, Connection, Entry, Role},
    inspected::{Holder, Inspected},
    machine::Engine,
    owner::{Owner, OwnerSource, Process},
    state::TcpState,
    time::Mono,
    tuple::FourTuple,
};

/// The states in which a socket can be stuck.
pub const LINGERING: [TcpState; 7] = [
    TcpState::CloseWait,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::LastAck,
    TcpState::Closing,
    TcpState::SynSent,
    TcpState::SynRecv,
];

/// How long a socket has been in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// So long, at least; zero: nothing is known.
    pub at_least: Duration,
    /// And no longer.
    pub exact: bool,
}

/// How long sockets have to be in their state to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OlderThan {
    /// So long, at least.
    pub age: Duration,
    /// Or nothing is known of how long.
    pub or_unknown: bool,
}

impl From<Duration> for OlderThan {
    fn from(age: Duration) -> Self {
        Self {
            age,
            or_unknown: false,
        }
    }
}

impl OlderThan {
    fn admits(self, age: Age) -> bool {
        let unknown = !age.exact && age.at_least.is_zero();
        age.at_least >= self.age || (self.or_unknown && unknown)
    }
}

/// Those that are asked for, and how many more there are.
struct Chosen {
    older_than: OlderThan,
    sockets: Vec<StuckSocket>,
    younger: usize,
}

impl Chosen {
    const fn of(older_than: OlderThan) -> Self {
        Self {
            older_than,
            sockets: Vec::new(),
            younger: 0,
        }
    }

    fn take(&mut self, age: Age, describe: impl FnOnce() -> StuckSocket) {
        if self.older_than.admits(age) {
            self.sockets.push(describe());
        } else {
            self.younger += 1;
        }
    }

    /// Ties by what stays the same from run to run.
    fn oldest_first(mut self) -> (Vec<StuckSocket>, usize) {
        let key = |s: &StuckSocket| (s.tuple.local.port, s.tuple.remote.port, s.cookie);
        self.sockets
            .sort_by(|a, b| (b.age.at_least.cmp(&a.age.at_least)).then(key(a).cmp(&key(b))));
        (self.sockets, self.younger)
    }
}

/// A socket that lingers.
#[derive(Clone, Debug)]
pub struct StuckSocket {
    /// The connection; `None`: it is not followed.
    pub conn: Option<ConnId>,
    /// Its cookie; 0: unknown.
    pub cookie: u64,
    /// Its state.
    pub state: TcpState,
    /// Time in it.
    pub age: Age,
    /// When it entered the state; `None`: not seen.
    pub entered: Option<Mono>,
    /// When it was looked at; `None`: never in this state, and what only a look tells is not known.
    pub looked: Option<Mono>,
    /// Both ends.
    pub tuple: FourTuple,
    /// Inode of the network namespace; 0: unknown.
    pub netns: u32,
    /// Whether the local port is a listener's.
    pub served: bool,
    /// Who holds it, as far as that is one.
    pub owner: Owner,
    /// Whose it was at first; 0: not known. A server may hand all that it accepts to others.
    pub first_pid: u32,
    /// What is known of the owner.
    pub process: Option<Process>,
    /// The descriptors that were seen, the first of them.
    pub holders: Arc<[Holder]>,
    /// How many were seen.
    pub descriptors: u32,
    /// Where nobody accepted it: the descriptors of its listener.
    pub listener: Arc<[Holder]>,
    /// The user of the socket.
    pub uid: Option<u32>,
    /// Bytes that nobody read.
    pub unread: Option<u32>,
    /// Bytes that the peer has not acknowledged.
    pub unsent: Option<u32>,
    /// Time since data came.
    pub silent: Option<Duration>,
    /// Why.
    pub cause: Cause,
    /// What that rests on.
    pub evidence: String,
}

impl StuckSocket {
    /// Who holds it; else who should accept it; else whose it was.
    pub fn processes(&self) -> Vec<u32> {
        let held = cause::processes(&self.holders);
        let all = if held.is_empty() {
            cause::processes(&self.listener)
        } else {
            held
        };
        if all.is_empty() && self.owner.pid != 0 {
            return vec![self.owner.pid];
        }
        all
    }

    /// The port that it has in common with others.
    pub const fn port(&self) -> Port {
        let (local, remote) = (self.tuple.local.port, self.tuple.remote.port);
        Port::of(self.served, local, remote)
    }
}

impl Engine {
    /// The sockets that the latest look showed in one of these states, oldest first. Those that are
    /// not known to be so old are counted.
    pub fn stuck(
        &self,
        now: Mono,
        wanted: impl Fn(TcpState) -> bool,
        older_than: impl Into<OlderThan>,
    ) -> (Vec<StuckSocket>, usize) {
        let mut chosen = Chosen::of(older_than.into());
        for seen in self.looks.sockets().filter(|s| wanted(s.facts.state)) {
            if let Some((age, entered, connection)) = self.age(now, seen) {
                chosen.take(age, || self.describe(now, seen, age, entered, connection));
            }
        }
        chosen.oldest_first()
    }

    /// `None`: it has left the state since.
    fn age(&self, now: Mono, seen: &Seen) -> Option<(Age, Option<Mono>, Option<&Connection>)> {
        let facts = &seen.facts;
        let slot = self.table.find(facts.sock);
        let connection = slot
            .and_then(|slot| self.table.get(slot))
            .filter(|c| !c.is_another(facts.cookie));
        let since = facts.not_later.unwrap_or(seen.first);
        let at_least = |since| Age {
            // That it is there now tells nothing of when it came.
            at_least: if since < seen.at {
                now.since(since)
            } else {
                Duration::ZERO
            },
            exact: false,
        };
        let Some(connection) = connection else {
            return Some((at_least(since), None, None));
        };
        if connection.state != facts.state {
            let changed = connection.entry == Entry::Exact && connection.since >= seen.at;
            return (!changed).then(|| (at_least(since), None, Some(connection)));
        }
        match connection.entry {
            Entry::Exact | Entry::Approximate => {
                let age = Age {
                    at_least: now.since(connection.since),
                    exact: connection.entry == Entry::Exact,
                };
                Some((age, Some(connection.since), Some(connection)))
            }
            Entry::NotLater => {
                let since = connection.since.min(since);
                Some((at_least(since), None, Some(connection)))
            }
            Entry::Unseen => Some((at_least(since), None, Some(connection))),
        }
    }

    fn describe(
        &self,
        now: Mono,
        seen: &Seen,
        age: Age,
        entered: Option<Mono>,
        connection: Option<&Connection>,
    ) -> StuckSocket {
        let facts = &seen.facts;
        let listener = self.looks.listener_of(facts);
        let first = self.first_owner(facts, listener, connection);
        let owner = self.holder(facts, first);
        let (cause, mut evidence) = cause::cause(facts, first, listener);
        let holders = match listener.filter(|_| cause == Cause::NeverAccepted) {
            Some(listener) => &listener.holders,
            None => &facts.holders,
        };
        for pid in cause::processes(holders) {
            if self.looks.is_stopped(pid) {
                evidence += &format!("; pid {pid} is stopped");
            }
        }
        let inside = facts.inside;
        let fin_is_queued = matches!(
            facts.state,
            TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck | TcpState::SynSent
        );
        StuckSocket {
            conn: connection.map(|c| c.id),
            cookie: facts.cookie,
            state: facts.state,
            age,
            entered,
            looked: Some(seen.at),
            tuple: facts.tuple,
            netns: facts.netns,
            served: self.looks.serves(
                connection.map_or(Role::Unknown, |c| c.role),
                facts.netns,
                facts.tuple.local.port,
            ),
            owner,
            first_pid: first.pid,
            process: self.processes.facts(owner).copied(),
            holders: Arc::clone(&facts.holders),
            descriptors: facts.descriptors,
            listener: match listener.filter(|_| cause == Cause::NeverAccepted) {
                Some(listener) => Arc::clone(&listener.holders),
                None => Arc::default(),
            },
            // Without a file most kernels say 0 (sock_i_uid).
            uid: inside.filter(|i| i.has_file || i.uid != 0).map(|i| i.uid),
            unread: inside.map(|i| {
                if i.receive_shut {
                    without_fin(i.receive_queue)
                } else {
                    i.receive_queue
                }
            }),
            unsent: inside.map(|i| {
                if fin_is_queued {
                    without_fin(i.send_queue)
                } else {
                    i.send_queue
                }
            }),
            silent: inside.and_then(|i| i.data_received).map(|at| now.since(at)),
            cause,
            evidence,
        }
    }

    /// Who holds it now: whose it was, unless it is others who are seen to have it.
    fn holder(&self, facts: &Inspected, first: Owner) -> Owner {
        match cause::processes(&facts.holders)[..] {
            [] => first,
            [pid] if pid != first.pid => self.processes.owner(pid, OwnerSource::FdScan),
            ref pids if pids.contains(&first.pid) => first,
            _ => Owner::UNKNOWN,
        }
    }

    /// As the engine knows it; else the only holder; else, before it was accepted, the listener's.
    fn first_owner(
        &self,
        facts: &Inspected,
        listener: Option<&Inspected>,
        connection: Option<&Connection>,
    ) -> Owner {
        if let Some(connection) = connection.filter(|c| c.owner.pid != 0) {
            return connection.owner;
        }
        let only = |facts: &Inspected, source| match cause::processes(&facts.holders)[..] {
            [pid] => Some(self.processes.owner(pid, source)),
            _ => None,
        };
        let never_accepted = facts.inside.is_some_and(|i| !i.has_file && !i.dead);
        only(facts, OwnerSource::FdScan)
            .or_else(|| {
                let listener = listener.filter(|_| never_accepted)?;
                only(listener, OwnerSource::Listener)
            })
            .unwrap_or(Owner::UNKNOWN)
    }

    /// A process as it was described last.
    pub fn process(&self, pid: u32) -> Option<Process> {
        let owner = self.processes.owner(pid, OwnerSource::FdScan);
        self.processes.facts(owner).copied()
    }
}
