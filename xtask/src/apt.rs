//! Debian packages: installing what a chore needs, and the mirrors this machine already uses. No mirror is
//! ever named here, so the chores work behind whatever proxy or copy the machine is set up for.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{privileges, process};

/// An archive this machine fetches packages from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) uri: String,
    /// The file of keys that it is pinned to, if it is.
    pub(crate) signed_by: Option<String>,
}

/// A command for apt that never asks and never drops root, which private cache folders would not survive.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-o", "APT::Sandbox::User=root"]);
    command
}

/// Installs the packages of those `(program, package)` pairs whose program is missing.
pub(crate) fn ensure_programs(needed: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(program, _)| process::find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !can_install() {
        bail!(
            "missing: install {} (as root: apt-get install {0})",
            missing.join(" ")
        );
    }
    install(&missing)
}

/// Whether [`install`] has a chance: a Debian-like system, and root.
pub(crate) fn can_install() -> bool {
    privileges::is_root() && process::find_program("apt-get").is_some()
}

pub(crate) fn install(packages: &[&str]) -> Result<()> {
    eprintln!("xtask: installing {}", packages.join(" "));
    process::run(command("apt-get").args(["update", "-qq"]))?;
    let mut install = command("apt-get");
    install.args(["install", "-qq", "-y", "--no-install-recommends"]);
    // dpkg reports every unpacked package on stdout, whatever apt is told.
    process::run(install.args(packages).stdout(std::process::Stdio::null()))
}

/// The archives in the system's apt sources.
pub(crate) fn sources() -> Result<Vec<Source>> {
    let mut found = Vec::new();
    let single = Path::new("/etc/apt/sources.list");
    if single.is_file() {
        found.extend(parse_list(&read(single)?));
    }
    let parts = Path::new("/etc/apt/sources.list.d");
    if parts.is_dir() {
        for file in xtask::files::files_under(parts)? {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("list") => found.extend(parse_list(&read(&file)?)),
                Some("sources") => found.extend(parse_deb822(&read(&file)?)),
                _ => {}
            }
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// The one-line format: `deb [option=value ...] URI suite component...`.
fn parse_list(text: &str) -> Vec<Source> {
    text.lines()
        .filter_map(|line| {
            let line = line.split('#').next()?.trim();
            let mut rest = line
                .strip_prefix("deb")?
                .strip_prefix([' ', '\t'])?
                .trim_start();
            let mut options = "";
            if let Some(bracketed) = rest.strip_prefix('[') {
                (options, rest) = bracketed.split_once(']')?;
            }
            let signed_by = options
                .split_whitespace()
                .find_map(|option| option.strip_prefix("signed-by="));
            Some(source(rest.split_whitespace().next()?, signed_by))
        })
        .collect()
}

/// The stanza format (deb822): one field a line, continuation lines indented, stanzas apart by a blank line.
fn parse_deb822(text: &str) -> Vec<Source> {
    text.split("\n\n").flat_map(parse_stanza).collect()
}

fn parse_stanza(stanza: &str) -> Vec<Source> {
    let lines: Vec<&str> = stanza
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let field = |name: &str| {
        lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    };
    let disabled = field("Enabled").is_some_and(|value| matches!(value, "no" | "false"));
    let binary =
        field("Types").is_some_and(|types| types.split_whitespace().any(|kind| kind == "deb"));
    if disabled || !binary {
        return Vec::new();
    }
    // An inline key (it spans lines) cannot be passed on; apt's own trusted keys have to do then.
    let signed_by = field("Signed-By").filter(|value| value.starts_with('/'));
    let uris = field("URIs").unwrap_or_default();
    uris.split_whitespace()
        .map(|uri| source(uri, signed_by))
        .collect()
}

fn source(uri: &str, signed_by: Option<&str>) -> Source {
    Source {
        uri: uri.trim_end_matches('/').to_owned(),
        signed_by: signed_by.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris(sources: &[Source]) -> Vec<&str> {
        sources.iter().map(|source| source.uri.as_str()).collect()
    }

    #[test]
    fn one_line_sources() {
        let text = "\
# deb http://commented.example/debian sid main
deb http://one.example/debian/ bookworm main contrib
deb-src http://source.example/debian bookworm main
deb [arch=amd64 signed-by=/keys/two.gpg] https://two.example/debian-security bookworm-security main # note
debian nonsense
";
        let sources = parse_list(text);
        assert_eq!(
            uris(&sources),
            [
                "http://one.example/debian",
                "https://two.example/debian-security"
            ]
        );
        assert_eq!(sources[0].signed_by, None);
        assert_eq!(sources[1].signed_by.as_deref(), Some("/keys/two.gpg"));
    }

    #[test]
    fn stanza_sources() {
        let text = "\
Types: deb
# URIs: http://commented.example/debian
URIs: http://one.example/debian http://two.example/debian/
Suites: bookworm bookworm-updates
Signed-By: /keys/one.gpg

Types: deb-src
URIs: http://source.example/debian

Enabled: no
Types: deb
URIs: http://disabled.example/debian

types: deb deb-src
uris: http://three.example/debian-security
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
";
        let sources = parse_deb822(text);
        assert_eq!(
            uris(&sources),
            [
                "http://one.example/debian",
                "http://two.example/debian",
                "http://three.example/debian-security"
            ]
        );
        assert_eq!(sources[1].signed_by.as_deref(), Some("/keys/one.gpg"));
        assert_eq!(sources[2].signed_by, None);
    }
}
