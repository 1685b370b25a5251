//! The kernel programs as they were built by `cargo xtask build-ebpf` (PROVENANCE.toml says how).

/// The object, aligned for an ELF reader.
pub(super) fn bytes() -> &'static [u8] {
    aya::include_bytes_aligned!("../../ebpf/tcpdwell.o")
}
