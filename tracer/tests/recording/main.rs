//! Recordings without a kernel: what goes in comes out, and damage is noticed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod any;
mod codec;
mod damage;
mod golden;
mod made;
mod replay;
