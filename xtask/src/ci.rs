//! `cargo xtask ci`: the stages of a merge check, in the order in which they fail fastest.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::arch::Arch;
use crate::cli::{TestArgs, ToolchainArgs};
use crate::fuzz::FuzzArgs;
use crate::stopwatch::Stopwatch;
use crate::{apt, cargo, cross, fuzz, paths, process, test, verify_ebpf, vm, workspace};

/// How long each target is fuzzed.
const FUZZ_SECONDS: u32 = 15;

type Stage = (&'static str, fn() -> Result<ExitCode>);

const STAGES: [Stage; 9] = [
    ("workspace", workspace::execute),
    ("fmt", fmt),
    ("clippy", clippy),
    ("doc", doc),
    ("test", || test::execute(&TestArgs::default())),
    ("fuzz", fuzz),
    ("verify-ebpf", || {
        verify_ebpf::execute(&ToolchainArgs::default())
    }),
    ("vm --all", || vm::execute(&vm::VmArgs::all_kernels())),
    ("vm, another architecture", another_architecture),
];

pub(crate) fn execute() -> Result<ExitCode> {
    let total = Stopwatch::start();
    for (name, stage) in STAGES {
        println!("==> {name}");
        let watch = Stopwatch::start();
        let result = stage();
        let seconds = watch.seconds();
        if result.with_context(|| format!("stage {name} ({seconds:.1} s)"))? != ExitCode::SUCCESS {
            bail!("stage {name} failed after {seconds:.1} s");
        }
        println!("<== {name}: ok in {seconds:.1} s");
    }
    println!(
        "all {} stages passed in {:.1} s",
        STAGES.len(),
        total.seconds()
    );
    Ok(ExitCode::SUCCESS)
}

/// Left out where the means to build for it are not to be had.
fn another_architecture() -> Result<ExitCode> {
    if let Err(error) = cross::prepare(Arch::OTHER, &paths::repository()?) {
        println!(
            "skipped: can't build for {}: {error:#}",
            Arch::OTHER.machine()
        );
        return Ok(ExitCode::SUCCESS);
    }
    vm::execute(&vm::VmArgs::smoke(Arch::OTHER))
}

/// New inputs for the parsers, for so long that what is easy to find is found.
fn fuzz() -> Result<ExitCode> {
    if let Err(error) = apt::ensure_programs(&fuzz::NEEDED) {
        println!("skipped: libFuzzer can't be built: {error:#}");
        return Ok(ExitCode::SUCCESS);
    }
    fuzz::execute(&FuzzArgs {
        targets: Vec::new(),
        seconds: FUZZ_SECONDS,
        keep: false,
    })
}

fn fmt() -> Result<ExitCode> {
    // Two are outside the workspace, so `--all` does not reach them.
    for manifest in [
        "Cargo.toml",
        "tracer-ebpf/Cargo.toml",
        "tracer/fuzz/Cargo.toml",
    ] {
        cargo_step(&["fmt", "--all", "--check", "--manifest-path", manifest])?;
    }
    Ok(ExitCode::SUCCESS)
}

fn clippy() -> Result<ExitCode> {
    cargo_step(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])?;
    // What may be left out is left out by somebody.
    cargo_step(&[
        "clippy",
        "--package",
        "tracer",
        "--no-default-features",
        "--",
        "-D",
        "warnings",
    ])
}

fn doc() -> Result<ExitCode> {
    let mut cargo = cargo::command(&paths::repository()?);
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    process::run(cargo.args(["doc", "--workspace", "--no-deps"]))?;
    Ok(ExitCode::SUCCESS)
}

fn cargo_step(arguments: &[&str]) -> Result<ExitCode> {
    process::run(cargo::command(&paths::repository()?).args(arguments))?;
    Ok(ExitCode::SUCCESS)
}
