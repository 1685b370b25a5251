//! The kernel programs: shims that hand what the kernel says to [`probe`].
//!
//! State machines live in user space. What happens here per event: is it TCP, is it wanted, stamp
//! it, submit it, count it.

#![no_std]
#![no_main]

mod diagnostics;
mod emit;
mod filter;
mod globals;
mod kernel;
mod maps;
mod owner;
mod probe;
mod twin;

use aya_ebpf::{
    macros::{btf_tracepoint, raw_tracepoint, tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext, TracePointContext},
};

/// `sock:inet_sock_set_state` with the socket at hand. Attached first.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn set_state(ctx: BtfTracePointContext) -> i32 {
    probe::set_state::first(&ctx);
    0
}

/// The same, attached second: submits what the first was skipped for.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn set_state_twin(ctx: BtfTracePointContext) -> i32 {
    probe::set_state::twin(&ctx);
    0
}

/// `sock:inet_sock_set_state` where the kernel has no BTF.
#[tracepoint(category = "sock", name = "inet_sock_set_state")]
pub fn set_state_classic(ctx: TracePointContext) -> u32 {
    probe::tracepoint::classic(&ctx);
    0
}

/// Beside the classic tracepoint: counts its runs, which that one's own guard would hide.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn set_state_witness(_ctx: RawTracePointContext) -> i32 {
    probe::tracepoint::witness();
    0
}

/// Does nothing: what the cost of the others is measured against.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn set_state_empty(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses loops that do not end: a reachable panic is a load error, not a hang.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
