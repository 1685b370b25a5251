//! The guest's shell and small tools: one static program.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::suites::Suites;
use crate::arch::Arch;
use crate::{apt, process};

const PACKAGE: &str = "busybox-static";

/// This machine's own, or the one of Debian's package for another architecture.
pub(super) fn find(arch: Arch) -> Result<PathBuf> {
    if arch == Arch::HOST {
        apt::ensure_programs(&[("busybox", PACKAGE)])?;
        return process::find_program("busybox").context("busybox is not in PATH");
    }
    let cache = super::cache(arch)?;
    let dir = cache.join("busybox");
    // Debian moved it.
    let places = [dir.join("usr/bin/busybox"), dir.join("bin/busybox")];
    let there = || places.iter().find(|place| place.is_file()).cloned();
    if there().is_none() {
        Suites::open(&cache, arch)?.unpack(&[PACKAGE.to_owned()], &dir)?;
    }
    there().with_context(|| format!("{PACKAGE} put no busybox into {}", dir.display()))
}
