//! Hostile input: the targets of `fuzz/`, on stable ground.
//!
//! Their inputs are those of `fuzz/corpus/TARGET` (seeds, and whatever was found once) and edits of
//! them: the same ones in every run, so that a run of the tests says the same twice. `cargo xtask fuzz`
//! looks for new ones; so does `TCPDWELL_FUZZ_SECONDS=600 cargo test -p tracer --test fuzz`, which needs
//! no C++ compiler and finds less. What fails is made small and kept in the folder for temporary files:
//! put it into the corpus.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod btf_loops;
mod edits;
mod run;
#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

use std::{fs, path::Path};

use targets::ALL;

fn fuzz(name: &str) {
    let target = ALL.iter().find(|target| target.name == name);
    run::fuzz(target.expect("a target of this name"));
}

/// A test of each, so that they run beside each other.
macro_rules! tests {
    ($($name:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                fuzz(stringify!($name));
            }
        )*
    };
}

tests! { wire payload file recording format btf looks proc typed }

/// Each is tried here, and can be built for libFuzzer.
#[test]
fn no_target_is_forgotten() {
    let names: Vec<&str> = ALL.iter().map(|target| target.name).collect();
    assert_eq!(names, TESTED);
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(place.join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let binaries = manifest["bin"].as_array().unwrap();
    let binaries: Vec<&str> = binaries
        .iter()
        .map(|b| b["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, binaries);
    for entry in fs::read_dir(place.join("corpus")).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(names.contains(&name.to_str().unwrap()), "{name:?}");
    }
}
