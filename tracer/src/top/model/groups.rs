//! Who closed first, and who made TIME_WAITs, by process, served port or remote: bounded. Keys of which
//! nothing was heard for a minute give way to new ones, and what they counted goes into one row.

use hashbrown::HashMap;

use crate::engine::{ClosedFirst, GroupKey, Transition};

/// Rows that have a key of their own.
const MAX_ROWS: usize = 1000;

/// Ticks that a rate is of.
pub const RECENT: usize = 10;

/// Ticks after which a key may give way.
const IDLE: u64 = 60;

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections closed, by [`ClosedFirst`].
    pub closed: [u32; ClosedFirst::ALL.len()],
    /// TIME_WAITs begun.
    pub time_waits: u32,
}

impl Tally {
    /// All connections that were closed.
    pub fn all_closed(&self) -> u64 {
        self.closed.iter().map(|n| u64::from(*n)).sum()
    }

    fn add(&mut self, other: &Self) {
        for (sum, more) in self.closed.iter_mut().zip(other.closed) {
            *sum = sum.saturating_add(more);
        }
        self.time_waits = self.time_waits.saturating_add(other.time_waits);
    }
}

/// One key's figures.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose.
    pub key: GroupKey,
    /// All there was.
    pub total: Tally,
    /// The latest ticks, and the one that has not ended.
    recent: [Tally; RECENT + 1],
    heard: u64,
}

impl Row {
    fn new(key: GroupKey) -> Self {
        Self {
            key,
            total: Tally::default(),
            recent: [Tally::default(); RECENT + 1],
            heard: 0,
        }
    }

    /// What was counted in the latest [`RECENT`] whole ticks.
    pub fn recent(&self, ticks: u64) -> Tally {
        let running = place(ticks);
        let mut sum = Tally::default();
        for (at, tally) in self.recent.iter().enumerate() {
            if at != running {
                sum.add(tally);
            }
        }
        sum
    }
}

fn place(ticks: u64) -> usize {
    usize::try_from(ticks % (RECENT as u64 + 1)).unwrap_or(0)
}

/// The rows of one kind of key. The first is [`GroupKey::Other`].
#[derive(Clone, Debug)]
pub struct Groups {
    places: HashMap<GroupKey, usize>,
    rows: Vec<Row>,
    ticks: u64,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            rows: vec![Row::new(GroupKey::Other)],
            ticks: 0,
        }
    }
}

impl Groups {
    /// Counts.
    pub fn count(&mut self, key: GroupKey, what: &Tally) {
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None => self.place(key),
        };
        let ticks = self.ticks;
        if let Some(row) = self.rows.get_mut(place) {
            row.total.add(what);
            row.recent[self::place(ticks)].add(what);
            row.heard = ticks;
        }
    }

    fn place(&mut self, key: GroupKey) -> usize {
        if self.rows.len() > MAX_ROWS {
            return 0;
        }
        self.rows.push(Row::new(key));
        self.places.insert(key, self.rows.len() - 1);
        self.rows.len() - 1
    }

    /// A tick ends.
    pub fn tick(&mut self) {
        self.ticks += 1;
        let running = place(self.ticks);
        for row in &mut self.rows {
            row.recent[running] = Tally::default();
        }
        if self.rows.len() > MAX_ROWS {
            self.make_room();
        }
    }

    /// Keys of which nothing was heard for long are folded into the row of the others.
    fn make_room(&mut self) {
        let (ticks, mut folded) = (self.ticks, Tally::default());
        self.rows.retain(|row| {
            let stays = row.key == GroupKey::Other || ticks - row.heard < IDLE;
            if !stays {
                folded.add(&row.total);
            }
            stays
        });
        self.rows[0].total.add(&folded);
        self.places.clear();
        let places = self.rows.iter().enumerate().skip(1);
        self.places.extend(places.map(|(at, row)| (row.key, at)));
    }

    /// The rows in which anything was counted, in the order of their first sight, with the sums of the
    /// latest ticks.
    pub fn rows(&self) -> impl Iterator<Item = (&Row, Tally)> {
        let counted = |row: &&Row| row.total != Tally::default();
        let rows = self.rows.iter().filter(counted);
        rows.map(|row| (row, row.recent(self.ticks)))
    }
}

/// What rows are told apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// The owner's name.
    #[default]
    Process,
    /// The port that this host serves.
    LocalPort,
    /// The peer's address.
    Remote,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Process, Self::LocalPort, Self::Remote];

    /// The heading of the column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "PROCESS",
            Self::LocalPort => "LOCAL PORT",
            Self::Remote => "REMOTE",
        }
    }

    /// The row that a connection belongs to.
    pub fn key(self, t: &Transition) -> GroupKey {
        match self {
            Self::Process => GroupKey::process_of(t),
            Self::LocalPort => GroupKey::local_port_of(t),
            Self::Remote => GroupKey::remote_of(t),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Tally = Tally {
        closed: [1, 0, 0, 0, 0, 0, 0],
        time_waits: 1,
    };

    #[test]
    fn recent_is_of_whole_ticks() {
        let mut groups = Groups::default();
        for _ in 0..20 {
            groups.count(GroupKey::Port(80), &ONE);
            groups.count(GroupKey::Port(80), &ONE);
            groups.tick();
        }
        groups.count(GroupKey::Port(80), &ONE);
        let (row, recent) = groups.rows().next().unwrap();
        assert_eq!(row.total.all_closed(), 41);
        assert_eq!(recent.all_closed(), 2 * RECENT as u64);
    }

    #[test]
    fn nothing_is_forgotten_when_keys_give_way() {
        let mut groups = Groups::default();
        let counted = u32::from(u16::MAX);
        for port in 0..u16::MAX {
            groups.count(GroupKey::Port(port), &ONE);
            if port % 20 == 0 {
                groups.tick();
            }
        }
        assert!(groups.rows.len() <= MAX_ROWS + 1);
        let sum: u32 = groups.rows().map(|(row, _)| row.total.time_waits).sum();
        assert_eq!(sum, counted);
        // The latest have rows of their own again.
        assert!(groups.places.contains_key(&GroupKey::Port(u16::MAX - 600)));
    }
}
