//! Building for another architecture than this machine's: Rust's library comes from rustup, the compiler for the
//! C in crates, linker and libc from Debian's packages for cross-building.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::arch::Arch;
use crate::{apt, process};

/// Makes `cargo` build for `arch`. Changes nothing where that is what it does anyway.
pub(crate) fn aim(cargo: &mut Command, arch: Arch, repo: &Path) -> Result<()> {
    if arch == Arch::HOST {
        return Ok(());
    }
    prepare(arch, repo)?;
    let triple = arch.triple();
    // The build scripts of crates with C in them find the compiler by its name.
    let linker = triple.replace('-', "_").to_uppercase();
    cargo
        .args(["--target", &triple])
        .env(format!("CARGO_TARGET_{linker}_LINKER"), tool(arch, "gcc"));
    Ok(())
}

/// Fetches what building for `arch` needs.
pub(crate) fn prepare(arch: Arch, repo: &Path) -> Result<()> {
    let compiler = tool(arch, "gcc");
    let package = format!("gcc-{}-linux-gnu", arch.machine().replace('_', "-"));
    let libc = libraries(arch).join("libc.so").display().to_string();
    let libc_package = format!("libc6-dev-{}-cross", arch.debian());
    apt::ensure_programs(&[(&compiler, &package), (&libc, &libc_package)])?;
    ensure_library(repo, &arch.triple())
}

/// Where the shared libraries of another architecture are.
pub(crate) fn libraries(arch: Arch) -> PathBuf {
    format!("/usr/{}-linux-gnu/lib", arch.machine()).into()
}

/// A program of the cross compiler's, or of the linker's that comes with it.
pub(crate) fn tool(arch: Arch, name: &str) -> String {
    format!("{}-linux-gnu-{name}", arch.machine())
}

/// Rust's library for `triple`, beside the compiler that builds this repository.
fn ensure_library(repo: &Path, triple: &str) -> Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut print = Command::new(rustc);
    print.args(["--print", "target-libdir", "--target", triple]);
    let folder = process::output(print.current_dir(repo))?;
    if Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    if process::find_program("rustup").is_none() {
        bail!(
            "this rustc has no library for {triple}, and there is no rustup to fetch it: expected at {}",
            folder.trim()
        );
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", triple]);
    process::run(add.current_dir(repo)).context("fetch Rust's library for another architecture")
}
