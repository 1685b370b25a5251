//! The package lists of every Debian release that still gets kernels, kept apart from the system's own, so that
//! a kernel of another release can be fetched without touching the system.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use xtask::files::files_under;

use crate::apt::{self, Source};
use crate::arch::Arch;
use crate::process;

const MAIN: [&str; 6] = [
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "forky",
    "sid",
];
const SECURITY: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];

const DAY: Duration = Duration::from_hours(24);

pub(super) struct Suites {
    configuration: PathBuf,
    /// Empty; its age is that of the last complete update.
    fetched: PathBuf,
}

impl Suites {
    /// The lists in `cache`, fetched when there are none of today: files of replaced versions leave the mirrors.
    pub(super) fn open(cache: &Path, arch: Arch) -> Result<Self> {
        let dir = cache.join("apt");
        let suites = Self {
            configuration: dir.join("apt.conf"),
            fetched: dir.join("fetched"),
        };
        if !is_younger_than(&suites.fetched, DAY) {
            suites.prepare(&dir, arch)?;
            eprintln!("xtask: fetching package lists for other kernels");
            // A release that its mirror dropped fails the update; the lists of the others are there all the same.
            match process::run(suites.apt("apt-get").args(["update", "-qq"])) {
                Ok(()) => write(&suites.fetched, "")?,
                Err(error) => eprintln!("xtask: {error:#}; going on with the lists that came"),
            }
        }
        Ok(suites)
    }

    /// Whether every list came.
    pub(super) fn complete(&self) -> bool {
        is_younger_than(&self.fetched, DAY)
    }

    fn prepare(&self, dir: &Path, arch: Arch) -> Result<()> {
        for folder in ["lists/partial", "cache/archives/partial"] {
            let folder = dir.join(folder);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("create {}", folder.display()))?;
        }
        let list = dir.join("sources.list");
        write(&list, &source_lines(&apt::sources()?)?)?;
        write(&self.configuration, &configuration(dir, &list, arch))
    }

    /// The names of packages that start with `prefix`.
    pub(super) fn packages(&self, prefix: &str) -> Result<Vec<String>> {
        let names = process::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// The `Depends` line of the newest version of `package`.
    pub(super) fn depends(&self, package: &str) -> Result<String> {
        let text =
            process::output(
                self.apt("apt-cache")
                    .args(["show", "--no-all-versions", package]),
            )?;
        let line = text.lines().find_map(|line| line.strip_prefix("Depends: "));
        Ok(line.unwrap_or_default().to_owned())
    }

    fn download(&self, packages: &[String], dir: &Path) -> Result<()> {
        let mut download = self.apt("apt-get");
        download
            .args(["download", "-q"])
            .args(packages)
            .current_dir(dir);
        process::run(download.stdout(std::io::stderr()))
    }

    /// Puts the files of `packages` into `dir`, which is emptied first.
    pub(super) fn unpack(&self, packages: &[String], dir: &Path) -> Result<()> {
        if dir.exists() {
            std::fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        self.download(packages, dir)?;
        for deb in files_under(dir)? {
            process::run(Command::new("dpkg").arg("-x").arg(&deb).arg(dir))?;
            std::fs::remove_file(&deb).with_context(|| format!("remove {}", deb.display()))?;
        }
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = apt::command(program);
        command.env("APT_CONFIG", &self.configuration);
        command
    }
}

/// Every suite on the mirror that this machine's own sources use.
fn source_lines(sources: &[Source]) -> Result<String> {
    let find = |name: &str| sources.iter().find(|source| source.uri.ends_with(name));
    let main = find("/debian").context(
        "this machine's apt sources name no Debian mirror (a URI that ends in /debian); give the path of a vmlinuz instead",
    )?;
    let security = find("/debian-security").cloned().unwrap_or_else(|| Source {
        uri: format!("{}-security", main.uri),
        signed_by: main.signed_by.clone(),
    });
    let mut text = String::new();
    for (source, suites) in [(main, &MAIN[..]), (&security, &SECURITY[..])] {
        let key = source.signed_by.as_deref();
        let options = key.map_or(String::new(), |key| format!("[signed-by={key}] "));
        for suite in suites {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "deb {options}{} {suite} main", source.uri);
        }
    }
    Ok(text)
}

fn configuration(dir: &Path, list: &Path, arch: Arch) -> String {
    let (dir, arch) = (dir.display(), arch.debian());
    format!(
        "Dir::Etc::sourcelist \"{}\";\n\
         Dir::Etc::sourceparts \"/nonexistent\";\n\
         Dir::State::lists \"{dir}/lists\";\n\
         Dir::Cache \"{dir}/cache\";\n\
         APT::Architecture \"{arch}\";\n\
         APT::Architectures \"{arch}\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled \"false\";\n",
        list.display()
    )
}

fn is_younger_than(file: &Path, age: Duration) -> bool {
    let modified = std::fs::metadata(file).and_then(|metadata| metadata.modified());
    // A time in the future is an age of nothing.
    modified.is_ok_and(|time| time.elapsed().unwrap_or_default() < age)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, signed_by: Option<&str>) -> Source {
        Source {
            uri: uri.into(),
            signed_by: signed_by.map(str::to_owned),
        }
    }

    #[test]
    fn suites_are_looked_for_on_the_machines_own_mirror() {
        let sources = [
            source("https://other.example/apt", None),
            source("http://mirror.example/debian", Some("/keys/a.gpg")),
        ];
        let text = source_lines(&sources).unwrap();
        assert!(text.starts_with(
            "deb [signed-by=/keys/a.gpg] http://mirror.example/debian bullseye main\n"
        ));
        assert!(text.contains("http://mirror.example/debian-security trixie-security main\n"));
        assert_eq!(text.lines().count(), MAIN.len() + SECURITY.len());
    }

    #[test]
    fn a_security_mirror_of_its_own_is_used() {
        let sources = [
            source("http://s.example/debian-security", None),
            source("http://m.example/debian", None),
        ];
        let text = source_lines(&sources).unwrap();
        assert!(text.contains("deb http://s.example/debian-security bookworm-security main\n"));
    }

    #[test]
    fn a_machine_without_debian_sources_is_told_what_to_do() {
        let error = source_lines(&[source("http://m.example/ubuntu", None)]).unwrap_err();
        assert!(error.to_string().contains("vmlinuz"));
    }
}
