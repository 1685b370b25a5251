//! The kernel programs as they were built by `cargo xtask build-ebpf` (PROVENANCE.toml says how).

use std::borrow::Cow;

use tracer_common::cast;

use super::btf::Btf;

/// What the programs need to read memory by loads: numbers in the kernel's BTF.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cast {
    /// `bpf_rdonly_cast`.
    function: u32,
    /// [`cast::STRUCT`].
    pub to: u32,
}

impl Cast {
    /// `None`: the kernel has no such function.
    pub(super) fn find(btf: &Btf<'_>) -> Option<Self> {
        Some(Self {
            function: btf.function_id("bpf_rdonly_cast")?,
            to: btf.struct_id(cast::STRUCT)?,
        })
    }
}

/// The object, aligned for an ELF reader; with the kernel's function where it is called, if there is one.
pub(super) fn bytes(cast: Option<Cast>) -> Cow<'static, [u8]> {
    let built: &'static [u8] = aya::include_bytes_aligned!("../../ebpf/tcpdwell.o");
    let Some(cast) = cast else {
        return Cow::Borrowed(built);
    };
    let mut bytes = built.to_vec();
    let call = cast::function(cast.function);
    // Instructions are aligned to their length, and so are the sections that hold them.
    for instruction in bytes.as_chunks_mut().0 {
        if *instruction == cast::placeholder() {
            *instruction = call;
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(object: &[u8], call: [u8; 8]) -> usize {
        object.windows(call.len()).filter(|w| *w == call).count()
    }

    #[test]
    fn every_placeholder_is_replaced() {
        let before = bytes(None);
        let after = bytes(Some(Cast { function: 7, to: 8 }));
        let placeholders = calls(&before, cast::placeholder());
        assert!(placeholders > 0);
        assert_eq!(calls(&after, cast::placeholder()), 0);
        assert_eq!(calls(&after, cast::function(7)), placeholders);
        let differ = before.iter().zip(&*after).filter(|(a, b)| a != b).count();
        // The kind of call, and the four bytes of its number.
        assert_eq!(differ, 5 * placeholders);
    }
}
