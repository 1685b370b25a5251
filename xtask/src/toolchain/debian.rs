//! Sets the toolchain up on Debian: its `rustc-web` with the matching library sources, unpacked beside the
//! system (the packages conflict with others when installed), and bpf-linker built on the same LLVM.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Toolchain;
use crate::{apt, cargo, process};

const LLVM: &str = "22";
const LINKER: &str = "0.13.0";
const PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "libstd-rust-web-dev"];

/// The toolchain that [`set_up`] leaves in `dir`, whether or not it is there.
pub(super) fn layout(dir: &Path) -> Toolchain {
    let usr = dir.join("root/usr");
    Toolchain {
        rustc: usr.join("bin/rustc"),
        cargo: None,
        linker: dir.join("bin/bpf-linker"),
        library_path: Some(
            usr.join("lib")
                .join(format!("{}-linux-gnu", std::env::consts::ARCH)),
        ),
    }
}

/// Takes a few minutes, most of them for compiling bpf-linker, which therefore comes last: a folder that has
/// it has everything.
pub(super) fn set_up(dir: &Path) -> Result<()> {
    eprintln!("xtask: setting up the eBPF toolchain in {}", dir.display());
    let [llvm, polly] = [format!("llvm-{LLVM}-dev"), format!("libpolly-{LLVM}-dev")];
    apt::install(&[
        llvm.as_str(),
        polly.as_str(),
        "libzstd-dev",
        "zlib1g-dev",
        "g++",
    ])?;
    unpack_compiler(dir)?;
    expose_library_sources(dir)?;
    check_llvm(dir)?;
    build_linker(dir)
}

fn unpack_compiler(dir: &Path) -> Result<()> {
    let debs = dir.join("debs");
    let root = dir.join("root");
    for folder in [&debs, &root] {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let depends =
        process::output(apt::command("apt-cache").args(["depends", "libstd-rust-web-dev"]))?;
    let library = versioned_library(&depends)
        .context("Debian's libstd-rust-web-dev names no versioned library package")?;
    let mut download = apt::command("apt-get");
    download
        .args(["download", "-q"])
        .args(PACKAGES)
        .arg(library);
    process::run(download.current_dir(&debs))?;
    for deb in xtask::files::files_under(&debs)? {
        process::run(Command::new("dpkg").arg("-x").arg(&deb).arg(&root))?;
    }
    std::fs::remove_dir_all(&debs).with_context(|| format!("remove {}", debs.display()))
}

/// The package with the shared library itself, `libstd-rust-web-1.96`, changes its name with each release.
fn versioned_library(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("libstd-rust-web-"))
}

/// Debian puts the sources under `usr/src`; cargo looks for them in the sysroot.
fn expose_library_sources(dir: &Path) -> Result<()> {
    let sources = dir.join("root/usr/src");
    let entries =
        std::fs::read_dir(&sources).with_context(|| format!("list {}", sources.display()))?;
    let name = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name())
        .find(|name| name.as_encoded_bytes().starts_with(b"rustc-"))
        .with_context(|| format!("no rustc sources in {}", sources.display()))?;
    let folder = dir.join("root/usr/lib/rustlib/src");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let link = folder.join("rust");
    if link.symlink_metadata().is_ok() {
        std::fs::remove_file(&link).with_context(|| format!("remove {}", link.display()))?;
    }
    let target = Path::new("../../../src").join(name);
    std::os::unix::fs::symlink(&target, &link).with_context(|| format!("link {}", link.display()))
}

fn check_llvm(dir: &Path) -> Result<()> {
    let version = layout(dir).rustc(&["--version", "--verbose"])?;
    let llvm = super::field(&version, "LLVM version")?;
    if llvm.split('.').next() != Some(LLVM) {
        bail!(
            "Debian's rustc-web is now on LLVM {llvm}; raise LLVM and LINKER in xtask/src/toolchain/debian.rs"
        );
    }
    Ok(())
}

fn build_linker(dir: &Path) -> Result<()> {
    let mut cargo = cargo::command(dir);
    cargo
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--version",
            LINKER,
            "--no-default-features",
        ])
        .args(["--features", &format!("llvm-{LLVM}"), "--root"])
        .arg(dir)
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}"))
        .env_remove("CARGO_TARGET_DIR");
    process::run(&mut cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versioned_library_package_is_found() {
        let depends =
            "libstd-rust-web-dev\n  Depends: libc6\n  Depends: libstd-rust-web-1.96\n    libx\n";
        assert_eq!(versioned_library(depends), Some("libstd-rust-web-1.96"));
        assert_eq!(versioned_library("libstd-rust-web-dev\n"), None);
    }
}
