//! Calling cargo, and learning from it where the binaries went.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::arch::Arch;
use crate::{cross, process};

/// The cargo that started us, in `repo`.
pub(crate) fn command(repo: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(repo);
    command
}

/// Builds the tool in release and returns its path.
pub(crate) fn build_tool(repo: &Path, arch: Arch) -> Result<PathBuf> {
    let arguments = [
        "build",
        "--release",
        "--package",
        "tracer",
        "--bin",
        "tcpdwell",
    ];
    build_executable(repo, arch, &arguments, "tcpdwell")
}

/// Builds the live tests and returns the path of their binary.
pub(crate) fn build_live_tests(repo: &Path, arch: Arch) -> Result<PathBuf> {
    let arguments = ["test", "--package", "tracer", "--test", "live", "--no-run"];
    build_executable(repo, arch, &arguments, "live")
}

fn build_executable(repo: &Path, arch: Arch, arguments: &[&str], target: &str) -> Result<PathBuf> {
    let mut cargo = command(repo);
    cargo
        .args(arguments)
        .arg("--message-format=json-render-diagnostics");
    cross::aim(&mut cargo, arch, repo)?;
    let messages = process::output(&mut cargo)?;
    executable(&messages, target)
        .with_context(|| format!("cargo built no executable named {target}"))
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Where cargo put this executable, by its messages in JSON.
pub(crate) fn executable(messages: &str, target: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter(|message| {
            message
                .target
                .as_ref()
                .is_some_and(|built| built.name == target)
        })
        .find_map(|message| message.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_the_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"live"},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"live"},"executable":"/t/live-1f"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages, "live"), Some("/t/live-1f".into()));
        assert_eq!(executable(messages, "none"), None);
    }
}
