//! Hostile input: every parser takes whatever comes, and neither panics, nor hangs, nor asks for memory
//! that its input does not stand for.
//!
//! Each target is a function of bytes. Its inputs are those of `corpus/TARGET` (seeds, and whatever was
//! found once) and edits of them: the same ones in every run, so that a run of the tests says the same
//! twice. `TCPDWELL_FUZZ_SECONDS=600 cargo test -p tracer --test fuzz` goes on for so long with others.
//! What fails is made small and kept in the folder for temporary files: put it into the corpus.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod edits;
mod kernel;
mod recording;
mod run;
mod typed;
mod wire;
