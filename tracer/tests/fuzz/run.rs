//! Runs a target on its corpus and on edits of it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use tracer::clock::monotonic;

use crate::{edits::edited, targets::Target};

/// The files of a target's corpus, in the order of their names.
pub(crate) fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The corpus and the seeds as they are, then edits of them.
pub(crate) fn fuzz(target: &Target) {
    let mut seeds = (target.seeds)();
    seeds.extend(corpus(target.name));
    assert!(!seeds.is_empty(), "{} has no seed", target.name);
    for seed in &seeds {
        (target.run)(seed);
    }
    round(target, &seeds, target.cases, 1);
    let seconds = env::var("TCPDWELL_FUZZ_SECONDS").ok();
    let Some(seconds) = seconds.and_then(|text| text.parse().ok()) else {
        return;
    };
    let until = monotonic().plus(Duration::from_secs(seconds));
    let mut rounds = 2;
    while monotonic() < until {
        let seed = u64::from(std::process::id()) << 32 | rounds;
        round(target, &seeds, target.cases.div_ceil(10), seed);
        rounds += 1;
    }
}

fn round(target: &Target, seeds: &[Vec<u8>], cases: u32, seed: u64) {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &key);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&edited(seeds.to_vec()), |bytes| {
        (target.run)(&bytes);
        Ok::<(), TestCaseError>(())
    });
    if let Err(TestError::Fail(why, bytes)) = result {
        let name = target.name;
        let kept = env::temp_dir().join(format!("tcpdwell-fuzz-{name}-{seed}"));
        fs::write(&kept, &bytes).unwrap();
        panic!("{name}: {why}; the input is in {}", kept.display());
    }
}
