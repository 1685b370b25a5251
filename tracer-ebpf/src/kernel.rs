//! Reading the kernel's memory: directly where the verifier knows the type, by helper elsewhere.

use core::{ffi::c_void, mem::MaybeUninit, ptr::read_volatile};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::address::Words;

/// An address as two words in memory order: bytes one by one would cost sixteen stores.
pub type InMemory = [u64; 2];

/// As the filter compares them.
#[inline(always)]
pub fn numbers(address: InMemory) -> Words {
    [u64::from_be(address[0]), u64::from_be(address[1])]
}

/// An IPv4 address (network order, as the kernel has it) in its v4-mapped form.
#[inline(always)]
pub fn mapped(v4: u32) -> InMemory {
    let a = v4.to_ne_bytes();
    [
        0,
        u64::from_ne_bytes([0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3]]),
    ]
}

/// Loads a field through a pointer that the verifier knows as a BTF pointer. An address that turns
/// out to be bad reads as zero (the kernel's exception table).
///
/// # Safety
/// `base` must come from the program's context, or from a load through such a pointer.
#[inline(always)]
pub unsafe fn load<T: Copy>(base: *const u8, offset: usize) -> T {
    // SAFETY: the caller's promise; volatile keeps the load as one instruction at this place.
    unsafe { read_volatile(base.add(offset).cast::<T>()) }
}

/// Reads a number anywhere in the kernel's memory; 0 when it cannot be read.
#[inline(always)]
pub fn read<T: Copy + Default>(base: u64, offset: usize) -> T {
    let mut number = MaybeUninit::<T>::uninit();
    let from = base + offset as u64;
    // What it returns tells nothing more, and would be one more way for the verifier to go.
    // SAFETY: the helper checks the address, and writes zeros where that is bad
    // (`bpf_probe_read_kernel_common`, kernel/trace/bpf_trace.c).
    unsafe {
        bpf_probe_read_kernel(
            number.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            from as *const c_void,
        );
        number.assume_init()
    }
}
