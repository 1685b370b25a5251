//! Reading the kernel's memory: directly where the verifier knows the type, by helper elsewhere.

use core::ptr::read_volatile;

use aya_ebpf::helpers::bpf_probe_read_kernel;

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

/// Reads a field anywhere in the kernel's memory; zeros when it cannot be read.
#[inline(always)]
pub fn read<T: Copy + Default>(base: u64, offset: usize) -> T {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base + offset as u64) as *const T).unwrap_or_default() }
}
