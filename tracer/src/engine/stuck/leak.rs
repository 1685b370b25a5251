//! Whether a process leaks CLOSE_WAITs, by what came and went while we watched.
//!
//! The number open says little: a busy server has many, and each is gone in a moment. What tells a
//! leak is that some of those that came do not go, again and again: survivors. A socket survives
//! when it has stayed longer than the process takes for nearly all the others.

use std::time::Duration;

use hashbrown::HashMap;

use super::{
    super::{
        connection::{Connection, Entry},
        machine::Engine,
        time::Mono,
    },
    Cause, Port, StuckSocket,
};

/// Below it nothing is said: shorter than what many a request takes.
const ENOUGH: Duration = Duration::from_secs(30);
/// Rates are of the last so many slots.
const SLOTS: usize = 12;
/// A minute in all: what an operator calls "now".
const SLOT: Duration = Duration::from_nanos(SLOT_NS);
const SLOT_NS: u64 = 5_000_000_000;
/// Nobody survives earlier, however quick the others are: garbage collectors and pools close in
/// batches, seconds apart.
const GRACE: Duration = Duration::from_secs(10);
/// While nothing was ever seen to go, there is no saying how long it takes: no leak sooner.
const NOTHING_WENT: Duration = Duration::from_mins(2);
/// Survivors came within so long, at least: less is a moment, and tells of no rate.
const SHORTEST: Duration = Duration::from_secs(20);
/// A survivor has stayed so many times as long as nearly all others (99 %).
const PATIENCE: u32 = 2;
/// The time in which survivors came is cut into so many parts, each with some: a single hiccup fills
/// one.
const PARTS: usize = 3;
/// Survivors in each part.
const IN_EACH: usize = 3;
/// Survivors in all: below it, it may be a few odd clients.
const IN_ALL: usize = 12;
/// Growth counts when it is beyond so many standard deviations of what comes and goes at random.
const SIGMAS: f64 = 3.0;
/// Processes and ports that are kept apart.
const MAX_KEYS: usize = 4096;
/// Powers of two of a millisecond: the last is 24 days.
const BUCKETS: usize = 32;

/// Whose sockets: a process on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeakKey {
    /// The process.
    pub pid: u32,
    /// The port.
    pub port: Port,
}

/// What is said of a process on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Too little was seen.
    NotEnoughData,
    /// What comes goes.
    Steady,
    /// More come than go, or many came at once and stayed.
    Growing,
    /// Some of those that come stay, all the time.
    Leaking,
}

impl Verdict {
    /// The stable token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotEnoughData => "not_enough_data",
            Self::Steady => "steady",
            Self::Growing => "growing",
            Self::Leaking => "leaking",
        }
    }
}

/// A process on a port, and its CLOSE_WAITs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leak {
    /// Whose.
    pub key: LeakKey,
    /// Open now, of any age.
    pub open: usize,
    /// That came, and stayed longer than others do, in the time watched.
    pub survivors: usize,
    /// How long that was, at most a minute or the whole time.
    pub watched: Duration,
    /// Came per second, in the last minute at most; `None`: nobody watched.
    pub opened_per_s: Option<f64>,
    /// Went per second.
    pub closed_per_s: Option<f64>,
    /// Stay for good per second, where some do.
    pub growth_per_s: Option<f64>,
    /// What that means.
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    number: u64,
    /// Left in this slot.
    left: u32,
    /// Came in this slot, and left since.
    came: u32,
}

#[derive(Clone, Debug)]
struct Account {
    slots: [Slot; SLOTS],
    dwells: [u32; BUCKETS],
}

impl Account {
    fn slot(&mut self, at: Mono) -> Option<&mut Slot> {
        let number = number(at);
        let slot = &mut self.slots[usize::try_from(number).ok()? % SLOTS];
        if slot.number < number {
            *slot = Slot {
                number,
                ..Slot::default()
            };
        }
        (slot.number == number).then_some(slot)
    }

    /// Nearly all stay no longer.
    fn usual(&self) -> Duration {
        let total: u64 = self.dwells.iter().map(|n| u64::from(*n)).sum();
        let mut above = 0;
        for (bucket, count) in self.dwells.iter().enumerate().rev() {
            above += u64::from(*count);
            if above * 100 > total {
                return Duration::from_millis(1 << (bucket + 1));
            }
        }
        Duration::ZERO
    }
}

const fn number(at: Mono) -> u64 {
    at.0 / SLOT_NS
}

/// The CLOSE_WAITs that ended.
#[derive(Debug, Default)]
pub struct CloseWaits {
    accounts: HashMap<LeakKey, Account>,
}

impl CloseWaits {
    /// A connection leaves CLOSE_WAIT.
    fn left(&mut self, at: Mono, connection: &Connection, served: bool) {
        let tuple = &connection.tuple;
        let key = LeakKey {
            pid: connection.owner.pid,
            port: Port::of(served, tuple.local.port, tuple.remote.port),
        };
        if !self.accounts.contains_key(&key) && self.accounts.len() >= MAX_KEYS {
            self.forget(at);
        }
        let account = self.accounts.entry(key).or_insert_with(|| Account {
            slots: [Slot::default(); SLOTS],
            dwells: [0; BUCKETS],
        });
        if let Some(slot) = account.slot(at) {
            slot.left += 1;
        }
        if connection.entry == Entry::Exact
            && let Some(slot) = account.slot(connection.since)
        {
            slot.came += 1;
        }
        let stayed = at.since(connection.since).as_millis().max(1).ilog2() as usize;
        account.dwells[stayed.min(BUCKETS - 1)] += 1;
    }

