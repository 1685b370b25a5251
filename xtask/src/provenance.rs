//! What the committed kernel object was built from and with. `cargo build` embeds the object without a
//! toolchain for it, so this record is the only way to see that it went stale.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files::files_under;

/// The committed object, from the root of the repository.
pub const OBJECT_PATH: &str = "tracer/ebpf/tcpdwell.o";
/// The record beside it.
pub const PROVENANCE_PATH: &str = "tracer/ebpf/PROVENANCE.toml";

const INPUTS: [&str; 5] = [
    "tracer-common/Cargo.toml",
    "tracer-common/src",
    "tracer-ebpf/Cargo.lock",
    "tracer-ebpf/Cargo.toml",
    "tracer-ebpf/src",
];

const HEADER: &str =
    "# Written by `cargo xtask build-ebpf`, checked by `cargo xtask verify-ebpf`.\n";

/// The contents of `PROVENANCE.toml`: enough to rebuild the object, nothing about the machine that did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// [`source_sha256`] at the time of the build.
    pub source_sha256: String,
    /// SHA-256 of the object itself.
    pub object_sha256: String,
    /// `rustc --version`.
    pub rustc: String,
    /// The LLVM inside rustc.
    pub llvm: String,
    /// `bpf-linker --version`.
    pub bpf_linker: String,
    /// The target triple.
    pub target: String,
    /// Compiler flags, without those that only hide the paths of the machine.
    pub flags: Vec<String>,
}

impl Provenance {
    /// Reads the record of the repository at `repo`.
    pub fn read(repo: &Path) -> Result<Self> {
        let path = repo.join(PROVENANCE_PATH);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "read {} (`cargo xtask build-ebpf` writes it)",
                path.display()
            )
        })?;
        Self::parse(&text).with_context(|| format!("parse {}", path.display()))
    }

    /// Parses the text of a record.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    /// The text of this record.
    pub fn render(&self) -> Result<String> {
        let body = toml::to_string(self).context("render the provenance as TOML")?;
        Ok(format!("{HEADER}{body}"))
    }
}

/// SHA-256 over everything the kernel object is compiled from: for each file, sorted by relative path, the
/// path and the bytes, each preceded by its length so that no two trees look alike.
pub fn source_sha256(repo: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    for path in source_files(repo)? {
        let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let relative = path.strip_prefix(repo).unwrap_or(&path);
        for part in [relative.as_os_str().as_encoded_bytes(), bytes.as_slice()] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// SHA-256 of `bytes`, in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn source_files(repo: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in INPUTS {
        let path = repo.join(input);
        if path.is_dir() {
            files.extend(files_under(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("tracer-common/Cargo.toml", "a"),
            ("tracer-common/src/lib.rs", "b"),
            ("tracer-ebpf/Cargo.lock", "c"),
            ("tracer-ebpf/Cargo.toml", "d"),
            ("tracer-ebpf/src/main.rs", "e"),
            ("tracer-ebpf/src/probe/mod.rs", "f"),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn equal_trees_in_different_places_hash_alike() {
        let (one, two) = (tree(), tree());
        assert_eq!(
            source_sha256(one.path()).unwrap(),
            source_sha256(two.path()).unwrap()
        );
    }

    #[test]
    fn content_names_and_moved_bytes_change_the_hash() {
        let before = source_sha256(tree().path()).unwrap();

        let changed = tree();
        std::fs::write(changed.path().join("tracer-ebpf/src/probe/mod.rs"), "F").unwrap();
        assert_ne!(source_sha256(changed.path()).unwrap(), before);

        let renamed = tree();
        let from = renamed.path().join("tracer-ebpf/src/probe/mod.rs");
        std::fs::rename(&from, from.with_file_name("nod.rs")).unwrap();
        assert_ne!(source_sha256(renamed.path()).unwrap(), before);

        let unrelated = tree();
        std::fs::create_dir_all(unrelated.path().join("tracer-ebpf/target")).unwrap();
        std::fs::write(unrelated.path().join("tracer-ebpf/target/x"), "x").unwrap();
        assert_eq!(source_sha256(unrelated.path()).unwrap(), before);
    }

    #[test]
    fn a_missing_input_is_named() {
        let dir = tree();
        std::fs::remove_file(dir.path().join("tracer-ebpf/Cargo.lock")).unwrap();
        let error = format!("{:#}", source_sha256(dir.path()).unwrap_err());
        assert!(error.contains("tracer-ebpf/Cargo.lock"), "{error}");
    }

    #[test]
    fn the_record_survives_a_round_trip() {
        let record = Provenance {
            source_sha256: sha256(b"source"),
            object_sha256: sha256(b"object"),
            rustc: "rustc 1.96.0".into(),
            llvm: "22.1.8".into(),
            bpf_linker: "bpf-linker 0.13.0".into(),
            target: "bpfel-unknown-none".into(),
            flags: vec![
                "-Cdebuginfo=2".into(),
                r#"--cfg=bpf_target_arch="x86_64""#.into(),
            ],
        };
        let text = record.render().unwrap();
        assert_eq!(Provenance::parse(&text).unwrap(), record);
        assert!(Provenance::parse(&format!("{text}host = \"x\"\n")).is_err());
    }

    #[test]
    fn digests_are_lower_case_hexadecimal() {
        assert_eq!(
            sha256(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
