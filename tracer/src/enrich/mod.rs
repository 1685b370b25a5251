//! What the kernel's events do not tell: sockets that are older than the trace, and who holds them.

mod holders;
mod namespaces;
mod process;
mod snapshot;

pub use snapshot::{Snapshot, take};
