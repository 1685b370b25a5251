//! Walking source folders in one fixed order, so that hashes and reports do not depend on the file system.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// All regular files under `dir`, sorted by path. Build output (`target`) and dot-folders are left out.
pub fn files_under(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(dir, &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", dir.display()))?;
        let kind = entry
            .file_type()
            .with_context(|| format!("look at {}", entry.path().display()))?;
        let name = entry.file_name();
        if kind.is_dir() {
            if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                collect(&entry.path(), found)?;
            }
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}
