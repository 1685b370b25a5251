//! Where things are: the repository, its build output, the user's cache.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the repository. Cargo says at run time where this package is, so a moved clone still works.
pub(crate) fn repository() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .context("CARGO_MANIFEST_DIR is not set: run this as `cargo xtask`")?;
    let root = Path::new(&package)
        .parent()
        .context("the xtask package has no parent folder")?;
    root.canonicalize()
        .with_context(|| format!("resolve {}", root.display()))
}

/// Cargo's build output folder.
pub(crate) fn target_dir(repo: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo.join("target"), |dir| repo.join(dir))
}

/// `name` under the folder where downloads survive a `cargo clean`.
pub(crate) fn cache(name: &str) -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => home()?.join(".cache"),
    };
    Ok(base.join("tcpdwell").join(name))
}

/// Cargo's home folder, where the sources of dependencies are.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    match std::env::var_os("CARGO_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => Ok(home()?.join(".cargo")),
    }
}

fn home() -> Result<PathBuf> {
    std::env::home_dir().context("no home folder is known: set HOME")
}
