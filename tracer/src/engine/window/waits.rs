//! Why connections wait for this host when the window ends, as the latest look at the sockets tells:
//! CLOSE_WAITs by who holds them and what for, and queues of listeners.

use std::{collections::BTreeMap, time::Duration};

use hashbrown::HashSet;

use super::super::{
    connection::ConnId,
    inspected::Descriptors,
    machine::Engine,
    owner::ProcessName,
    stuck::{Age, Cause, Leak, LeakKey, Port, StuckSocket},
    time::Mono,
};

/// Younger ones are on their way: a process that is scheduled late, a pool that closes in batches.
pub const LINGERS: Duration = Duration::from_secs(5);

/// Groups and listeners that are kept, those with the most sockets.
pub const MAX_WAITS: usize = 100;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// Whether anybody has looked.
    pub looked: bool,
    /// CLOSE_WAITs that have lingered, the largest groups first.
    pub groups: Vec<Waiters>,
    /// Listeners with connections that nobody has accepted, the longest queues first.
    pub queues: Vec<Queue>,
}

/// CLOSE_WAITs of one cause, of the same processes on the same port, in it for [`LINGERS`] at least.
#[derive(Clone, Debug)]
pub struct Waiters {
    /// Why.
    pub cause: Cause,
    /// Who holds them, or should accept them; none: nobody that was seen.
    pub pids: Vec<u32>,
    /// The name of the first.
    pub name: Option<ProcessName>,
    /// The port.
    pub port: Port,
    /// How many.
    pub sockets: u64,
    /// The longest time in the state.
    pub oldest: Age,
    /// Bytes that nobody read, of all.
    pub unread: u64,
    /// What the cause rests on, for the oldest.
    pub evidence: String,
    /// A process of them is stopped.
    pub stopped: bool,
    /// Open files of the first process.
    pub files: Option<Descriptors>,
    /// What comes and goes there; `None`: no one process holds them.
    pub leak: Option<Leak>,
}

/// Connections that wait for `accept`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Inode of the network namespace.
    pub netns: u32,
    /// The listener's port.
    pub port: u16,
    /// Who listens.
    pub pids: Vec<u32>,
    /// The name of the first.
    pub name: Option<ProcessName>,
    /// How many wait.
    pub waiting: u32,
    /// How many may: the backlog. The kernel lets one more in (`sk_acceptq_is_full`).
    pub backlog: u32,
}

impl Queue {
    /// Whether the kernel drops what comes (`sk_acceptq_is_full`).
    pub const fn is_full(&self) -> bool {
        self.waiting > self.backlog
    }
}

/// What waits. `sockets`: those in CLOSE_WAIT; `counted` and `listening` (network namespace and port): what
/// is asked about.
pub(super) fn waits(
    engine: &Engine,
    now: Mono,
    mut sockets: Vec<StuckSocket>,
    counted: &HashSet<ConnId>,
    listening: &HashSet<(u32, u16)>,
) -> Waits {
    sockets.retain(|s| s.conn.is_some_and(|conn| counted.contains(&conn)));
    let leaks = engine.leaks(now, &sockets);
    let leaks: BTreeMap<LeakKey, Leak> = leaks.into_iter().map(|leak| (leak.key, leak)).collect();
    let mut groups: BTreeMap<(Cause, Vec<u32>, Port), Waiters> = BTreeMap::new();
    for socket in sockets.iter().filter(|s| s.age.at_least >= LINGERS) {
        let pids = socket.processes();
        let port = socket.port();
        let key = (socket.cause, pids.clone(), port);
        let group = groups.entry(key).or_insert_with(|| {
            let first = pids.first().copied();
            let leak = match pids[..] {
                [pid] => leaks.get(&LeakKey { pid, port }).copied(),
                _ => None,
            };
            let files = first.and_then(|pid| engine.looks().descriptors_of(pid));
            Waiters {
                cause: socket.cause,
                name: first.and_then(|pid| engine.process(pid)).map(|p| p.name),
                stopped: pids.iter().any(|pid| engine.looks().is_stopped(*pid)),
                pids,
                port,
                sockets: 0,
                oldest: socket.age,
                unread: 0,
                evidence: socket.evidence.clone(),
                files,
                leak,
            }
        });
        group.sockets += 1;
        group.unread += u64::from(socket.unread.unwrap_or(0));
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.sockets));
    groups.truncate(MAX_WAITS);
    let mut queues = engine.queues();
    queues.retain(|queue| listening.contains(&(queue.netns, queue.port)));
    queues.sort_by_key(|queue| (std::cmp::Reverse(queue.waiting), queue.port, queue.netns));
    queues.truncate(MAX_WAITS);
    Waits {
        looked: engine.looks().latest().is_some(),
        groups,
        queues,
    }
}
