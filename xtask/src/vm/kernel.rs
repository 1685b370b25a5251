//! Kernels to boot: Debian's cloud kernels, fetched from the mirrors this machine uses and kept in the cache.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xtask::files::files_under;

use super::suites::Suites;
use crate::arch::Arch;

/// A kernel image, and the folder of its modules where there is one.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    pub(super) modules: Option<PathBuf>,
}

/// Finds `name` (a path, `pkg:NAME`, or a series such as 6.1) in the cache or fetches it. None: no release of
/// Debian has a kernel of that series, which happens to any but the long-term ones.
pub(super) fn find(name: &str, arch: Arch) -> Result<Option<Kernel>> {
    let path = Path::new(name);
    if path.is_file() {
        let image = path.to_path_buf();
        return Ok(Some(Kernel {
            image,
            modules: None,
        }));
    }
    if path.is_dir() {
        return unpacked(path).map(Some);
    }
    let cache = super::cache(arch)?;
    let package = name.strip_prefix("pkg:");
    let dir = cache.join("kernels").join(package.unwrap_or(name));
    // Written last, so that an interrupted download is not taken for a kernel.
    let complete = dir.join("package");
    if !complete.is_file() {
        let suites = Suites::open(&cache, arch)?;
        let package = match package {
            Some(package) => package.to_owned(),
            None => match newest(
                &suites.packages(&format!("linux-image-{name}"))?,
                name,
                &flavour(arch),
            ) {
                Some(package) => package,
                None if suites.complete() => return Ok(None),
                None => bail!("no kernel {name} in the package lists that could be fetched"),
            },
        };
        eprintln!("xtask: kernel {name} is {package}");
        fetch(&suites, &package, &dir, &flavour(arch))?;
        std::fs::write(&complete, package)
            .with_context(|| format!("write {}", complete.display()))?;
    }
    unpacked(&dir).map(Some)
}

/// How the names of cloud kernels end.
fn flavour(arch: Arch) -> String {
    format!("-cloud-{}", arch.debian())
}

fn unpacked(dir: &Path) -> Result<Kernel> {
    // In boot/ or, lately, among the modules.
    let image = files_under(dir)?
        .into_iter()
        .find(|file| {
            file.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"vmlinuz"))
        })
        .with_context(|| {
            format!(
                "no vmlinuz in {}; remove that folder to fetch it again",
                dir.display()
            )
        })?;
    let trees = [dir.join("usr/lib/modules"), dir.join("lib/modules")];
    let modules = trees.into_iter().find(|tree| tree.is_dir());
    let release = modules.and_then(|tree| std::fs::read_dir(tree).ok()?.next()?.ok());
    Ok(Kernel {
        image,
        modules: release.map(|entry| entry.path()),
    })
}

/// Newer packages are split: the image package is empty and depends on the binary and the modules.
fn fetch(suites: &Suites, package: &str, dir: &Path, flavour: &str) -> Result<()> {
    let mut packages = parts(&suites.depends(package)?, flavour);
    packages.push(package.to_owned());
    suites.unpack(&packages, dir)?;
    if unpacked(dir).is_err() {
        bail!("{package} has no kernel image: choose another");
    }
    Ok(())
}

/// From a `Depends` line, what belongs to the kernel itself.
fn parts(depends: &str, flavour: &str) -> Vec<String> {
    depends
        .split([',', '|'])
        .filter_map(|dependency| dependency.split_whitespace().next())
        .filter(|name| name.ends_with(flavour))
        .filter(|name| {
            ["linux-binary-", "linux-modules-", "linux-base-"]
                .iter()
                .any(|part| name.starts_with(part))
        })
        .map(str::to_owned)
        .collect()
}

/// The highest version among the cloud images of `series`.
fn newest(packages: &[String], series: &str, flavour: &str) -> Option<String> {
    let prefix = format!("linux-image-{series}");
    packages
        .iter()
        .filter(|name| name.ends_with(flavour))
        .filter(|name| name.strip_prefix(&prefix).is_some_and(starts_new_number))
        .max_by_key(|name| numbers(name))
        .cloned()
}

/// 6.1 is neither 6.12, nor the package without a version that only depends on the current one.
fn starts_new_number(rest: &str) -> bool {
    let digits = rest.strip_prefix(['.', '+', '-']).unwrap_or_default();
    digits.starts_with(|character: char| character.is_ascii_digit())
}

/// All numbers in `name`, which order versions as long as their shapes are alike.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_series_is_chosen_by_number() {
        let packages = [
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-49-cloud-amd64",
            "linux-image-6.1.0-50-amd64",
            "linux-image-6.12.117+deb13-cloud-amd64",
            "linux-image-6.12.9+deb13-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64-unsigned",
        ]
        .map(String::from);
        let newest = |series| newest(&packages, series, "-cloud-amd64");
        assert_eq!(
            newest("6.1").as_deref(),
            Some("linux-image-6.1.0-49-cloud-amd64")
        );
        assert_eq!(
            newest("6.12").as_deref(),
            Some("linux-image-6.12.117+deb13-cloud-amd64")
        );
        assert_eq!(newest("6"), newest("6.12"));
        assert_eq!(newest("5.10"), None);
    }

    #[test]
    fn the_parts_of_a_split_kernel() {
        let depends = "linux-binary-7.2.1-cloud-amd64 (= 7.2.1-1), linux-modules-7.2.1-cloud-amd64, kmod, linux-base-x";
        assert_eq!(
            parts(depends, "-cloud-amd64"),
            [
                "linux-binary-7.2.1-cloud-amd64",
                "linux-modules-7.2.1-cloud-amd64"
            ]
        );
        assert_eq!(
            parts("kmod, linux-base (>= 4.3~)", "-cloud-amd64"),
            Vec::<String>::new()
        );
    }
}
