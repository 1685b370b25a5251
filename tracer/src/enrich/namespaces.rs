//! The network namespaces that can be reached: of every process, and those with a name.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::engine::Unseen;

/// Where `ip netns` and Docker keep them.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// See the module.
pub(super) struct Namespaces {
    /// One open handle for each, our own first.
    pub(super) open: Vec<File>,
    /// How many may not even be opened.
    barred: u32,
    /// Of processes that don't show theirs, by [`Mark`]; `None`: not even that.
    hidden: BTreeSet<Option<Mark>>,
}

/// What tells a network namespace from others without leave to look at it: the inode of a file that each has
/// under `/proc/PID/net` (`get_proc_task_net`, fs/proc/proc_net.c, asks for no permission).
type Mark = u64;

/// The mark of a process's namespace, by its folder in `/proc`.
fn mark(process: &Path) -> io::Result<Mark> {
    Ok(fs::metadata(process.join("net/dev"))?.ino())
}

/// All of them, now.
pub(super) fn all() -> Namespaces {
    let mut all = Namespaces {
        open: Vec::new(),
        barred: 0,
        hidden: BTreeSet::new(),
    };
    let own = PathBuf::from("/proc/self");
    let (mut seen, mut marks) = (BTreeSet::new(), BTreeSet::new());
    for process in [own].into_iter().chain(processes()) {
        match add(&process.join("ns/net"), &mut seen, &mut all) {
            Ok(true) => marks.extend(mark(&process)),
            // `ptrace_may_access`, as for all links there (fs/proc/namespaces.c).
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                match mark(&process) {
                    // It has ended, and waits for its parent.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    mark => {
                        all.hidden.insert(mark.ok());
                    }
                }
            }
            // Known, or gone since it was listed.
            Ok(false) | Err(_) => {}
        }
    }
    for name in named() {
        // What is no namespace (any more), or not ours to see, is left out.
        let _ = add(&name, &mut seen, &mut all);
    }
    all.hidden
        .retain(|mark| mark.is_none_or(|mark| !marks.contains(&mark)));
    all
}

/// Opens a namespace that was not seen before; whether it is one.
fn add(path: &Path, seen: &mut BTreeSet<(u64, u64)>, all: &mut Namespaces) -> io::Result<bool> {
    let metadata = fs::metadata(path)?;
    if !seen.insert((metadata.dev(), metadata.ino())) {
        return Ok(false);
    }
    match File::open(path) {
        Ok(namespace) => all.open.push(namespace),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => all.barred += 1,
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// Does something in each of them, on a thread of its own: what is opened there belongs there. It is told
/// the place in the list, and the namespace's inode. Returns how many were entered, and what was out of
/// reach.
pub(super) fn visit(
    namespaces: Namespaces,
    mut act: impl FnMut(usize, u32) -> Result<()> + Send + 'static,
) -> Result<(usize, Unseen)> {
    let Namespaces {
        open,
        barred,
        mut hidden,
    } = namespaces;
    let visit = move || {
        let (mut entered, mut unseen) = (0, barred);
        for (place, namespace) in open.into_iter().enumerate() {
            // The first is our own.
            if place > 0
                && let Err(error) = setns(&namespace, CloneFlags::CLONE_NEWNET)
            {
                log::debug!("a network namespace can't be entered: {error}");
                unseen += 1;
                continue;
            }
            entered += 1;
            if !hidden.is_empty() {
                // It has a name, and a process in it that hides it.
                hidden.remove(&mark(Path::new("/proc/thread-self")).ok());
            }
            let inode = namespace.metadata().map_or(0, |metadata| metadata.ino());
            act(place, u32::try_from(inode).unwrap_or(0))?;
        }
        let unseen = Unseen {
            namespaces: unseen,
            hidden: u32::try_from(hidden.len()).unwrap_or(u32::MAX),
        };
        Ok((entered, unseen))
    };
    let visitor = thread::Builder::new()
        .name("snapshot".to_owned())
        .spawn(visit)
        .context("starting a thread")?;
    visitor
        .join()
        .unwrap_or_else(|_| Err(anyhow!("the thread that takes the snapshot failed")))
}

/// What a look would not see.
pub fn out_of_reach() -> Result<Unseen> {
    let (_, unseen) = visit(all(), |_, _| Ok(()))?;
    Ok(unseen)
}

/// Their folders.
fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_name().as_encoded_bytes()[0].is_ascii_digit())
        .map(|e| e.path())
}

fn named() -> impl Iterator<Item = PathBuf> {
    let folders = NAMED.into_iter().map(Path::new);
    let entries = folders.filter_map(|folder| fs::read_dir(folder).ok());
    entries.flatten().flatten().map(|e| e.path())
}
