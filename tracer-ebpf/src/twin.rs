//! Closing the hole of nested runs.
//!
//! The kernel skips a program that is already running on the CPU. A softirq that interrupts the
//! first program and changes a socket's state would be lost. Another program on the same
//! tracepoint has a guard of its own, and runs after the first, for every event: if the first left
//! a note for this very event there is nothing to do, else the last submits it. Where tracepoints
//! can be preempted (7.0) a task may stay away for milliseconds in the middle of the first program,
//! and all that time the last would stand alone: a second stands between them.
//!
//! Interrupting runs are over before the interrupted one goes on, so the notes are a stack. Whoever
//! handles an event pushes; the last program looks for its event from the top, and drops it with
//! everything above it. An event that interrupts the *last* needs no note (the first runs, the last
//! is skipped), and so the last says when it runs. What slips in before it says so leaves a note
//! behind, which is recognised by its age. Runs that preempt each other may spoil the stack: then an
//! event is submitted twice, which the engine notices.
//!
//! What still escapes is counted: `recursion_misses` of the first less `twin_caught`.

use crate::maps::NOTES;

/// Process, softirq, hardirq, NMI is the deepest nesting there is; the rest is for left-over notes.
const DEPTH: u32 = 8;

/// A note is fresh for as many runs of the first program on this CPU: those that interrupted between
/// its push and its twin's look. A socket's address and change can come again soon (slabs hand the
/// last one freed out first), so that an old note would hide an event. A note that is fresh but
/// taken for old costs a repeat, which the engine drops.
const FRESH: u64 = 32;

/// The stack of one CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Notes {
    runs: u64,
    depth: u32,
    /// The last program is running on this CPU: it will be skipped for whatever interrupts it.
    last_runs: u32,
    stack: [Note; DEPTH as usize],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Note {
    sk: u64,
    change: u64,
    /// 0: it is being filled.
    run: u64,
}

#[inline(always)]
fn change(oldstate: u8, newstate: u8) -> u64 {
    u64::from(oldstate) << 8 | u64::from(newstate)
}

/// This event was taken care of.
#[inline(always)]
pub fn note(sk: *const u8, oldstate: u8, newstate: u8) {
    let Some(notes) = NOTES.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a per-CPU value. Whatever interrupts leaves `depth` as it found it, or higher by
    // left-over notes, which the search skips.
    let notes = unsafe { &mut *notes };
    notes.runs += 1;
    // SAFETY: a field of the value. Volatile: it is another program's.
    if unsafe { (&raw const notes.last_runs).read_volatile() } != 0 {
        return;
    }
    let mut top = notes.depth;
    if top > 0 {
        let last = &notes.stack[(top - 1) as usize % DEPTH as usize];
        let is_old = last.run != 0 && notes.runs - last.run > FRESH;
        if top >= DEPTH || is_old {
            top = 0;
        }
    }
    let place = &raw mut notes.stack[top as usize % DEPTH as usize];
    let run = notes.runs;
    // Taken before it is filled: whoever interrupts pushes above it, and finds nothing in it yet.
    // SAFETY: fields of the value. Volatile: in this order.
    unsafe {
        (&raw mut (*place).run).write_volatile(0);
        (&raw mut notes.depth).write_volatile(top + 1);
        (&raw mut (*place).sk).write_volatile(sk as u64);
        (&raw mut (*place).change).write_volatile(change(oldstate, newstate));
        (&raw mut (*place).run).write_volatile(run);
    }
}

/// Whether an earlier program took care of this event. The last to ask takes the note away.
#[inline(always)]
pub fn noted(sk: *const u8, oldstate: u8, newstate: u8, last: bool) -> bool {
    let Some(notes) = NOTES.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: as in `note`.
    let notes = unsafe { &mut *notes };
    let wanted = change(oldstate, newstate);
    let mut i = notes.depth;
    let mut steps = 0;
    while steps < DEPTH {
        if i == 0 {
            return false;
        }
        i -= 1;
        let note = &notes.stack[i as usize % DEPTH as usize];
        let is_fresh = note.run != 0 && notes.runs - note.run <= FRESH;
        if note.sk == sk as u64 && note.change == wanted && is_fresh {
            if last {
                notes.depth = i;
            }
            return true;
        }
        steps += 1;
    }
    false
}

/// Says whether the last program runs on this CPU.
#[inline(always)]
pub fn running(runs: bool) {
    if let Some(notes) = NOTES.get_ptr_mut(0) {
        // SAFETY: a per-CPU value. Volatile: the first program reads it when it interrupts.
        unsafe { (&raw mut (*notes).last_runs).write_volatile(u32::from(runs)) };
    }
}
