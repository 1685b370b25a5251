//! `cargo xtask workspace`: habits that no lint knows. Lints apply only where a member inherits them, a file
//! says why it exists, and none grows beyond what a reader can hold.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use toml::Table;
use xtask::files::files_under;

use crate::paths;

const MAX_LINES: usize = 600;

pub(crate) fn execute() -> Result<ExitCode> {
    let repo = paths::repository()?;
    let (members, excluded) = folders(&read_toml(&repo.join("Cargo.toml"))?);
    let mut complaints = Vec::new();
    for member in &members {
        let manifest = format!("{member}/Cargo.toml");
        if !inherits_lints(&read_toml(&repo.join(&manifest))?) {
            complaints.push(format!("{manifest}: add `[lints] workspace = true`"));
        }
    }
    let mut checked = 0;
    for folder in members.iter().chain(&excluded) {
        for file in files_under(&repo.join(folder))? {
            if file.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("read {}", file.display()))?;
                let name = file.strip_prefix(&repo).unwrap_or(&file).display();
                complaints.extend(file_complaints(&text).map(|what| format!("{name}: {what}")));
                checked += 1;
            }
        }
    }
    if !complaints.is_empty() {
        bail!(
            "the workspace breaks its own habits:\n  {}",
            complaints.join("\n  ")
        );
    }
    println!(
        "{} members and {checked} source files are in order",
        members.len()
    );
    Ok(ExitCode::SUCCESS)
}

fn read_toml(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    text.parse()
        .with_context(|| format!("parse {}", path.display()))
}

/// The members of the workspace, and the packages it leaves out.
fn folders(root: &Table) -> (Vec<String>, Vec<String>) {
    let list = |key: &str| {
        let folders = root
            .get("workspace")
            .and_then(|workspace| workspace.get(key));
        folders
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|folder| folder.as_str().map(str::to_owned))
            .collect()
    };
    (list("members"), list("exclude"))
}

fn inherits_lints(manifest: &Table) -> bool {
    let inherits = manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"));
    inherits.and_then(toml::Value::as_bool) == Some(true)
}

fn file_complaints(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().count();
    let header = (!text.starts_with("//!"))
        .then(|| "start with a `//!` header that says why the file exists".to_owned());
    let length =
        (lines > MAX_LINES).then(|| format!("{lines} lines, more than {MAX_LINES}: split it"));
    header.into_iter().chain(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn members_and_excluded_packages_are_read() {
        let root = table("[workspace]\nmembers = ['a', 'b']\nexclude = ['c']");
        assert_eq!(
            folders(&root),
            (vec!["a".into(), "b".into()], vec!["c".into()])
        );
    }

    #[test]
    fn only_true_inherits() {
        assert!(inherits_lints(&table("[lints]\nworkspace = true")));
        assert!(!inherits_lints(&table("[lints]\nworkspace = false")));
        assert!(!inherits_lints(&table("[package]\nname = 'a'")));
    }

    #[test]
    fn files_need_a_header_and_a_reasonable_length() {
        assert_eq!(file_complaints("//! Why.\nfn a() {}\n").count(), 0);
        assert_eq!(file_complaints("fn a() {}\n").count(), 1);
        let long = format!("//! Why.\n{}", "\n".repeat(MAX_LINES));
        assert_eq!(file_complaints(&long).count(), 1);
    }
}
