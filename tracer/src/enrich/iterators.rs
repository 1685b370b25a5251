//! A pass over all sockets and open files by the kernel's iterators.

use std::{
    io::{ErrorKind, Read as _},
    mem::size_of,
};

use anyhow::{Context as _, Result};
use aya::programs::iter::IterLink;
use hashbrown::HashMap;
use tracer_common::{
    snapshot::{FileFound, SocketFound},
    state::NEW_SYN_RECV,
};

use super::{
    holders::{Holders, Sample},
    namespaces,
    snapshot::Pass,
    sock_diag::{self, leaves_out},
};
use crate::{
    clock,
    ebpf::Iterate,
    engine::{Mono, Unseen},
};

/// Everything.
pub(super) fn pass(iterate: &mut dyn Iterate, without: u32) -> Result<Pass> {
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
        ..sockets(iterate, began, without)?
    })
}

/// All TCP sockets of all namespaces that can be reached. `without`: a bit for each state that is left out.
/// The kernel program was told when it was loaded, maybe less; and it can't read request sockets.
pub(super) fn sockets(iterate: &mut dyn Iterate, began: Mono, without: u32) -> Result<Pass> {
    let namespaces = namespaces::all();
    let mut links: Vec<Option<IterLink>> = namespaces
        .open
        .iter()
        .map(|_| iterate.iterate_sockets().map(Some))
        .collect::<Result<_>>()?;
    let requests = !leaves_out(without, NEW_SYN_RECV);
    Pass::of_sockets(began, namespaces, move |place, netns| {
        // An iterator shows the namespace of the thread that opens it.
        let Some(link) = links.get_mut(place).and_then(Option::take) else {
            return Ok(Vec::new());
        };
        let mut found = records(&read(link)?, SocketFound::decode);
        found.retain(|socket| !leaves_out(without, socket.state));
        if requests {
            sock_diag::dump(netns, !(1 << NEW_SYN_RECV), &mut found)
                .context("looking at request sockets, which iterators can't")?;
        }
        Ok(found)
    })
}

/// Lets the kernel programs that add up take in the sockets that are there; how many network
/// namespaces could be reached, and what not.
pub fn take_in(iterate: &mut dyn Iterate) -> Result<(usize, Unseen)> {
    let pass = sockets(iterate, clock::monotonic(), 1 << NEW_SYN_RECV)?;
    Ok((pass.namespaces, pass.unseen))
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
