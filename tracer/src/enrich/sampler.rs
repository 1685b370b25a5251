//! Minisocks, looked at now and then: where nothing tells of their lives. What comes and goes between
//! two looks is missed, and nothing is exact; each look costs as much as there are sockets.

use anyhow::Result;
use hashbrown::HashMap;
use tracer_common::state::{FIN_WAIT2, TIME_WAIT};

use super::{
    holders::Holders,
    iterators,
    snapshot::{self, Means},
    sock_diag,
};
use crate::{
    clock,
    engine::{EndReason, Event, EventBody, Found, SockId, TimewaitEnd},
    filter::Filter,
};

/// Who looks.
#[derive(Debug)]
pub struct Sampler {
    filter: Filter,
    /// What was there at the last look.
    there: HashMap<(SockId, u64), Found>,
}

impl Sampler {
    /// For what this filter wants.
    pub fn new(filter: Filter) -> Self {
        Self {
            filter,
            there: HashMap::new(),
        }
    }

    /// Looks: what is there, and what is not any more.
    pub fn look(&mut self, means: Means<'_>, events: &mut Vec<Event>) -> Result<()> {
        let (began, without) = (clock::monotonic(), !(1 << TIME_WAIT | 1 << FIN_WAIT2));
        let sockets = match means {
            Means::Iterators(iterate) => iterators::sockets(iterate, began, without)?.sockets,
            Means::SockDiag => sock_diag::sockets(began, without)?.sockets,
        };
        // What was not there went before this moment.
        let at = clock::monotonic();
        let nobody = Holders::default();
        let mut there = HashMap::new();
        for socket in sockets.iter().filter(|s| s.state == TIME_WAIT) {
            if let Some(event) = snapshot::found(socket, &nobody, &self.filter)
                && let EventBody::Found(found) = event.body
            {
                there.insert((found.sock, found.cookie), found);
                events.push(event);
            }
        }
        let gone = self
            .there
            .iter()
            .filter(|(key, _)| !there.contains_key(*key));
        events.extend(gone.map(|(_, found)| Event {
            at,
            body: EventBody::TimewaitEnd(TimewaitEnd {
                tw: found.sock,
                cookie: found.cookie,
                state: found.state,
                tuple: found.tuple,
                netns: found.netns,
                reason: EndReason::Unknown,
                stamp: None,
                timer_set: None,
                exact: false,
            }),
        }));
        self.there = there;
        Ok(())
    }
}
