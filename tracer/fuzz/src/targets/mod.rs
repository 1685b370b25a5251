//! Hostile input: every parser takes whatever comes, and neither panics, nor hangs, nor asks for memory
//! that its input does not stand for.
//!
//! Each target is a function of bytes. Two use them: libFuzzer, which looks for new inputs (`cargo xtask
//! fuzz`, `cargo fuzz`), and the tests of `tracer`, which try the same ones every time (`tests/fuzz`).

mod kernel;
mod looks;
mod proc;
mod recording;
mod sinks;
mod typed;
mod wire;

/// A parser, and how to feed it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As the binary, and the folder of its corpus.
    pub name: &'static str,
    /// Inputs to begin with, beside the corpus: made of what the code is now.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Edits of them that a run of the tests tries.
    pub cases: u32,
    /// Takes one.
    pub run: fn(&[u8]),
}

/// Texts, as a target takes them.
fn inputs<const N: usize>(texts: [&str; N]) -> Vec<Vec<u8>> {
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// All of them.
pub const ALL: [Target; 9] = [
    wire::RECORDS,
    recording::PAYLOADS,
    recording::FILES,
    recording::CONTENTS,
    kernel::FORMATS,
    kernel::BTF,
    looks::LOOKS,
    proc::PROC,
    typed::TYPED,
];
