//! A pass over all sockets and open files by the kernel's iterators.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    mem::size_of,
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use aya::programs::iter::IterLink;
use hashbrown::HashMap;
use nix::sched::{CloneFlags, setns};
use tracer_common::snapshot::{FileFound, SocketFound};

use super::{
    holders::{Holders, Sample},
    namespaces,
    snapshot::Pass,
};
use crate::{clock, ebpf::Iterate};

/// Everything.
pub(super) fn pass(iterate: &mut impl Iterate) -> Result<Pass> {
    let began = clock::monotonic();
    let sample = Sample::new()?;
    let files = read(iterate.iterate_files()?)?;
    let files: Vec<FileFound> = records(&files, FileFound::decode);
    let mut open_files = HashMap::new();
    for file in &files {
        *open_files.entry(file.tgid).or_default() += 1;
    }
    let holders = Holders::new(&files, &sample);
    drop(files);
    Ok(Pass {
        holders,
        open_files,
        ..sockets(iterate, began)?
    })
}

/// All TCP sockets of all namespaces that can be reached.
pub(super) fn sockets(iterate: &mut impl Iterate, began: crate::engine::Mono) -> Result<Pass> {
    let namespaces = namespaces::all();
    let links: Vec<IterLink> = namespaces
        .iter()
        .map(|_| iterate.iterate_sockets())
        .collect::<Result<_>>()?;
    let count = namespaces.len();
    let (bytes, unreachable) = in_namespaces(namespaces, links)?;
    Ok(Pass {
        began,
        sockets: records(&bytes, SocketFound::decode),
        jiffy: clock::jiffy(),
        namespaces: count - unreachable,
        unreachable,
        ..Pass::default()
    })
}

/// An iterator shows the namespace of the thread that opens it: one thread visits them all.
fn in_namespaces(namespaces: Vec<File>, links: Vec<IterLink>) -> Result<(Vec<u8>, usize)> {
    let visit = move || {
        let mut all = Vec::new();
        let mut unreachable = 0;
        for (i, (namespace, link)) in namespaces.into_iter().zip(links).enumerate() {
            // The first is our own.
            if i > 0
                && let Err(error) = setns(&namespace, CloneFlags::CLONE_NEWNET)
            {
                log::debug!("a network namespace can't be entered: {error}");
                unreachable += 1;
                continue;
            }
            all.extend(read(link)?);
        }
        Ok((all, unreachable))
    };
    let visitor = thread::Builder::new()
        .name("snapshot".to_owned())
        .spawn(visit)
        .context("starting a thread")?;
    visitor
        .join()
        .unwrap_or_else(|_| Err(anyhow!("the thread that takes the snapshot failed")))
}

fn read(link: IterLink) -> Result<Vec<u8>> {
    let mut file = link.into_file().context("opening an iterator")?;
    let mut all = Vec::new();
    let mut chunk = vec![0; 1 << 18];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(all),
            Ok(length) => all.extend_from_slice(&chunk[..length]),
            // The kernel stops now and then to let others run.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("reading an iterator"),
        }
    }
}

fn records<T>(bytes: &[u8], decode: fn(&[u8]) -> Option<T>) -> Vec<T> {
    bytes
        .chunks_exact(size_of::<T>())
        .filter_map(decode)
        .collect()
}