    /// Those of which nothing was heard for a minute give way.
    fn forget(&mut self, at: Mono) {
        let oldest = number(at).saturating_sub(SLOTS as u64);
        self.accounts
            .retain(|_, account| account.slots.iter().any(|s| s.number > oldest));
        if self.accounts.len() >= MAX_KEYS {
            self.accounts.clear();
        }
    }
}

impl Engine {
    /// From here on accounts are kept of what leaves CLOSE_WAIT.
    pub fn watch_close_waits(&mut self) {
        self.close_waits.get_or_insert_default();
    }

    /// A connection leaves CLOSE_WAIT.
    pub(in super::super) fn left_close_wait(&mut self, at: Mono, connection: &Connection) {
        let Some(close_waits) = &mut self.close_waits else {
            return;
        };
        let port = connection.tuple.local.port;
        let served = self.looks.serves(connection.role, connection.netns, port);
        close_waits.left(at, connection, served);
    }

    /// The verdicts, worst first, on whoever holds these CLOSE_WAITs (of any age).
    pub fn leaks(&self, now: Mono, sockets: &[StuckSocket]) -> Vec<Leak> {
        let mut open: HashMap<LeakKey, Vec<&StuckSocket>> = HashMap::new();
        for socket in sockets.iter().filter(|s| s.first_pid != 0) {
            // By whom an account is kept of those that have ended.
            let key = LeakKey {
                pid: socket.first_pid,
                port: socket.port(),
            };
            open.entry(key).or_default().push(socket);
        }
        let watched = self.close_waits.as_deref();
        let began = self.looks.first().filter(|_| watched.is_some());
        let mut leaks: Vec<Leak> = open
            .into_iter()
            .map(|(key, sockets)| {
                let account = watched.and_then(|w| w.accounts.get(&key));
                judge(key, now, began, &sockets, account)
            })
            .collect();
        leaks.sort_by(|a, b| {
            let rank = |l: &Leak| (std::cmp::Reverse(l.verdict), std::cmp::Reverse(l.open));
            rank(a).cmp(&rank(b)).then(a.key.cmp(&b.key))
        });
        leaks
    }
}

/// What a process on a port does.
fn judge(
    key: LeakKey,
    now: Mono,
    began: Option<Mono>,
    open: &[&StuckSocket],
    account: Option<&Account>,
) -> Leak {
    let mut leak = Leak {
        key,
        open: open.len(),
        survivors: 0,
        watched: Duration::ZERO,
        opened_per_s: None,
        closed_per_s: None,
        growth_per_s: None,
        verdict: Verdict::NotEnoughData,
    };
    let Some(began) = began else {
        return leak;
    };
    let watched = now.since(began);
    leak.watched = watched;
    let entered: Vec<Mono> = open
        .iter()
        .filter(|s| s.cause != Cause::Draining)
        .filter_map(|s| s.entered)
        .filter(|at| *at >= began)
        .collect();
    // Whole slots, the current one included.
    let first = number(now)
        .saturating_sub(SLOTS as u64 - 1)
        .max(number(began));
    let window = now.since(Mono(first * SLOT_NS).max(began));
    let slots = account.map_or(&[][..], |a| &a.slots);
    let recent = slots.iter().filter(|s| s.number >= first);
    let (left, came) = recent.fold((0, 0), |(left, came), s| (left + s.left, came + s.came));
    let still = entered.iter().filter(|at| number(**at) >= first).count();
    let came = f64::from(came) + count(still);
    let seconds = window.as_secs_f64();
    if seconds > 0.0 {
        leak.opened_per_s = Some(came / seconds);
        leak.closed_per_s = Some(f64::from(left) / seconds);
    }
    if watched < ENOUGH {
        return leak;
    }
    let bar = GRACE.max(account.map_or(Duration::ZERO, Account::usual) * PATIENCE);
    let may_leak = account.is_some() || watched >= NOTHING_WENT;
    let recent = now
        .since(began)
        .min(SLOT * u32::try_from(SLOTS).unwrap_or(1));
    // The last minute, and the whole time: a slow leak shows in the second only.
    for span in [recent, watched] {
        let Some(span) = span.checked_sub(bar).filter(|span| *span >= SHORTEST) else {
            continue;
        };
        let survived = |at: &&Mono| {
            let age = now.since(**at);
            age >= bar && age < bar + span
        };
        let mut parts = [0; PARTS];
        let mut survivors = 0;
        for at in entered.iter().filter(survived) {
            let part = now.since(*at).saturating_sub(bar).as_secs_f64() / span.as_secs_f64();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "from 0 to PARTS"
            )]
            let part = (part * PARTS as f64) as usize;
            parts[part.min(PARTS - 1)] += 1;
            survivors += 1;
        }
        let sustained = survivors >= IN_ALL && parts.iter().all(|n| *n >= IN_EACH);
        let verdict = if sustained && may_leak {
            Verdict::Leaking
        } else if survivors >= IN_ALL {
            Verdict::Growing
        } else {
            Verdict::Steady
        };
        if verdict > leak.verdict {
            leak.verdict = verdict;
            leak.survivors = survivors;
            leak.growth_per_s =
                (survivors >= IN_ALL).then(|| count(survivors) / span.as_secs_f64());
        }
    }
    let net = came - f64::from(left);
    let chance = SIGMAS * (2.0 * count(open.len())).sqrt();
    if leak.verdict < Verdict::Growing && net >= count(IN_ALL) && net > chance {
        leak.verdict = Verdict::Growing;
        leak.growth_per_s = Some(net / seconds.max(1.0));
    }
    leak.verdict = leak.verdict.max(Verdict::Steady);
    leak
}

#[expect(clippy::cast_precision_loss, reason = "counts of sockets")]
fn count(sockets: usize) -> f64 {
    sockets as f64
}
