//! tcpdwell: how long TCP connections sit in each state, who closed first, and what is stuck.
//!
//! `ARCHITECTURE.md` beside this crate draws the whole; the direction of dependencies is
//! `command -> pipeline -> {source, sink, recording} -> engine`, and `engine` imports nothing of ours.

pub mod anonymize;
pub mod cli;
pub mod clock;
pub mod command;
pub mod cost;
pub mod decode;
pub mod diagnose;
pub mod ebpf;
pub mod engine;
pub mod enrich;
pub mod error;
pub mod filter;
pub mod logging;
pub mod merge;
pub mod pipeline;
pub mod recording;
pub mod render;
pub mod report;
pub mod shutdown;
pub mod sink;
pub mod source;
pub mod stack;
pub mod top;
