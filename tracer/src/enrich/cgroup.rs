//! Paths of cgroups: the kernel programs send ids, once per process; a path is looked up once per
//! cgroup, in /proc, as long as the process is there.

use std::sync::Arc;

use hashbrown::HashSet;
use procfs::process::Process;

use crate::engine::{CgroupFact, Event, EventBody, ProcessFact};

/// Ids remembered. Beyond it no more paths are told.
const MAX_KNOWN: usize = 65_536;

/// Which cgroups were told.
#[derive(Debug, Default)]
pub struct CgroupPaths {
    told: HashSet<u64>,
}

impl CgroupPaths {
    /// Puts the path of a cgroup before the first process in it.
    pub fn tell(&mut self, events: &mut Vec<Event>, from: usize) {
        let mut facts = Vec::new();
        for event in &events[from..] {
            if let EventBody::Process(fact) = &event.body
                && let Some(path) = self.path(fact)
            {
                let id = fact.process.cgroup;
                facts.push(Event {
                    at: event.at,
                    body: EventBody::Cgroup(CgroupFact { id, path }),
                });
            }
        }
        if !facts.is_empty() {
            events.splice(from..from, facts);
        }
    }

    /// `None`: told already, or not to be found any more.
    fn path(&mut self, fact: &ProcessFact) -> Option<Arc<str>> {
        let id = fact.process.cgroup;
        if id == 0 || self.told.contains(&id) || self.told.len() >= MAX_KNOWN {
            return None;
        }
        let process = Process::new(i32::try_from(fact.pid).ok()?).ok()?;
        let path = path_of(&process)?;
        self.told.insert(id);
        Some(path.into())
    }
}

/// The cgroup that a process is in, in the unified hierarchy, from its root.
pub(super) fn path_of(process: &Process) -> Option<String> {
    let groups = process.cgroups().ok()?;
    let unified = groups.into_iter().find(|group| group.hierarchy == 0)?;
    Some(unified.pathname)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{self, Mono};

    /// What is told when this process, in a cgroup of this id, is heard of.
    fn told(paths: &mut CgroupPaths, cgroup: u64) -> usize {
        let process = engine::Process {
            cgroup,
            ..engine::Process::default()
        };
        let pid = std::process::id();
        let mut events = vec![Event {
            at: Mono(1),
            body: EventBody::Process(ProcessFact { pid, process }),
        }];
        paths.tell(&mut events, 0);
        assert!(matches!(
            events.last().map(|event| &event.body),
            Some(EventBody::Process(_))
        ));
        events.len() - 1
    }

    #[test]
    fn a_path_is_told_once() {
        let mut paths = CgroupPaths::default();
        assert_eq!(told(&mut paths, 7), 1);
        assert_eq!(told(&mut paths, 7), 0);
        assert_eq!(told(&mut paths, 8), 1);
        assert_eq!(told(&mut paths, 0), 0, "it has none");
    }

    #[test]
    fn beyond_the_bound_no_more_are_told() {
        let mut paths = CgroupPaths {
            told: (1..MAX_KNOWN as u64).collect(),
        };
        assert_eq!(told(&mut paths, MAX_KNOWN as u64), 1);
        assert_eq!(told(&mut paths, 1 + MAX_KNOWN as u64), 0);
        assert_eq!(paths.told.len(), MAX_KNOWN);
    }
}
