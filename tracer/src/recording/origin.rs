//! Whose recordings these are: told apart by host, put in the order in which they were begun.

use super::{Meta, Part};

/// A recording, and the host that it is of.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its parts, in order.
    pub parts: Vec<Part>,
    /// What to call the host: its name, and more where two have the same.
    pub host: String,
    /// The place of the host among all.
    pub host_number: usize,
    /// When it began: `CLOCK_REALTIME`, ns; 0: not known.
    pub began_ns: i64,
}

/// What makes a host another one: a name alone does not, images are cloned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    name: String,
    machine_id: Option<String>,
    /// Nothing is known of the host: the recording stands for itself.
    nameless: Option<u32>,
}

impl Identity {
    fn of(parts: &[Part]) -> Self {
        let meta = meta(parts);
        let known = meta.filter(|meta| !meta.host.is_empty());
        Self {
            name: known.map_or_else(|| "unknown".to_owned(), |meta| meta.host.clone()),
            machine_id: meta.and_then(|meta| meta.machine_id.clone()),
            nameless: match known {
                Some(_) => None,
                None => parts.first().map(|part| part.tag),
            },
        }
    }

    /// What tells it from others of its name.
    fn mark(&self) -> String {
        let id = self.machine_id.as_ref();
        let id = id.map(|id| id.chars().take(8).collect());
        let tag = self.nameless.map(|tag| format!("{tag:08x}"));
        id.or(tag).unwrap_or_else(|| "-".to_owned())
    }
}

fn meta(parts: &[Part]) -> Option<&Meta> {
    parts.iter().find_map(|part| part.meta.as_ref())
}

/// In the order in which they were begun, whatever the order they were given in.
pub fn by_host(recordings: Vec<Vec<Part>>) -> Vec<Recording> {
    let mut recordings = recordings;
    recordings.sort_by_cached_key(|parts| {
        let meta = meta(parts);
        let began = meta.map_or(0, |meta| meta.clock.wall_ns);
        let id = meta.map(|meta| meta.recording.clone());
        (began, id, parts.first().map(|part| part.tag))
    });
    let mut identities: Vec<Identity> = Vec::new();
    let mut numbered = Vec::new();
    for parts in recordings {
        let identity = Identity::of(&parts);
        let known = identities.iter().position(|other| *other == identity);
        let number = known.unwrap_or(identities.len());
        if known.is_none() {
            identities.push(identity);
        }
        numbered.push((parts, number));
    }
    let name = |number: usize| {
        let identity = &identities[number];
        let same = identities.iter().filter(|i| i.name == identity.name);
        if same.count() > 1 {
            format!("{} ({})", identity.name, identity.mark())
        } else {
            identity.name.clone()
        }
    };
    let of = |(parts, number): (Vec<Part>, usize)| Recording {
        host: name(number),
        host_number: number,
        began_ns: meta(&parts).map_or(0, |meta| meta.clock.wall_ns),
        parts,
    };
    numbered.into_iter().map(of).collect()
}
