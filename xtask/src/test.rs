//! `cargo xtask test`: every test that can run here, and the name of what could not.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::TestArgs;
use crate::{cargo, paths, privileges, process, python};

/// Tells the live test binary that it must run, not skip.
const LIVE: &str = "TCPDWELL_LIVE";
/// Tells tests which Python to read exports with.
const PYTHON: &str = "TCPDWELL_PYTHON";

pub(crate) fn execute(args: &TestArgs) -> Result<ExitCode> {
    let skipped = skip_reason(args.no_live, &privileges::missing_for_live_tests()?);
    let repo = paths::repository()?;
    let python = python::interpreter(&repo);
    let mut cargo = cargo::command(&repo);
    // One run tells of all that fails.
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    cargo.args(&args.args);
    match skipped {
        Some(_) => cargo.env_remove(LIVE),
        None => cargo.env(LIVE, "1"),
    };
    match &python {
        Ok(python) => cargo.env(PYTHON, python),
        Err(_) => cargo.env_remove(PYTHON),
    };
    let result = process::run(&mut cargo);
    if let Some(reason) = skipped {
        println!("skipped: live tests: {reason}");
    }
    if let Err(why) = python {
        println!("skipped: reading exports with DuckDB, Polars and Perfetto: {why:#}");
    }
    result.map(|()| ExitCode::SUCCESS)
}

fn skip_reason(no_live: bool, missing: &[&str]) -> Option<String> {
    if no_live {
        return Some("--no-live was given".into());
    }
    if missing.is_empty() {
        return None;
    }
    let missing = missing.join(", ");
    Some(format!(
        "need root ({missing}): run `sudo -E env \"PATH=$PATH\" cargo xtask test`, or `cargo xtask vm`, which needs none"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_always_has_its_reason() {
        assert_eq!(skip_reason(false, &[]), None);
        assert_eq!(
            skip_reason(true, &[]).as_deref(),
            Some("--no-live was given")
        );
        let reason = skip_reason(false, &["CAP_BPF"]).unwrap();
        assert!(
            reason.contains("CAP_BPF") && reason.contains("cargo xtask test"),
            "{reason}"
        );
    }
}
