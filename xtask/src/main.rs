//! `cargo xtask`: everything about the repository that plain cargo does not do.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore runner talks to the terminal; nothing reads its output as data"
)]

mod apt;
mod arch;
mod bench;
mod build;
mod build_ebpf;
mod cargo;
mod ci;
mod cli;
mod cross;
mod fuzz;
mod paths;
mod privileges;
mod process;
mod python;
mod run;
mod stopwatch;
mod test;
mod toolchain;
mod verify_ebpf;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    if let Some(error) = toolchain::wrap_rustc() {
        eprintln!("xtask: {error:#}");
        return ExitCode::FAILURE;
    }
    match cli::Cli::parse().execute() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
