//! What stands in every block of events beside them: its place in the recording, and the kernel side's
//! account up to then. So nothing depends on how a recording ends.

use tracer_common::counters::Counters;

use super::{
    bytes::{Corrupt, Cursor, put_bytes, put_varint},
    rare::{losses, put_losses},
    sections::{Section, Sections},
};
use crate::engine::Account;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Events of the recording before this block, those that were dropped included.
    pub events_before: u64,
    /// The account, as far as it was known; `None`: not yet.
    pub account: Option<Account>,
}

/// In the order of the format. Append only.
fn counters(c: &Counters) -> [u64; 9] {
    let Counters {
        seen,
        filtered,
        submitted,
        ring_full,
        map_full,
        twin_caught,
        facts_ring_full,
        tracepoint_runs,
        witness_runs,
    } = *c;
    [
        seen,
        filtered,
        submitted,
        ring_full,
        map_full,
        twin_caught,
        facts_ring_full,
        tracepoint_runs,
        witness_runs,
    ]
}

/// What was counted between two accounts.
pub fn account_since(now: &Account, earlier: &Account) -> Account {
    let mut words = counters(&now.counters);
    for (word, before) in words.iter_mut().zip(counters(&earlier.counters)) {
        *word = word.saturating_sub(before);
    }
    Account {
        counters: Counters::from_words(words),
        lost: now.lost.since(&earlier.lost),
        skipped: now.skipped.saturating_sub(earlier.skipped),
        timewait_skipped: now
            .timewait_skipped
            .saturating_sub(earlier.timewait_skipped),
    }
}

impl Ledger {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.events_before);
        let Some(account) = &self.account else {
            return;
        };
        let mut numbers = Vec::new();
        for number in counters(&account.counters) {
            put_varint(&mut numbers, number);
        }
        put_bytes(out, &numbers);
        put_losses(&account.lost, out);
        put_varint(out, account.skipped);
        put_varint(out, account.timewait_skipped);
    }

    /// Of an END block.
    pub fn of_end(payload: &[u8]) -> Result<Self, Corrupt> {
        Self::get(Sections::parse(payload)?.get(Section::Ledger))
    }

    pub(super) fn get(mut from: Cursor<'_>) -> Result<Self, Corrupt> {
        let events_before = from.number_or_default()?;
        if from.is_empty() {
            return Ok(Self {
                events_before,
                account: None,
            });
        }
        let mut numbers = Cursor::new(from.bytes()?);
        let mut next = || numbers.number_or_default();
        let counters = Counters {
            seen: next()?,
            filtered: next()?,
            submitted: next()?,
            ring_full: next()?,
            map_full: next()?,
            twin_caught: next()?,
            facts_ring_full: next()?,
            tracepoint_runs: next()?,
            witness_runs: next()?,
        };
        let account = Some(Account {
            counters,
            lost: losses(&mut from)?,
            skipped: from.number_or_default()?,
            timewait_skipped: from.number_or_default()?,
        });
        Ok(Self {
            events_before,
            account,
        })
    }
}
