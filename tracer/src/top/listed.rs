//! The connections of a row: looked for when somebody asks.

use std::time::Duration;

use super::model::{By, Model};
use crate::engine::{Engine, GroupKey, TcpState, Transition};

/// Connections in a list.
const MAX_LISTED: usize = 200;

/// Which connections are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Those in a state, the oldest first.
    State(TcpState),
    /// Recent ones of a row, the latest first.
    Row(By, GroupKey),
}

/// A connection in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The latest that was told of it.
    pub last: Transition,
    /// How long it has been in its state; `None`: not known, or it is over.
    pub age: Option<Duration>,
    /// Whether the age is exact.
    pub age_is_exact: bool,
}

/// Looks for the connections of a row.
pub fn listed(model: &mut Model, engine: &Engine, subject: Subject) -> Vec<Listed> {
    match subject {
        Subject::State(state) => {
            let sockets = model.sockets_in(engine, state, MAX_LISTED);
            let listed = sockets.into_iter().map(|open| Listed {
                last: open.last,
                age: open.age,
                age_is_exact: open.age_is_exact,
            });
            listed.collect()
        }
        Subject::Row(by, key) => {
            let now = model.now;
            let recent = model.recent(|t| by.key(t) == key, MAX_LISTED);
            let listed = recent.into_iter().map(|last| Listed {
                age: (last.to != TcpState::Close).then(|| now.since(last.at)),
                last,
                age_is_exact: true,
            });
            listed.collect()
        }
    }
}
