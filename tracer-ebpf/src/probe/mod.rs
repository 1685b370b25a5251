//! One file per hook. A probe reads what the kernel has there and hands it to [`crate::emit`].

pub mod chain;
pub mod common;
pub mod holder;
pub mod set_state;
pub mod snapshot;
pub mod sums;
pub mod timewait;
pub mod tracepoint;
pub mod yardstick;
