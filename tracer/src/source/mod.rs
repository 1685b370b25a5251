//! Where events come from: the seam between the outside and the engine.

pub mod as_of;
pub mod file;
pub mod live;
mod order;
pub mod paced;

use anyhow::Result;

pub use crate::engine::Account;
use crate::engine::{Event, Mono};

/// Delivers events in the order of the ring buffer (or the file).
pub trait EventSource {
    /// Waits for events until `wake_by` at most, and appends them. `false`: there will be no more.
    ///
    /// May be dropped while it waits, without loss.
    fn next_batch(
        &mut self,
        wake_by: Option<Mono>,
        events: &mut Vec<Event>,
    ) -> impl Future<Output = Result<bool>>;

    /// Appends what was lost since the last call, if anything, and the time of day.
    fn take_stock(&mut self, events: &mut Vec<Event>) -> Result<()>;

    /// Stops the source, and appends what is still on its way. `true`: there is more of it.
    fn finish(&mut self, events: &mut Vec<Event>) -> impl Future<Output = Result<bool>>;

    /// The account so far; final after [`EventSource::finish`].
    fn account(&mut self) -> Result<Account>;
}
