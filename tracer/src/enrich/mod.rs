//! What the kernel's events do not tell: sockets that are older than the trace, and who holds them.

mod cgroup;
mod descriptors;
mod destroy;
mod holders;
mod iterators;
mod namespaces;
mod netlink;
mod process;
mod sampler;
mod snapshot;
mod sock_diag;
mod sysctl;

pub use cgroup::CgroupPaths;
pub use descriptors::socket_inode;
pub use destroy::{Target, destroy};
pub use iterators::take_in;
pub use namespaces::out_of_reach;
pub use process::{max_open_files, state_in};
pub use sampler::Sampler;
pub use snapshot::{Means, Snapshot, take, try_sock_diag};
pub use sock_diag::{AskedAt, take_answer};
pub use sysctl::sysctls;
