//! What the person at the keyboard wants to see of all that is counted.

use std::fmt::Write as _;

use crate::{
    engine::{CgroupFact, Transition},
    filter::Filter,
};

/// See the module.
#[derive(Clone, Debug, Default)]
pub enum Narrow {
    /// Everything.
    #[default]
    All,
    /// By the words of the options.
    Options {
        /// As it was typed.
        typed: String,
        /// What that means.
        filter: Box<Filter>,
    },
    /// Where the owner's name or id, or an address with its port, contains this.
    Text {
        /// In lower case.
        text: String,
        /// What is compared, so that nothing is allocated for it each time.
        compared: String,
    },
}

impl Narrow {
    /// From a text to look for.
    pub fn text(text: &str) -> Self {
        Self::Text {
            text: text.to_lowercase(),
            compared: String::new(),
        }
    }

    /// As it was typed; `None`: everything.
    pub fn typed(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Options { typed, .. } => Some(typed),
            Self::Text { text, .. } => Some(text),
        }
    }

    /// Whether owners are asked for, who may be found out late.
    pub fn wants_owners(&self) -> bool {
        match self {
            Self::All => false,
            Self::Options { filter, .. } => !filter.wants_any_process(),
            Self::Text { .. } => true,
        }
    }

    /// A cgroup's path is known.
    pub fn learn(&mut self, fact: &CgroupFact) {
        if let Self::Options { filter, .. } = self {
            filter.learn(fact);
        }
    }

    /// Whether a connection is wanted.
    pub fn wants(&mut self, t: &Transition) -> bool {
        match self {
            Self::All => true,
            Self::Options { filter, .. } => filter.wants(t),
            Self::Text { text, compared } => {
                compared.clear();
                let (local, remote) = (t.tuple.local, t.tuple.remote);
                // Writing to a String can't fail.
                let _ = write!(
                    compared,
                    "{} {}:{} {}:{} ",
                    t.owner.pid,
                    local.ip(),
                    local.port,
                    remote.ip(),
                    remote.port
                );
                if let Some(process) = &t.process {
                    let name = process.name.bytes();
                    compared.extend(name.iter().map(|b| char::from(b.to_ascii_lowercase())));
                }
                compared.contains(text.as_str())
            }
        }
    }
}
