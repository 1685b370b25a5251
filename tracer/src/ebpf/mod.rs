//! The kernel side as the tool sees it: offsets, loading, attaching, counting.

mod apart;
mod attempt;
mod btf;
mod capability;
mod cost;
mod counters;
mod early;
mod iterators;
mod kernel;
mod layout;
mod load;
mod object;
mod own_netns;
mod probes;
mod reach;
mod seal;
mod selftest;
mod sums;
mod timewait;
mod tracefs;
mod types;

pub use attempt::Attempt;
pub use btf::{Btf, BtfError};
pub use capability::{Capabilities, drop_privileges, keep_privileges_to_look};
pub use cost::{AttachedYardstick, ProgramCost, RunStats, Yardstick, programs};
pub use counters::recursion_misses_in;
pub use iterators::{Iterate, Iterators, SnapshotOptions, SnapshotSource};
pub use kernel::{Kernel, Lockdown};
pub use probes::{Options, Probes, StateSource};
pub use seal::no_new_privileges;
pub use sums::{SumOptions, SumProbes};
pub use timewait::{AcceptSource, TimewaitSource};
pub use tracefs::{Field, FormatError, fields as format_fields, is_mounted as tracefs_is_mounted};
