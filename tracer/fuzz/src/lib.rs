//! The targets as libFuzzer wants them: a binary each, built with coverage.

pub mod targets;

use std::{env, fs, path::Path, process};

pub use libfuzzer_sys;

use targets::{ALL, Target};

/// Names a folder: the target writes its seeds there, and does nothing else.
const SEEDS: &str = "TCPDWELL_FUZZ_SEEDS";

/// The target of the binary that this is called in.
#[macro_export]
macro_rules! fuzz {
    () => {
        static TARGET: std::sync::LazyLock<$crate::targets::Target> =
            std::sync::LazyLock::new(|| $crate::begin(env!("CARGO_BIN_NAME")));

        $crate::libfuzzer_sys::fuzz_target!(init: { std::sync::LazyLock::force(&TARGET); }, |bytes: &[u8]| {
            (TARGET.run)(bytes);
        });
    };
}

/// The target of this name.
pub fn begin(name: &str) -> Target {
    let target = ALL.into_iter().find(|target| target.name == name);
    let target = target.expect("a target is called as its binary");
    if let Some(folder) = env::var_os(SEEDS) {
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            let file = Path::new(&folder).join(format!("seed-{number}"));
            fs::write(file, seed).expect("the folder for seeds is there");
        }
        process::exit(0);
    }
    target
}
