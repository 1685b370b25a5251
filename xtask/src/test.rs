//! `cargo xtask test`: every test that can run here, and the name of what could not.
//!
//! The live tests come last, so that what they say of a failure stands at the end. One that fails is
//! run once more, alone: what only failed beside the others is named, and does not fail the run. They
//! share a kernel with all else that runs on the machine, and a merge check has to tell a change that
//! broke something from a minute in which the machine did.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::cli::TestArgs;
use crate::{cargo, paths, privileges, process, python};

/// Tells the live tests whether they must run (1) or must not (0).
const LIVE: &str = "TCPDWELL_LIVE";
/// Tells tests which Python to read exports with.
const PYTHON: &str = "TCPDWELL_PYTHON";

pub(crate) fn execute(args: &TestArgs) -> Result<ExitCode> {
    let skipped = skip_reason(args.no_live, &privileges::missing_for_live_tests()?);
    let repo = paths::repository()?;
    let python = python::interpreter(&repo);
    let cargo = |live: bool| {
        let mut cargo = cargo::command(&repo);
        cargo.env(LIVE, if live { "1" } else { "0" });
        match &python {
            Ok(python) => cargo.env(PYTHON, python),
            Err(_) => cargo.env_remove(PYTHON),
        };
        // One run tells of all that fails.
        cargo.args(["test", "--no-fail-fast"]);
        cargo
    };
    let is_live = skipped.is_none();
    let result = if args.args.is_empty() {
        let rest = process::run(cargo(false).arg("--workspace"));
        let live = if is_live {
            live(|| cargo(true))
        } else {
            Ok(())
        };
        rest.and(live)
    } else {
        process::run(cargo(is_live).arg("--workspace").args(&args.args))
    };
    if let Some(reason) = skipped {
        println!("skipped: live tests: {reason}");
    }
    if let Err(why) = python {
        println!("skipped: reading exports with DuckDB, Polars and Perfetto: {why:#}");
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// The live tests, and those that fail once more.
fn live(cargo: impl Fn() -> Command) -> Result<()> {
    let select = ["--package", "tracer", "--test", "live"];
    let (status, said) = process::tee(cargo().args(select))?;
    if status.success() {
        return Ok(());
    }
    let failed = failures(&said);
    if failed.is_empty() {
        bail!("the live tests ended with {status}");
    }
    println!("once more, alone: {}", failed.join(", "));
    let again = ["--", "--exact", "--test-threads=1"];
    let (status, said) = process::tee(cargo().args(select).args(again).args(&failed))?;
    if !status.success() {
        bail!(
            "live tests that failed, twice: {}",
            failures(&said).join(", ")
        );
    }
    println!(
        "failed beside the others, passed alone: {}",
        failed.join(", ")
    );
    Ok(())
}

/// The names of the tests that a test binary says have failed.
fn failures(said: &str) -> Vec<&str> {
    let results = said.lines().filter_map(|line| line.strip_prefix("test "));
    results
        .filter_map(|line| line.strip_suffix(" ... FAILED"))
        .collect()
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
    fn what_failed_is_read_from_the_list() {
        let said = concat!(
            "running 3 tests\n",
            "test test_exact::tp_btf ... ok\n",
            "test test_storm::storm ... FAILED\n",
            "test test_hist::late ... ignored\n",
            "\n",
            "failures:\n",
            "    test_storm::storm\n",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored\n",
        );
        assert_eq!(failures(said), ["test_storm::storm"]);
        assert!(failures("error: could not compile\n").is_empty());
    }

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
