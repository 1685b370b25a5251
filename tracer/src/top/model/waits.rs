//! The oldest CLOSE_WAITs, who leaks them, and why they wait, as the latest look tells.

use std::{cmp::Reverse, time::Duration};

use hashbrown::{HashMap, HashSet};

use crate::engine::{
    ConnId, Engine, Mono, OpenSocket, TcpState,
    stuck::{Cause, Leak, Verdict},
};

/// Sockets that are listed.
const MAX_LISTED: usize = 200;

/// One of them.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The socket.
    pub open: OpenSocket,
    /// When `open` was true.
    pub at: Mono,
    /// Why; `None`: no look has shown it yet.
    pub cause: Option<Cause>,
    /// What that rests on.
    pub evidence: String,
    /// It has left the state since.
    pub is_gone: bool,
}

impl Wait {
    /// How long it has waited; `None`: not known.
    pub fn age(&self, now: Mono) -> Option<Duration> {
        let later = if self.is_gone {
            Duration::ZERO
        } else {
            now.since(self.at)
        };
        Some(self.open.age? + later)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// The oldest, oldest first; those of unknown age last.
    pub oldest: Vec<Wait>,
    /// Processes whose CLOSE_WAITs grow or leak.
    pub leaks: Vec<Leak>,
    /// When the latest look had ended; `None`: there was none.
    pub looked: Option<Mono>,
    causes: HashMap<ConnId, (Cause, String)>,
    listed: HashSet<ConnId>,
}

impl Waits {
    /// A connection leaves CLOSE_WAIT.
    pub fn left(&mut self, conn: ConnId) {
        if self.listed.remove(&conn) {
            let of = |wait: &&mut Wait| wait.open.last.conn == Some(conn);
            if let Some(wait) = self.oldest.iter_mut().find(of) {
                wait.is_gone = true;
            }
        }
    }

    /// Takes over what a new look has shown, if there was one.
    pub fn look(&mut self, engine: &Engine) {
        let Some(at) = engine.looks().latest().map(|_| engine.looks().at()) else {
            return;
        };
        if self.looked == Some(at) {
            return;
        }
        self.looked = Some(at);
        let is_close_wait = |state| state == TcpState::CloseWait;
        let (seen, _) = engine.stuck(at, is_close_wait, Duration::ZERO);
        self.leaks = engine.leaks(at, &seen);
        self.leaks
            .retain(|leak| matches!(leak.verdict, Verdict::Growing | Verdict::Leaking));
        let causes = seen.into_iter().take(2 * MAX_LISTED);
        self.causes = causes
            .filter_map(|s| Some((s.conn?, (s.cause, s.evidence))))
            .collect();
    }

    /// Lists the oldest of these.
    pub fn list(&mut self, sockets: Vec<OpenSocket>, now: Mono) {
        let waits = oldest(sockets, MAX_LISTED);
        let told = |open: OpenSocket| {
            let cause = open.last.conn.and_then(|conn| self.causes.get(&conn));
            Wait {
                open,
                at: now,
                cause: cause.map(|(cause, _)| *cause),
                evidence: cause.map_or_else(String::new, |(_, evidence)| evidence.clone()),
                is_gone: false,
            }
        };
        self.oldest = waits.into_iter().map(told).collect();
        let conns = self.oldest.iter().filter_map(|wait| wait.open.last.conn);
        self.listed = conns.collect();
    }
}

/// The oldest of them, oldest first; those of unknown age last.
pub fn oldest(mut sockets: Vec<OpenSocket>, count: usize) -> Vec<OpenSocket> {
    let order = |s: &OpenSocket| (Reverse(s.age), s.last.conn);
    if sockets.len() > count {
        sockets.select_nth_unstable_by_key(count, order);
        sockets.truncate(count);
    }
    sockets.sort_unstable_by_key(order);
    sockets
}
