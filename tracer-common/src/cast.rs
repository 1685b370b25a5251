//! `bpf_rdonly_cast` (kernel/bpf/helpers.c, 6.2), and how the programs come to call it.
//!
//! It makes of any number a pointer through which the verifier lets numbers be loaded, and the JIT makes
//! nothing of it (`fixup_kfunc_call`): what `bpf_probe_read_kernel` takes a hundred nanoseconds for, where
//! returns are slow, is one load. aya knows no functions of the kernel. The programs therefore call a
//! helper that there is not, and the tool puts the function in its place. Where the kernel has none, that
//! call stays, in a branch that the verifier never goes.

/// The helper that there is not; it takes what `bpf_rdonly_cast` takes.
pub const PLACEHOLDER: u32 = 0x7c61_7374;

/// A struct of the kernel that begins with words, whatever the architecture: what numbers are cast to.
pub const STRUCT: &str = "pt_regs";

/// How many of its words may be read through one cast: on x86_64 the next are a union.
pub const WORDS: usize = 16;

/// `BPF_PSEUDO_KFUNC_CALL`, include/uapi/linux/bpf.h.
const FUNCTION: u8 = 2;

/// The call as an instruction of the object.
pub const fn placeholder() -> [u8; 8] {
    call(0, PLACEHOLDER)
}

/// The same, of the kernel's function by its number in the BTF.
pub const fn function(id: u32) -> [u8; 8] {
    call(FUNCTION, id)
}

const fn call(source: u8, number: u32) -> [u8; 8] {
    // `BPF_JMP | BPF_CALL`; the objects are little-endian, as the hosts.
    let [a, b, c, d] = number.to_le_bytes();
    [0x85, source << 4, 0, 0, a, b, c, d]
}
