//! What the kernel's events do not tell: sockets that are older than the trace, and who holds them.

mod cgroup;
mod holders;
mod namespaces;
mod process;
mod snapshot;

pub use cgroup::CgroupPaths;
pub use snapshot::{Snapshot, take};
