//! Recordings without a kernel: what goes in comes out, and damage is noticed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on says so and stops"
)]

mod any;
mod codec;
mod damage;
mod export;
mod golden;
mod hist;
mod made;
mod merged;
mod replay;
mod stuck;

#[path = "../../fuzz/src/targets/sinks.rs"]
mod sinks;

#[path = "../python/mod.rs"]
mod python;
