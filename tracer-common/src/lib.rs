//! The contract between the kernel programs (`tracer-ebpf`) and the tool (`tracer`).
//!
//! Everything here is boring bytes: `repr(C)` structs of integers and byte arrays, no `bool`,
//! `enum`, `Option` or hidden padding, with sizes and offsets asserted at compile time. Both sides
//! compile this very crate, so there is no second definition to keep in step.
//!
//! Integers are in the host's byte order: a record never leaves the machine that made it
//! (recordings have a format of their own).

#![no_std]

pub mod address;
pub mod books;
pub mod buckets;
pub mod cast;
pub mod closing;
pub mod counters;
pub mod filter;
pub mod frames;
pub mod layout;
pub mod record;
pub mod snapshot;
pub mod state;
pub mod sums;
pub mod timewait;
pub mod wire;
