//! Kernel modules for the guest, dependencies first. The packages carry no `modules.dep` (Debian makes it when
//! installing), so the dependencies come from the modules themselves.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask::files::files_under;

/// A module, ready to insert.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) image: Vec<u8>,
}

/// The modules to insert for `wished` (left out where the kernel has none) and `wanted` (which must exist).
pub(super) fn load(tree: &Path, wished: &[&str], wanted: &[String]) -> Result<Vec<Module>> {
    let files: BTreeMap<String, PathBuf> = files_under(tree)?
        .into_iter()
        .filter_map(|file| Some((module_name(file.file_name()?)?, file)))
        .collect();
    let wanted: Vec<String> = wanted.iter().map(|name| name.replace('-', "_")).collect();
    let built_in = built_in(tree);
    if let Some(missing) = wanted
        .iter()
        .find(|name| !files.contains_key(*name) && !built_in.contains(name))
    {
        bail!("the kernel has no module {missing}");
    }
    let names = wished
        .iter()
        .copied()
        .chain(wanted.iter().map(String::as_str));
    ordered(names, &|name| {
        files.get(name).map(|file| read_module(file)).transpose()
    })
}

/// The modules of `names` that `read` knows, each after those it depends on, each once.
fn ordered<'a>(
    names: impl Iterator<Item = &'a str>,
    read: &impl Fn(&str) -> Result<Option<Vec<u8>>>,
) -> Result<Vec<Module>> {
    let mut order: Vec<Module> = Vec::new();
    for name in names {
        add(name, read, &mut order)?;
    }
    Ok(order)
}

fn add(
    name: &str,
    read: &impl Fn(&str) -> Result<Option<Vec<u8>>>,
    order: &mut Vec<Module>,
) -> Result<()> {
    if order.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let Some(image) = read(name)? else {
        return Ok(());
    };
    // The kernel's build refuses circles among modules, so this ends.
    for dependency in dependencies(&image) {
        add(&dependency, read, order)?;
    }
    order.push(Module {
        name: name.to_owned(),
        image,
    });
    Ok(())
}

/// The `depends=` entry of the section `.modinfo`, which holds strings that end with a NUL.
fn dependencies(image: &[u8]) -> Vec<String> {
    let list = image
        .split(|byte| *byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="))
        .unwrap_or_default();
    let list = String::from_utf8_lossy(list);
    let names = list.split(',').filter(|name| !name.is_empty());
    names.map(|name| name.replace('-', "_")).collect()
}

/// `tcp-diag.ko.xz` is the module `tcp_diag`.
fn module_name(file: &OsStr) -> Option<String> {
    let (name, rest) = file.to_str()?.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst").then(|| name.replace('-', "_"))
}

fn built_in(tree: &Path) -> Vec<String> {
    let list = std::fs::read_to_string(tree.join("modules.builtin")).unwrap_or_default();
    let names = list.lines().filter_map(|line| Path::new(line).file_name());
    names.filter_map(module_name).collect()
}

fn read_module(file: &Path) -> Result<Vec<u8>> {
    let unpack = |program: &str| {
        let output = Command::new(program)
            .arg("-dc")
            .arg(file)
            .output()
            .with_context(|| format!("start {program}"))?;
        if !output.status.success() {
            bail!(
                "`{program} -dc {}` failed: {}",
                file.display(),
                output.status
            );
        }
        Ok(output.stdout)
    };
    match file.extension().and_then(OsStr::to_str) {
        Some("xz") => unpack("xz"),
        Some("zst") => unpack("zstd"),
        _ => std::fs::read(file).with_context(|| format!("read {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_once() {
        let read = |name: &str| {
            Ok(match name {
                "tcp_diag" => Some(b"x\0license=GPL\0depends=inet-diag,core\0y".to_vec()),
                "inet_diag" => Some(b"depends=core\0".to_vec()),
                "core" => Some(b"depends=\0".to_vec()),
                _ => None,
            })
        };
        let order = ordered(["tcp_diag", "absent", "inet_diag"].into_iter(), &read).unwrap();
        let names: Vec<&str> = order.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["core", "inet_diag", "tcp_diag"]);
    }

    #[test]
    fn names_are_taken_from_files_of_any_compression() {
        let name = |file: &str| module_name(OsStr::new(file));
        assert_eq!(name("tcp-diag.ko.xz").as_deref(), Some("tcp_diag"));
        assert_eq!(name("tcp_diag.ko").as_deref(), Some("tcp_diag"));
        assert_eq!(name("tcp_diag.ko.zst").as_deref(), Some("tcp_diag"));
        assert_eq!(name("modules.order"), None);
        assert_eq!(name("a.ko.sig"), None);
    }
}
