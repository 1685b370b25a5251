//! What a kprobe finds in the registers. aya-ebpf settles where they are when the object is built, for
//! one architecture; this object is for all, so the tool says it.
//!
//! Read by helper: the verifier takes offsets into a context from instructions only, not from globals.

use aya_ebpf::{
    EbpfContext,
    programs::{BtfTracePointContext, FEntryContext, ProbeContext},
};
use tracer_common::layout::RegistersLayout;

use crate::{globals::offset, kernel::read};

/// What lies so far into the registers.
#[inline(always)]
fn register<C: EbpfContext>(ctx: &C, offset: usize) -> u64 {
    read(ctx.as_ptr() as u64, offset)
}

/// The first argument of the function that is called.
#[inline(always)]
pub fn first<C: EbpfContext>(ctx: &C) -> u64 {
    register(ctx, offset!(REGISTERS: RegistersLayout, first))
}

/// The second.
#[inline(always)]
pub fn second<C: EbpfContext>(ctx: &C) -> u64 {
    register(ctx, offset!(REGISTERS: RegistersLayout, second))
}

/// The third.
#[inline(always)]
pub fn third<C: EbpfContext>(ctx: &C) -> u64 {
    register(ctx, offset!(REGISTERS: RegistersLayout, third))
}

/// What the function returns.
#[inline(always)]
pub fn returned<C: EbpfContext>(ctx: &C) -> u64 {
    register(ctx, offset!(REGISTERS: RegistersLayout, returned))
}

/// A context whose stack is asked who called.
pub trait Called: EbpfContext {
    /// Who called, where the kernel's stack does not have it yet; 0: it has.
    #[inline(always)]
    fn caller(&self) -> u64 {
        0
    }
}

impl Called for BtfTracePointContext {}
impl Called for FEntryContext {}

impl Called for ProbeContext {
    #[inline(always)]
    fn caller(&self) -> u64 {
        match offset!(REGISTERS: RegistersLayout, link) {
            0 => 0,
            link => register(self, link),
        }
    }
}
