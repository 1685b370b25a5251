//! libFuzzer finds the target by the name of this binary; what it does is in `src/targets`.

#![no_main]

tracer_fuzz::fuzz!();
