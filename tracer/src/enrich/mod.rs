//! What the kernel's events do not tell: sockets that are older than the trace, and who holds them.

mod cgroup;
mod destroy;
mod holders;
mod iterators;
mod namespaces;
mod process;
mod sampler;
mod snapshot;

pub use cgroup::CgroupPaths;
pub use destroy::{Target, destroy};
pub use sampler::Sampler;
pub use snapshot::{Snapshot, take};
