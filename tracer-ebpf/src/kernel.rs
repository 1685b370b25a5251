//! Reading the kernel's memory: directly where the verifier knows the type, or takes our word for it
//! ([`tracer_common::cast`]), by helper elsewhere.

use core::{
    ffi::c_void,
    mem::{self, MaybeUninit},
    ptr::read_volatile,
};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::{
    address,
    cast::{PLACEHOLDER, WORDS},
};

use crate::globals::CAST_TO;

/// An address as two words in memory order: bytes one by one would cost sixteen stores.
pub type InMemory = [u64; 2];

/// As the filter compares them.
#[inline(always)]
pub fn numbers(address: InMemory) -> address::Words {
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
pub fn read<T: Copy>(base: u64, offset: usize) -> T {
    if has_cast() {
        // SAFETY: see `cast`.
        return unsafe { load(cast(base + offset as u64), 0) };
    }
    let mut number = MaybeUninit::<T>::uninit();
    // SAFETY: room for one, and then all of it is written.
    unsafe {
        copy(base + offset as u64, number.as_mut_ptr());
        number.assume_init()
    }
}

#[inline(always)]
fn has_cast() -> bool {
    CAST_TO.load() != 0
}

/// A pointer that [`WORDS`] words can be loaded through; where there is nothing they are zero.
#[inline(always)]
fn cast(at: u64) -> *const u8 {
    // SAFETY: the tool has put `bpf_rdonly_cast` in its place, or nobody comes here.
    let cast: unsafe extern "C" fn(u64, u32) -> *const u8 =
        unsafe { mem::transmute(PLACEHOLDER as usize) };
    // SAFETY: it takes any number.
    unsafe { cast(at, CAST_TO.load()) }
}

/// Writes all of `to`: zeros where the address is bad (`bpf_probe_read_kernel_common`,
/// kernel/trace/bpf_trace.c). What the helper returns tells nothing more, and would be one more way for
/// the verifier to go.
///
/// # Safety
/// `to` must be valid for writes.
#[inline(always)]
unsafe fn copy<T>(from: u64, to: *mut T) {
    let (size, from) = (size_of::<T>() as u32, from as *const c_void);
    // SAFETY: the helper checks the address; the rest is the caller's promise.
    unsafe { bpf_probe_read_kernel(to.cast(), size, from) };
}

/// Some words of the kernel's memory, read at once: a call costs more than what it copies.
#[derive(Clone, Copy)]
pub struct Words<const N: usize>([u64; N]);

impl<const N: usize> Words<N> {
    pub const NONE: Self = Self([0; N]);

    /// Reads them in place: a copy would cost the verifier more than the machine.
    #[inline(always)]
    pub fn read(&mut self, base: u64) {
        const { assert!(N <= WORDS) };
        if has_cast() {
            let there = cast(base);
            for (i, word) in self.0.iter_mut().enumerate() {
                // SAFETY: see `cast`.
                *word = unsafe { load(there, i * size_of::<u64>()) };
            }
            return;
        }
        // SAFETY: they are our own.
        unsafe { copy(base, &raw mut self.0) };
    }

    /// What is among them at this offset, as [`tracer_common::layout`] has it. The verifier would refuse
    /// one beyond them.
    #[inline(always)]
    pub fn field<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: numbers, aligned in the kernel's memory as they are here; see above for the end.
        unsafe { read_volatile(self.0.as_ptr().cast::<u8>().add(offset).cast::<T>()) }
    }
}
