//! The network namespaces that can be reached: of every process, and those with a name.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Where `ip netns` and Docker keep them.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// One open handle for each, our own first.
pub(super) fn all() -> Vec<File> {
    let own = PathBuf::from("/proc/self/ns/net");
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for path in [own].into_iter().chain(of_processes()).chain(named()) {
        // What is gone since it was listed, or not ours to open, is left out.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if seen.insert((metadata.dev(), metadata.ino())) {
            found.extend(File::open(&path));
        }
    }
    found
}

fn of_processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_name().as_encoded_bytes()[0].is_ascii_digit())
        .map(|e| e.path().join("ns/net"))
}

fn named() -> impl Iterator<Item = PathBuf> {
    let folders = NAMED.into_iter().map(Path::new);
    let entries = folders.filter_map(|folder| fs::read_dir(folder).ok());
    entries.flatten().flatten().map(|e| e.path())
}
