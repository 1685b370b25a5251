//! `top` without a kernel: what it draws of a recording, and what keys do in a terminal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../pty/mod.rs"]
mod pty;

mod figures;
mod playback;
mod screens;
mod story;
