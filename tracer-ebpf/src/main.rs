//! The kernel programs: shims that hand what the kernel says to [`probe`].
//!
//! State machines live in user space. What happens here per event: is it TCP, is it wanted, stamp
//! it, submit it, count it.

#![no_std]
#![no_main]
// An addition that nothing interrupts: the target has it, and not the types around it.
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "see above")]

mod diagnostics;
mod emit;
mod filter;
mod globals;
mod kernel;
mod maps;
mod owner;
mod probe;
mod registers;
mod twin;

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, fexit, kprobe, kretprobe, raw_tracepoint, tracepoint},
    programs::{
        BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RawTracePointContext,
        RetProbeContext, TracePointContext,
    },
};

use self::probe::{set_state::Tell, sums::AddUp};

/// `sock:inet_sock_set_state` with the socket at hand. Attached first.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn set_state(ctx: BtfTracePointContext) -> i32 {
    probe::set_state::first::<Tell>(&ctx);
    0
}

/// The same, attached second where tracepoints can be preempted (7.0): submits what the first was skipped for.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn set_state_twin(ctx: BtfTracePointContext) -> i32 {
    probe::set_state::second::<Tell>(&ctx);
    0
}

/// The same, attached last: submits what those before were skipped for.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn set_state_last(ctx: BtfTracePointContext) -> i32 {
    probe::set_state::last::<Tell>(&ctx);
    0
}

/// Whether no minisock was to be had: `inet_twsk_alloc(sk, dr, state) -> tw`.
#[fexit(function = "inet_twsk_alloc")]
pub fn tw_alloc(ctx: FExitContext) -> i32 {
    if pointer(ctx.arg(3)) == 0 {
        probe::timewait::refused(pointer(ctx.arg(0)), pointer(ctx.arg(1)));
    }
    0
}

/// A minisock goes: `inet_twsk_kill(tw)`, which all ways to its end call.
#[fentry(function = "inet_twsk_kill")]
pub fn tw_kill(ctx: FEntryContext) -> i32 {
    probe::timewait::ended(&ctx, pointer(ctx.arg(0)));
    0
}

/// A minisock's timer is set: `__inet_twsk_schedule(tw, timeo, rearm)`.
#[fentry(function = "__inet_twsk_schedule")]
pub fn tw_schedule(ctx: FEntryContext) -> i32 {
    if ctx.arg::<i32>(2) & 1 == 1 {
        probe::timewait::rearmed(pointer(ctx.arg(0)));
    }
    0
}

/// As [`tw_alloc`], the call.
#[kprobe]
pub fn tw_alloc_call(ctx: ProbeContext) -> u32 {
    probe::timewait::allocating(registers::first(&ctx), registers::second(&ctx));
    0
}

/// As [`tw_alloc`], the return.
#[kretprobe]
pub fn tw_alloc_return(ctx: RetProbeContext) -> u32 {
    probe::timewait::allocated_returning(registers::returned(&ctx));
    0
}

/// As [`tw_kill`].
#[kprobe]
pub fn tw_kill_call(ctx: ProbeContext) -> u32 {
    probe::timewait::ended(&ctx, registers::first(&ctx));
    0
}

/// As [`tw_schedule`].
#[kprobe]
pub fn tw_schedule_call(ctx: ProbeContext) -> u32 {
    if registers::third(&ctx) & 1 == 1 {
        probe::timewait::rearmed(registers::first(&ctx));
    }
    0
}

/// Any timer is taken off: also before it expires, and before it is set anew.
#[btf_tracepoint(function = "timer_cancel")]
pub fn tw_timer_cancel(ctx: BtfTracePointContext) -> i32 {
    probe::timewait::timer_cancelled(&ctx, ctx.arg(0));
    0
}

/// `inet_csk_accept(sk, arg) -> sk`, since 6.10.
#[fexit(function = "inet_csk_accept")]
pub fn accept_of_two(ctx: FExitContext) -> i32 {
    probe::holder::accepted(pointer(ctx.arg(2)));
    0
}

