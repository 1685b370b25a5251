//! The committed kernel object is the one that the sources make: noticed with no eBPF toolchain.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use xtask::provenance::{OBJECT_PATH, Provenance, sha256, source_sha256};

fn repo() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn the_object_is_built_from_these_sources() {
    let provenance = Provenance::read(repo()).unwrap();
    assert_eq!(
        source_sha256(repo()).unwrap(),
        provenance.source_sha256,
        "tracer-ebpf or tracer-common changed: run 'cargo xtask build-ebpf' and commit the object"
    );
    let object = fs::read(repo().join(OBJECT_PATH)).unwrap();
    assert_eq!(
        sha256(&object),
        provenance.object_sha256,
        "{OBJECT_PATH} is not the object that PROVENANCE.toml describes"
    );
}

#[test]
fn no_path_of_the_machine_that_built_it_is_inside() {
    let object = fs::read(repo().join(OBJECT_PATH)).unwrap();
    for path in ["/root/", "/home/", "/tmp/", "/work/", ".cargo/registry"] {
        let inside = object.windows(path.len()).any(|w| w == path.as_bytes());
        assert!(!inside, "the object mentions {path}");
    }
}
