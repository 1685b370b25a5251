//! The part of xtask that others may call: what the committed kernel object was built from. The tests of
//! `tracer` use it to notice an object that no longer matches its sources, with no eBPF toolchain at hand.

pub mod files;
pub mod provenance;
