//! The account of a run: everything that happened is either told, filtered or lost.

use serde::Serialize;

use crate::{
    engine::{LossLedger, Unseen},
    source::Account,
};

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Completeness {
    /// TCP state changes that the kernel side looked at.
    pub seen: u64,
    /// Of these, not wanted by the filter.
    pub filtered: u64,
    /// Of these, delivered to us.
    pub delivered: u64,
    /// What did not arrive, by cause.
    pub lost: Lost,
    /// Connections first seen in the middle of their life.
    pub unknown_starts: u64,
    /// State changes that disagree with what we knew.
    pub irregular: u64,
    /// Connections not followed because the table was full.
    pub untracked: u64,
    /// Facts about processes that were lost: their owners may be unknown.
    pub owners_lost: u64,
    /// Skipped runs of the hooks for TIME_WAIT. On the timer rung of any timer of the host: an upper
    /// bound of what may be missing, and far from it.
    pub time_wait_skipped: u64,
    /// Network namespaces that may not be entered: sockets there that are older than the run are not known.
    pub namespaces_unreachable: u32,
    /// Those of processes that don't show theirs; some may be among the former.
    pub namespaces_hidden: u32,
    /// Nothing was lost, and what was there could be looked at.
    pub complete: bool,
}

/// Lost events, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The ring buffer was full.
    pub ring_full: u64,
    /// A nested run was skipped, and not caught by the twin.
    pub recursion: u64,
    /// A kernel map was full.
    pub map_full: u64,
    /// A record could not be understood.
    pub decode: u64,
    /// The recorder could not keep up, or the recording is damaged.
    pub recording: u64,
}

impl Lost {
    /// All causes together.
    pub const fn total(&self) -> u64 {
        self.in_the_kernel().saturating_add(self.recording)
    }

    /// What did not arrive, whether or not a recording lacks more.
    pub const fn in_the_kernel(&self) -> u64 {
        self.ring_full
            .saturating_add(self.recursion)
            .saturating_add(self.map_full)
            .saturating_add(self.decode)
    }
}

impl Completeness {
    /// From the two sides' accounts.
    pub fn new(account: &Account, ledger: &LossLedger) -> Self {
        let mut lost = account.lost;
        // What a twin told twice it did not catch.
        let caught = account.counters.twin_caught.saturating_sub(ledger.repeats);
        lost.recursion = account.skipped.saturating_sub(caught);
        Self {
            seen: account.counters.seen,
            filtered: account.counters.filtered,
            delivered: ledger.delivered,
            lost: lost.into(),
            unknown_starts: ledger.unknown_starts,
            irregular: ledger.irregular,
            untracked: ledger.untracked,
            owners_lost: account.counters.facts_ring_full,
            time_wait_skipped: account.timewait_skipped,
            namespaces_unreachable: ledger.unseen.namespaces,
            namespaces_hidden: ledger.unseen.hidden,
            complete: lost.total() == 0 && ledger.unseen.is_nothing(),
        }
    }

    /// Adds the account of another run.
    pub fn add(&mut self, other: &Self) {
        let sum = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        sum(&mut self.seen, other.seen);
        sum(&mut self.filtered, other.filtered);
        sum(&mut self.delivered, other.delivered);
        sum(&mut self.lost.ring_full, other.lost.ring_full);
        sum(&mut self.lost.recursion, other.lost.recursion);
        sum(&mut self.lost.map_full, other.lost.map_full);
        sum(&mut self.lost.decode, other.lost.decode);
        sum(&mut self.lost.recording, other.lost.recording);
        sum(&mut self.unknown_starts, other.unknown_starts);
        sum(&mut self.irregular, other.irregular);
        sum(&mut self.untracked, other.untracked);
        sum(&mut self.owners_lost, other.owners_lost);
        sum(&mut self.time_wait_skipped, other.time_wait_skipped);
        let sum = |sum: &mut u32, more: u32| *sum = sum.saturating_add(more);
        sum(
            &mut self.namespaces_unreachable,
            other.namespaces_unreachable,
        );
        sum(&mut self.namespaces_hidden, other.namespaces_hidden);
        self.complete &= other.complete;
    }

    /// Where sockets older than the run could not be looked for.
    pub const fn unseen(&self) -> Unseen {
        Unseen {
            namespaces: self.namespaces_unreachable,
            hidden: self.namespaces_hidden,
        }
    }

    /// The line that ends every run.
    pub fn line(&self) -> String {
        let Lost {
            ring_full,
            recursion,
            map_full,
            decode,
            recording,
        } = self.lost;
        let total = self.lost.total();
        let recorder = if recording > 0 {
            format!(" recording={recording}")
        } else {
            String::new()
        };
        let mut line = format!(
            "completeness: seen={} filtered={} delivered={} lost={total} (ring_full={ring_full} \
             recursion={recursion} map_full={map_full} decode={decode}{recorder}) irregular={} \
             unknown_starts={}",
            self.seen, self.filtered, self.delivered, self.irregular, self.unknown_starts,
        );
        if self.untracked > 0 {
            line += &format!(" untracked={}", self.untracked);
        }
        if self.owners_lost > 0 {
            line += &format!(" owners_lost={}", self.owners_lost);
        }
        if self.time_wait_skipped > 0 {
            line += &format!(" time_wait_skipped={}", self.time_wait_skipped);
        }
        if self.namespaces_unreachable > 0 {
            line += &format!(" namespaces_unreachable={}", self.namespaces_unreachable);
        }
        if self.namespaces_hidden > 0 {
            line += &format!(" namespaces_hidden={}", self.namespaces_hidden);
        }
        if ring_full > 0 {
            line += "; a larger --ring-size, or a narrower filter, loses less";
        }
        if map_full > 0 {
            line += "; a larger --max-connections, or a narrower filter, loses less";
        }
        line
    }
}

impl From<crate::engine::LostCount> for Lost {
    fn from(lost: crate::engine::LostCount) -> Self {
        Self {
            ring_full: lost.ring_full,
            recursion: lost.recursion,
            map_full: lost.map_full,
            decode: lost.decode,
            recording: lost.recording,
        }
    }
}
