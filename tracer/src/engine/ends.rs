//! Connections by cookie and by both ends: where somebody looks at the sockets who is not told the
//! kernel's addresses (`sock_diag`).

use hashbrown::HashMap;

use super::{connection::Connection, table::Slot, tuple::FourTuple};

/// Places in the table. What is found is to be held against what was asked for: ends are reused, and
/// listeners may share theirs.
#[derive(Debug, Default)]
pub struct Ends {
    cookies: HashMap<u64, Slot>,
    ends: HashMap<(FourTuple, u32), Slot>,
}

impl Ends {
    /// Takes a connection in, by what it knows of itself. Whose cookie, or whose ends if no cookie
    /// says otherwise, it has taken over is returned.
    pub(super) fn note(&mut self, slot: Slot, connection: &Connection) -> Option<Slot> {
        let mut before = None;
        if connection.cookie != 0 {
            before = self.cookies.insert(connection.cookie, slot);
        }
        if connection.tuple.is_complete() {
            let key = (connection.tuple, connection.netns);
            let there = self.ends.insert(key, slot);
            // Two sockets with a cookie each are two.
            if connection.cookie == 0 {
                before = there;
            }
        }
        before
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, slot: Slot, connection: &Connection) {
        if self.cookies.get(&connection.cookie) == Some(&slot) {
            self.cookies.remove(&connection.cookie);
        }
        let key = (connection.tuple, connection.netns);
        if self.ends.get(&key) == Some(&slot) {
            self.ends.remove(&key);
        }
    }

    pub(super) fn by_cookie(&self, cookie: u64) -> Option<Slot> {
        self.cookies.get(&cookie).copied()
    }

    /// A hook that does not tell the namespace has noted none.
    pub(super) fn by_ends(&self, tuple: &FourTuple, netns: u32) -> Option<Slot> {
        let there = self.ends.get(&(*tuple, netns));
        there.or_else(|| self.ends.get(&(*tuple, 0))).copied()
    }
}
