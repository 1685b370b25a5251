//! One file per hook. A probe reads what the kernel has there and hands it to [`crate::emit`].

pub mod set_state;
pub mod tracepoint;
