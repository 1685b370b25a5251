//! `cargo xtask build-ebpf`: compiles the kernel programs and commits them to the tree with a record of what
//! they were built from. The object is the same bytes wherever it is built with the same toolchain.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use xtask::provenance::{OBJECT_PATH, PROVENANCE_PATH, Provenance, sha256, source_sha256};

use crate::cli::ToolchainArgs;
use crate::toolchain::Toolchain;
use crate::{paths, process};

const TARGET: &str = "bpfel-unknown-none";
const BINARY: &str = "tcpdwell-ebpf";

/// BTF is made from debug information. `bpf_target_arch` is the architecture whose registers aya's kprobe contexts
/// know: the programs ask none of them, and it is named so that the host does not choose it.
const FLAGS: [&str; 4] = [
    "-Clinker=bpf-linker",
    "-Cdebuginfo=2",
    "--cfg=bpf_target_arch=\"x86_64\"",
    "-Clink-arg=--btf",
];

pub(crate) fn execute(args: &ToolchainArgs) -> Result<ExitCode> {
    let repo = paths::repository()?;
    let toolchain = Toolchain::find(args.toolchain_dir.as_deref())?;
    let (object, provenance) = compile(&repo, &toolchain, &paths::target_dir(&repo).join("ebpf"))?;
    write(&repo.join(OBJECT_PATH), &object)?;
    write(&repo.join(PROVENANCE_PATH), provenance.render()?.as_bytes())?;
    println!(
        "{OBJECT_PATH}: {} bytes, sha256 {}",
        object.len(),
        provenance.object_sha256
    );
    Ok(ExitCode::SUCCESS)
}

/// The finished object and its record, compiled under `target_dir`.
pub(crate) fn compile(
    repo: &Path,
    toolchain: &Toolchain,
    target_dir: &Path,
) -> Result<(Vec<u8>, Provenance)> {
    // Before the compiler reads them: an edit during the build must show as a stale object.
    let source_sha256 = source_sha256(repo)?;
    let mut cargo = toolchain.cargo(&repo.join("tracer-ebpf"))?;
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--bin",
            BINARY,
            "--target",
            TARGET,
        ])
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", encode(&flags(repo, toolchain)?));
    process::run(&mut cargo).context("compile tracer-ebpf")?;

    let linked = target_dir.join(TARGET).join("release").join(BINARY);
    let object = strip(toolchain, &linked)?;
    let versions = toolchain.versions()?;
    let provenance = Provenance {
        source_sha256,
        object_sha256: sha256(&object),
        rustc: versions.rustc,
        llvm: versions.llvm,
        bpf_linker: versions.bpf_linker,
        target: TARGET.into(),
        flags: FLAGS.map(String::from).to_vec(),
    };
    Ok((object, provenance))
}

/// Takes away what no loader reads: DWARF, and the relocations of line information against it.
/// `.BTF` and `.BTF.ext` stay, for maps, programs and the verifier's messages.
fn strip(toolchain: &Toolchain, linked: &Path) -> Result<Vec<u8>> {
    let stripped = linked.with_extension("stripped");
    let mut objcopy = Command::new(toolchain.llvm_tool("llvm-objcopy")?);
    objcopy.args(["--strip-debug", "--remove-section=.rel.BTF.ext"]);
    process::run(objcopy.arg(linked).arg(&stripped))?;
    std::fs::read(&stripped).with_context(|| format!("read {}", stripped.display()))
}

fn flags(repo: &Path, toolchain: &Toolchain) -> Result<Vec<OsString>> {
    let mut flags: Vec<OsString> = FLAGS.map(OsString::from).to_vec();
    // The last match wins, so the general ones come first.
    let cargo_home = paths::cargo_home()?;
    flags.push(remap(&cargo_home, "cargo"));
    let registries = cargo_home.join("registry/src");
    if let Ok(entries) = std::fs::read_dir(&registries) {
        // Folders named after the registry, which differs with mirrors.
        flags.extend(
            entries
                .filter_map(Result::ok)
                .map(|entry| remap(&entry.path(), "crates")),
        );
    }
    for sources in toolchain.library_sources()? {
        flags.push(remap(&sources, "rust"));
    }
    flags.push(remap(repo, "tcpdwell"));
    Ok(flags)
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

fn encode(flags: &[OsString]) -> OsString {
    flags.join(&OsString::from("\x1f"))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_travel_in_cargos_encoding() {
        let flags = [OsString::from("-Ca=b c"), remap(Path::new("/x y"), "z")];
        assert_eq!(encode(&flags), "-Ca=b c\x1f--remap-path-prefix=/x y=z");
    }
}
