//! What a kernel stack says of the end of a minisock, or of a socket that was closed: the nearest
//! function that is known decides.
//!
//! One classifier for every rung: the frames are the same whether a function hook or the timer's
//! tracepoint took the stack. What is not known is unknown, never guessed.

use std::io::{self, BufRead};

use tracer_common::frames::{self, Frames};
pub use tracer_common::frames::{Frame, Verdict};

use crate::engine::{EndReason, TcpState};

/// The function that a minisock's timer calls: by it the timer is recognised.
pub const TIMER_HANDLER: &str = "tw_timer_handler";

/// The functions that decide. Those between them and the hook (`inet_twsk_deschedule_put`,
/// `timer_delete_sync` and the like) say nothing.
const FRAMES: [(&str, Frame); 22] = [
    (TIMER_HANDLER, Frame::Expiry),
    ("call_timer_fn", Frame::Expiry),
    ("expire_timers", Frame::Expiry),
    ("__run_timers", Frame::Expiry),
    ("__run_timer_base", Frame::Expiry),
    ("run_timer_base", Frame::Expiry),
    ("run_timer_softirq", Frame::Expiry),
    ("__inet_check_established", Frame::Connect),
    ("__inet6_check_established", Frame::Connect),
    ("__inet_hash_connect", Frame::Connect),
    ("inet_hash_connect", Frame::Connect),
    ("inet6_hash_connect", Frame::Connect),
    ("tcp_v4_rcv", Frame::Receive),
    ("tcp_v6_rcv", Frame::Receive),
    ("tcp_timewait_state_process", Frame::StateProcess),
    ("inet_twsk_purge", Frame::Purge),
    ("tcp_abort", Frame::Abort),
    ("__mod_timer", Frame::Rearm),
    ("mod_timer_pending", Frame::Rearm),
    ("mod_timer", Frame::Rearm),
    ("tcp_validate_incoming", Frame::Validate),
    ("tcp_rcv_state_process", Frame::SocketProcess),
];

/// What the nearest known function means for a minisock that stands for `state`.
pub fn verdict(nearest: Option<Frame>, state: TcpState) -> Verdict {
    frames::verdict(nearest, state as u8)
}

/// Where the functions that decide are in the running kernel.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// Start, end, function; by start.
    ranges: Vec<(u64, u64, Frame)>,
    handler: Option<u64>,
}

