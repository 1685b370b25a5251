//! The shared libraries that a program needs in the guest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::arch::Arch;
use crate::{cross, process};

/// Where each is here, and where the guest's loader looks for it. A static program has none.
pub(super) fn of(program: &Path, arch: Arch) -> Result<Vec<(PathBuf, PathBuf)>> {
    if arch == Arch::HOST {
        // On a static program ldd fails.
        let text = process::quiet_output(Command::new("ldd").arg(program)).unwrap_or_default();
        return Ok(parse_ldd(&text)
            .into_iter()
            .map(|p| (p.clone(), p))
            .collect());
    }
    let folder = cross::libraries(arch);
    let mut needed = BTreeSet::new();
    let mut left = vec![program.to_path_buf()];
    while let Some(file) = left.pop() {
        let mut readelf = Command::new(cross::tool(arch, "readelf"));
        let text = process::output(readelf.args(["--dynamic", "--wide"]).arg(&file))?;
        for name in parse_readelf(&text) {
            if needed.insert(name.to_owned()) {
                left.push(folder.join(name));
            }
        }
    }
    let guest = Path::new("/lib");
    let places = needed
        .iter()
        .map(|name| (folder.join(name), guest.join(name)));
    Ok(places.collect())
}

/// Lines are `name => /path (address)`, `/path (address)`, or name no file at all (the vDSO).
fn parse_ldd(text: &str) -> Vec<PathBuf> {
    let words = |line: &'_ str| {
        line.split_whitespace()
            .find(|word| word.starts_with('/'))
            .map(PathBuf::from)
    };
    text.lines().filter_map(words).collect()
}

/// Lines that count end with `(NEEDED) Shared library: [name]`.
fn parse_readelf(text: &str) -> impl Iterator<Item = &str> {
    let needed = text.lines().filter(|line| line.contains("(NEEDED)"));
    needed.filter_map(|line| line.split_once('[')?.1.strip_suffix(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let text = "\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        assert_eq!(
            parse_ldd(text),
            [
                Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }

    #[test]
    fn libraries_are_read_from_readelf() {
        let text = "\
Dynamic section at offset 0x1f0 contains 3 entries:
 0x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
 0x000000000000000e (SONAME)             Library soname: [libx.so]
";
        let names: Vec<&str> = parse_readelf(text).collect();
        assert_eq!(names, ["libgcc_s.so.1", "libc.so.6"]);
    }
}
