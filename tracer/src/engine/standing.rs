//! What the engine believes, as events: for whoever begins to listen in the middle.

use hashbrown::HashMap;

use super::{
    connection::{Connection, Entry},
    event::{Event, EventBody, Found, Held, ProcessFact},
    machine::Engine,
    owner::{OwnerSource, Process},
    time::Mono,
};

impl Engine {
    /// Every connection that is open, with its owner. An engine that is told these knows of each what
    /// this one knows, but for how it began.
    pub fn standing(&self, at: Mono) -> Vec<Event> {
        let mut events = Vec::with_capacity(2 * self.table.len());
        let mut told: HashMap<u32, Process> = HashMap::new();
        for connection in self.table.iter() {
            let owner = connection.owner;
            if let Some(process) = self.processes.facts(owner).copied()
                && told.insert(owner.pid, process) != Some(process)
            {
                let pid = owner.pid;
                let body = EventBody::Process(ProcessFact { pid, process });
                events.push(Event { at, body });
            }
            let at = match connection.entry {
                Entry::NotLater => connection.since,
                _ => at,
            };
            let body = EventBody::Found(found(connection));
            events.push(Event { at, body });
            if owner.source != OwnerSource::Unknown {
                let body = EventBody::Held(Held {
                    sock: connection.sock,
                    cookie: connection.cookie,
                    pid: owner.pid,
                    source: owner.source,
                });
                events.push(Event { at, body });
            }
        }
        events
    }
}

fn found(connection: &Connection) -> Found {
    Found {
        sock: connection.sock,
        cookie: connection.cookie,
        state: connection.state,
        in_minisock: connection.in_minisock,
        tuple: connection.tuple,
        netns: connection.netns,
        // Held tells it, and how it is known.
        pid: 0,
        entered: (connection.entry == Entry::Exact).then_some(connection.since),
    }
}