impl Symbols {
    /// From `/proc/kallsyms`: `ADDRESS TYPE NAME`, and a module's name after a tab. Those of a kernel that
    /// hides them (all at 0) are none.
    ///
    /// Read here, as they come: a map of all 120,000 by address, which is what aya makes of them, was most
    /// of what a start waited for, and of several names of one function it keeps one.
    pub fn read(mut kallsyms: impl BufRead) -> io::Result<Self> {
        let mut symbols = Self::default();
        let mut starts = Vec::new();
        let mut line = Vec::new();
        while kallsyms.read_until(b'\n', &mut line)? > 0 {
            if let Some((start, name)) = symbol(&line).filter(|(start, _)| *start != 0) {
                starts.push(start);
                if let Some((_, frame)) = FRAMES.iter().find(|(known, _)| known.as_bytes() == name)
                {
                    symbols.ranges.push((start, u64::MAX, *frame));
                }
                if name == TIMER_HANDLER.as_bytes() {
                    symbols.handler.get_or_insert(start);
                }
            }
            line.clear();
        }
        starts.sort_unstable();
        symbols.ranges.sort_by_key(|(start, ..)| *start);
        symbols.ranges.dedup_by_key(|(start, ..)| *start);
        for (start, end, _) in &mut symbols.ranges {
            let next = starts.partition_point(|other| other <= start);
            *end = starts.get(next).copied().unwrap_or(u64::MAX);
        }
        Ok(symbols)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Address of [`TIMER_HANDLER`].
    pub fn handler(&self) -> Option<u64> {
        self.handler
    }

    /// Why a socket went to `CLOSE` that its process had closed.
    pub fn aborted(&self, stack: &[u64]) -> EndReason {
        frames::aborted(self.nearest(stack), self.knows(Frame::Validate))
    }

    /// The same for the kernel programs; `None`: there are more than they have room for.
    pub fn frames(&self) -> Option<Box<Frames>> {
        Frames::new(&self.ranges).map(Box::new)
    }

    /// Whether the kernel has such a function as one of its own, not inlined into others.
    fn knows(&self, frame: Frame) -> bool {
        self.ranges.iter().any(|(_, _, known)| *known == frame)
    }

    /// The innermost function of the stack that decides. The frames are return addresses, innermost
    /// first.
    pub fn nearest(&self, stack: &[u64]) -> Option<Frame> {
        stack.iter().find_map(|address| self.at(*address))
    }

    fn at(&self, address: u64) -> Option<Frame> {
        // A return address lies behind the call: that may be the function's last instruction.
        let within = address.checked_sub(1)?;
        let after = self.ranges.partition_point(|(start, ..)| *start <= within);
        let (_, end, frame) = *self.ranges.get(after.checked_sub(1)?)?;
        (within < end).then_some(frame)
    }
}

/// Address and name in a line; of a part of a function that the compiler moved away
/// (`__run_timers.part.0`) the function's.
fn symbol(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut fields = line.split(u8::is_ascii_whitespace);
    let address = str::from_utf8(fields.next()?).ok()?;
    let address = u64::from_str_radix(address, 16).ok()?;
    let name = fields.nth(1)?;
    Some((address, name.split(|byte| *byte == b'.').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_all(all: &[(u64, &str)]) -> Symbols {
        let lines = all.iter().map(|(at, name)| format!("{at:016x} t {name}\n"));
        Symbols::read(lines.collect::<String>().as_bytes()).unwrap()
    }

    fn symbols() -> Symbols {
        let all = [
            (0x1000, "tcp_v4_rcv"),
            (0x2000, "tcp_v4_do_rcv"),
            (0x3000, "inet_twsk_deschedule_put"),
            (0x4000, "tcp_timewait_state_process"),
            (0x5000, "__run_timers.part.0"),
            (0x6000, "detach_if_pending"),
            (0x7000, "__mod_timer"),
            (0x8000, "tw_timer_handler"),
            (0x9000, "__inet_hash_connect"),
        ];
        of_all(&all)
    }

    fn of(stack: &[u64], state: TcpState) -> Verdict {
        verdict(symbols().nearest(stack), state)
    }

    #[test]
    fn the_nearest_known_function_decides() {
        use TcpState::{FinWait2, TimeWait};
        let ended = Verdict::Ended;
        // A softirq on top of a connect(): not a reuse.
        let syn = [0x6010, 0x3010, 0x1010, 0x9010];
        assert_eq!(of(&syn, TimeWait), ended(EndReason::SynRecycled));
        assert_eq!(of(&syn, FinWait2), ended(EndReason::DataAfterClose));
        let rst = [0x6010, 0x3010, 0x4010, 0x1010];
        assert_eq!(of(&rst, TimeWait), ended(EndReason::Reset));
        let timer = [0x6010, 0x5010, 0];
        assert_eq!(of(&timer, TimeWait), ended(EndReason::Expired));
        assert_eq!(of(&timer, FinWait2), ended(EndReason::FinTimeout));
        assert_eq!(of(&[0x7010, 0x4010, 0x1010], TimeWait), Verdict::Rearmed);
        assert_eq!(of(&[0x3010, 0x9010], TimeWait), ended(EndReason::Reused));
        assert_eq!(of(&[0x2010, 0, 0], TimeWait), ended(EndReason::Unknown));
        assert_eq!(of(&[], TimeWait), ended(EndReason::Unknown));
    }

    #[test]
    fn whose_rst_ended_a_closed_socket() {
        let all = [
            (0x1000, "tcp_reset"),
            (0x2000, "tcp_validate_incoming"),
            (0x3000, "tcp_rcv_state_process"),
            (0x4000, "tcp_v4_rcv"),
        ];
        let symbols = of_all(&all);
        let of_the_peer = [0x1010, 0x2010, 0x3010, 0x4010];
        let of_ours = [0x1010, 0x3010, 0x4010];
        assert_eq!(symbols.aborted(&of_the_peer), EndReason::Reset);
        assert_eq!(symbols.aborted(&of_ours), EndReason::DataAfterClose);
        assert_eq!(symbols.aborted(&[0x1010, 0]), EndReason::Unknown);
        // Inlined: then both look the same.
        let without = of_all(&[all[0], all[2], all[3]]);
        assert_eq!(without.aborted(&of_ours), EndReason::Unknown);
    }

    #[test]
    fn a_call_at_the_very_end_of_a_function_is_still_its_own() {
        assert_eq!(symbols().nearest(&[0x2000]), Some(Frame::Receive));
        assert_eq!(symbols().nearest(&[0x1000]), None);
    }

    #[test]
    fn hidden_addresses_are_none() {
        assert!(of_all(&[(0, "tcp_v4_rcv")]).is_empty());
    }

    #[test]
    fn lines_of_all_kinds_are_understood() {
        let text = b"ffffffffc0001000 t nf_other\t[nf_tables]\n\
            ffffffff81002000 t __do_nothing\n\
            ffffffff81002000 T tcp_v4_rcv\n\
            nothing\n\
            \xff\xff t t\n\
            ffffffff81001000 t call_timer_fn.isra.0\n\
            ffffffff81003000 D tw_timer_handler";
        let symbols = Symbols::read(&text[..]).unwrap();
        let nearest = |address| symbols.nearest(&[address]);
        assert_eq!(nearest(0xffff_ffff_8100_1ff0), Some(Frame::Expiry));
        assert_eq!(nearest(0xffff_ffff_8100_2ff0), Some(Frame::Receive));
        assert_eq!(nearest(0xffff_ffff_8100_3ff0), Some(Frame::Expiry));
        assert_eq!(nearest(0xffff_ffff_c000_1010), None);
        assert_eq!(symbols.handler(), Some(0xffff_ffff_8100_3000));
    }
}
