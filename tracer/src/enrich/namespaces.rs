//! The network namespaces that can be reached: of every process, and those with a name.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

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

/// Does something in each of them, on a thread of its own: what is opened there belongs there. It is told
/// the place in the list, and the namespace's inode. Returns how many can't be entered.
pub(super) fn visit(
    namespaces: Vec<File>,
    mut act: impl FnMut(usize, u32) -> Result<()> + Send + 'static,
) -> Result<usize> {
    let visit = move || {
        let mut unreachable = 0;
        for (place, namespace) in namespaces.into_iter().enumerate() {
            // The first is our own.
            if place > 0
                && let Err(error) = setns(&namespace, CloneFlags::CLONE_NEWNET)
            {
                log::debug!("a network namespace can't be entered: {error}");
                unreachable += 1;
                continue;
            }
            let inode = namespace.metadata().map_or(0, |metadata| metadata.ino());
            act(place, u32::try_from(inode).unwrap_or(0))?;
        }
        Ok(unreachable)
    };
    let visitor = thread::Builder::new()
        .name("snapshot".to_owned())
        .spawn(visit)
        .context("starting a thread")?;
    visitor
        .join()
        .unwrap_or_else(|_| Err(anyhow!("the thread that takes the snapshot failed")))
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
