//! What the kernel's events do not tell: sockets that are older than the trace, and who holds them.

mod cgroup;
mod destroy;
mod holders;
mod iterators;
mod namespaces;
mod process;
mod sampler;
mod snapshot;
mod sysctl;

pub use cgroup::CgroupPaths;
pub use destroy::{Target, destroy};
pub use sampler::Sampler;
pub use snapshot::{Snapshot, take};
pub use sysctl::sysctls;