/// `inet_csk_accept(sk, flags, err, kern) -> sk`, before.
#[fexit(function = "inet_csk_accept")]
pub fn accept_of_four(ctx: FExitContext) -> i32 {
    probe::holder::accepted(pointer(ctx.arg(4)));
    0
}

/// `inet_csk_accept`, the return.
#[kretprobe]
pub fn accept_return(ctx: RetProbeContext) -> u32 {
    probe::holder::accepted(registers::returned(&ctx));
    0
}

/// A process took data out of a socket.
#[raw_tracepoint(tracepoint = "tcp_rcv_space_adjust")]
pub fn read_from(ctx: RawTracePointContext) -> i32 {
    probe::holder::read_from(ctx.arg::<u64>(0));
    0
}

/// The kernel's pointers are numbers to us, where fields are read by helper.
fn pointer(argument: *const u8) -> u64 {
    argument as u64
}

/// Every TCP socket of a network namespace, when user space reads.
///
/// aya-ebpf has no macro for iterators: their context is taken as it is.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn snapshot_tcp(context: *const u64) -> i32 {
    probe::snapshot::tcp(probe::snapshot::Context(context));
    0
}

/// Every open file of every process, when user space reads.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn snapshot_file(context: *const u64) -> i32 {
    probe::snapshot::file(probe::snapshot::Context(context));
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

/// Tells that something changed, and when: what telling costs at the least.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn set_state_least(_ctx: BtfTracePointContext) -> i32 {
    probe::yardstick::least();
    0
}

/// Tells of a change by helpers: what the targets were set above.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn set_state_lean(ctx: BtfTracePointContext) -> i32 {
    probe::yardstick::lean(&ctx);
    0
}

/// As [`set_state`], where changes are added up.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn sum_state(ctx: BtfTracePointContext) -> i32 {
    probe::set_state::first::<AddUp>(&ctx);
    0
}

/// As [`set_state_twin`].
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn sum_state_twin(ctx: BtfTracePointContext) -> i32 {
    probe::set_state::second::<AddUp>(&ctx);
    0
}

/// As [`set_state_last`].
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn sum_state_last(ctx: BtfTracePointContext) -> i32 {
    probe::set_state::last::<AddUp>(&ctx);
    0
}

/// As [`tw_kill`].
#[fentry(function = "inet_twsk_kill")]
pub fn sum_tw_kill(ctx: FEntryContext) -> i32 {
    probe::sums::ended(&ctx, pointer(ctx.arg(0)));
    0
}

/// As [`tw_schedule`].
#[fentry(function = "__inet_twsk_schedule")]
pub fn sum_tw_schedule(ctx: FEntryContext) -> i32 {
    if ctx.arg::<i32>(2) & 1 == 1 {
        probe::sums::rearmed(pointer(ctx.arg(0)));
    }
    0
}

/// As [`tw_kill_call`].
#[kprobe]
pub fn sum_tw_kill_call(ctx: ProbeContext) -> u32 {
    probe::sums::ended(&ctx, registers::first(&ctx));
    0
}

/// As [`tw_schedule_call`].
#[kprobe]
pub fn sum_tw_schedule_call(ctx: ProbeContext) -> u32 {
    if registers::third(&ctx) & 1 == 1 {
        probe::sums::rearmed(registers::first(&ctx));
    }
    0
}

/// As [`tw_timer_cancel`].
#[btf_tracepoint(function = "timer_cancel")]
pub fn sum_timer_cancel(ctx: BtfTracePointContext) -> i32 {
    probe::sums::timer_cancelled(&ctx, ctx.arg(0));
    0
}

/// As [`snapshot_tcp`], where changes are added up: takes in what is there.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn sum_found(context: *const u64) -> i32 {
    probe::sums::found(probe::snapshot::Context(context));
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
