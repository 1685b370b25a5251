//! Several windows added up: those of one host, one after another, or those of several hosts.
//!
//! Figures are sums. What one kernel has (settings, ports, sockets at a moment) is not added up, but for
//! the list of the oldest CLOSE_WAITs, in which each says whose it is.

use std::time::Duration;

use super::{
    GroupSet, Snapshot,
    figures::Totals,
    snapshot::{OpenCloseWait, Waiting},
};

/// How a window stands to the sum that it is added to.
#[derive(Clone, Copy, Debug)]
pub struct Addend {
    /// How much later it began than the sum.
    pub shift: Duration,
    /// Which host it is of, by its place in the order of the hosts.
    pub host: usize,
    /// Whether the sum is of this host only: a process id means the same in both.
    pub same_host: bool,
    /// Its place among all windows.
    pub lane: usize,
    /// How many windows there are.
    pub lanes: usize,
}

impl Snapshot {
    /// Adds a window. The span of the sum is the caller's to say.
    pub fn merge(&mut self, other: &Self, how: &Addend) {
        let ms = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        let (shift_ms, end_ms) = (ms(how.shift), ms(other.span.length()));
        self.totals.merge(&other.totals, shift_ms, end_ms);
        self.groups.merge(&other.groups, how.same_host);
        self.close_wait.merge(&other.close_wait, how);
        self.holdings.orphans += other.holdings.orphans;
    }
}

impl Totals {
    fn merge(&mut self, other: &Self, shift_ms: u32, end_ms: u32) {
        for (sum, more) in self.states.iter_mut().zip(&other.states) {
            sum.merge(more);
        }
        let (sum, more) = (&mut self.connections, &other.connections);
        sum.active += more.active;
        sum.passive += more.passive;
        sum.preexisting += more.preexisting;
        sum.unknown_starts += more.unknown_starts;
        sum.closed += more.closed;
        sum.open += more.open;
        sum.unseen_ends += more.unseen_ends;
        sum.failed.merge(&more.failed);
        for (sum, more) in self.closed_first.iter_mut().zip(other.closed_first) {
            *sum += more;
        }
        for (reason, more) in &other.time_wait_ended {
            *self.time_wait_ended.entry(*reason).or_default() += more;
        }
        self.never_created += other.never_created;
        self.timeline.merge(&other.timeline, shift_ms, end_ms);
        for (reason, more) in &other.ended {
            *self.ended.entry(*reason).or_default() += more;
        }
    }
}

impl GroupSet {
    fn merge(&mut self, other: &Self, same_host: bool) {
        self.process.merge(&other.process, same_host);
        self.local_port.merge(&other.local_port, same_host);
        self.remote.merge(&other.remote, same_host);
        self.remote_port.merge(&other.remote_port, same_host);
    }
}

impl OpenCloseWait {
    fn merge(&mut self, other: &Self, how: &Addend) {
        self.open += other.open;
        for (cause, more) in &other.by_cause {
            *self.by_cause.entry(*cause).or_default() += more;
        }
        let named = |waiting: &Waiting| {
            let mut waiting = *waiting;
            let conn = waiting.open.last.conn;
            waiting.open.last.conn = conn.map(|conn| conn.among(how.lane, how.lanes));
            waiting.host = how.host;
            waiting
        };
        self.oldest.extend(other.oldest.iter().map(named));
        self.sort();
    }
}
