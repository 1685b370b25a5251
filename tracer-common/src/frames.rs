//! What the functions on a kernel stack say of the end of a minisock, or of a socket that was closed.
//!
//! One classifier for every rung: the frames are the same whether a function hook or the timer's
//! tracepoint took the stack. Where the kernel programs add up by themselves they look addresses up in
//! [`Frames`]; else user space does, with the stack in a record.

#![expect(
    clippy::inline_always,
    reason = "the verifier follows inlined code; a call costs it more than it saves"
)]

use crate::{closing::EndReason, state::FIN_WAIT2};

/// A function on the way to a minisock's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Frame {
    /// The timer softirq.
    Expiry = 1,
    /// `connect` looking for a port.
    Connect = 2,
    /// A segment arrived.
    Receive = 3,
    /// A segment arrived, and TIME_WAIT's own rules applied to it.
    StateProcess = 4,
    /// A network namespace is taken down.
    Purge = 5,
    /// `SOCK_DESTROY`.
    Abort = 6,
    /// The timer is only moved.
    Rearm = 7,
    /// A RST (or an impossible SYN) is looked at.
    Validate = 8,
    /// A segment for a socket that is being opened or closed.
    SocketProcess = 9,
}

impl Frame {
    /// From its number in [`Frames`]; 0: a function that says nothing.
    #[inline]
    pub const fn of(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Expiry,
            2 => Self::Connect,
            3 => Self::Receive,
            4 => Self::StateProcess,
            5 => Self::Purge,
            6 => Self::Abort,
            7 => Self::Rearm,
            8 => Self::Validate,
            9 => Self::SocketProcess,
            _ => return None,
        })
    }
}

/// What became of the minisock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its timer was only set anew.
    Rearmed,
    /// It ended.
    Ended(EndReason),
}

/// What the nearest known function means for a minisock that stands for `state`.
#[inline]
pub const fn verdict(nearest: Option<Frame>, state: u8) -> Verdict {
    let in_fin_wait2 = state == FIN_WAIT2;
    Verdict::Ended(match nearest {
        Some(Frame::Rearm) => return Verdict::Rearmed,
        Some(Frame::Expiry) if in_fin_wait2 => EndReason::FinTimeout,
        Some(Frame::Expiry) => EndReason::Expired,
        Some(Frame::Connect) => EndReason::Reused,
        // TCP_TW_RST happens only in FIN_WAIT2, TCP_TW_SYN only in TIME_WAIT.
        Some(Frame::Receive) if in_fin_wait2 => EndReason::DataAfterClose,
        Some(Frame::Receive) => EndReason::SynRecycled,
        Some(Frame::StateProcess) => EndReason::Reset,
        Some(Frame::Purge) => EndReason::Purged,
        Some(Frame::Abort) => EndReason::Destroyed,
        Some(Frame::Validate | Frame::SocketProcess) | None => EndReason::Unknown,
    })
}

/// Why a socket went to `CLOSE` that its process had closed: `tcp_reset` for a RST of the peer's,
/// which [`Frame::Validate`] finds, and for data that nobody will read (RFC 1122 4.2.2.13), which
/// [`Frame::SocketProcess`] finds itself. `knows_validate`: whether the kernel has the former as a
/// function of its own, not inlined into the latter.
#[inline]
pub const fn aborted(nearest: Option<Frame>, knows_validate: bool) -> EndReason {
    match nearest {
        Some(Frame::Validate) => EndReason::Reset,
        Some(Frame::SocketProcess) if knows_validate => EndReason::DataAfterClose,
        _ => EndReason::Unknown,
    }
}

/// Boundaries in a [`Frames`]; a power of two.
pub const MAX_BOUNDARIES: usize = 256;

/// The kernel's text in pieces: where each begins, and whose it is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    /// Where the pieces begin, ascending; the first is 0, unused ones `u64::MAX`.
    starts: [u64; MAX_BOUNDARIES],
    /// [`Frame`] of each; 0: none that is known.
    codes: [u8; MAX_BOUNDARIES],
    /// Whether there is a [`Frame::Validate`].
    knows_validate: u64,
}

/// Words of a [`Frames`].
pub const FRAMES_WORDS: usize = size_of::<Frames>() / 8;

impl Frames {
    /// From `(start, end, function)`, ascending. `None`: more than there is room for.
    pub fn new(ranges: &[(u64, u64, Frame)]) -> Option<Self> {
        let mut frames = Self {
            starts: [u64::MAX; MAX_BOUNDARIES],
            codes: [0; MAX_BOUNDARIES],
            knows_validate: 0,
        };
        frames.starts[0] = 0;
        let mut last = 0;
        for (i, &(start, end, frame)) in ranges.iter().enumerate() {
            // Where the one before ended, this begins.
            if frames.starts[last] != start {
                last += 1;
            }
            *frames.starts.get_mut(last)? = start;
            frames.codes[last] = frame as u8;
            if frame as u8 == Frame::Validate as u8 {
                frames.knows_validate = 1;
            }
            if end != u64::MAX || i + 1 < ranges.len() {
                last += 1;
                *frames.starts.get_mut(last)? = end;
            }
        }
        Some(frames)
    }

    /// Whose a return address is. It lies behind the call, which may be the function's last
    /// instruction.
    ///
    /// Without a branch: the verifier follows every way through a search, for each of the frames.
    #[inline(always)]
    pub fn at(&self, address: u64) -> u8 {
        let within = address.wrapping_sub(1);
        let mut place = 0_usize;
        let mut step = MAX_BOUNDARIES / 2;
        while step > 0 {
            let probe = (bounded(place) + step) & (MAX_BOUNDARIES - 1);
            // Both are addresses of the kernel, so that the difference says which is larger.
            let begins_later = within.wrapping_sub(self.starts[probe]) >> 63;
            place += step & (begins_later as usize).wrapping_sub(1);
            step /= 2;
        }
        self.codes[bounded(place) & (MAX_BOUNDARIES - 1)]
    }

    /// The innermost function that decides, of so many on the stack, by its number ([`Frame::of`]); 0: none.
    /// The frames are return addresses, innermost first, zeros after the last.
    #[inline(always)]
    pub fn nearest<const N: usize>(&self, stack: &[u64; N], depth: usize) -> u8 {
        let mut i = 0;
        while i < N {
            if i >= depth || stack[i] == 0 {
                return 0;
            }
            let code = self.at(stack[i]);
            if code != 0 {
                return code;
            }
            i += 1;
        }
        0
    }

    /// Whether the kernel has [`Frame::Validate`] as a function of its own.
    #[inline]
    pub const fn knows_validate(&self) -> bool {
        self.knows_validate != 0
    }

    /// As the map's value has it.
    pub fn words(&self) -> [u64; FRAMES_WORDS] {
        let mut words = [0; FRAMES_WORDS];
        words[..MAX_BOUNDARIES].copy_from_slice(&self.starts);
        let codes = self.codes.as_chunks::<8>().0.iter();
        for (word, codes) in words[MAX_BOUNDARIES..].iter_mut().zip(codes) {
            *word = u64::from_ne_bytes(*codes);
        }
        words[FRAMES_WORDS - 1] = self.knows_validate;
        words
    }
}

const _: () = assert!(FRAMES_WORDS == MAX_BOUNDARIES + MAX_BOUNDARIES / 8 + 1);

/// Keeps the mask that follows from being proven away: older verifiers (6.1 is one) know nothing of what
/// two unknown numbers make by OR, which is what the compiler makes of these sums.
#[inline(always)]
fn bounded(place: usize) -> usize {
    core::hint::black_box(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: u64 = 0xffff_ffff_8100_0000;

    #[test]
    fn a_return_address_is_the_functions_before_it() {
        let at = |n: u64| KERNEL + n;
        let ranges = [
            (at(0x100), at(0x200), Frame::Receive),
            (at(0x200), at(0x300), Frame::Connect),
            (at(0x400), at(0x500), Frame::Validate),
        ];
        let frames = Frames::new(&ranges).unwrap();
        for (address, expected) in [
            (0x100, None),
            (0x101, Some(Frame::Receive)),
            (0x200, Some(Frame::Receive)),
            (0x201, Some(Frame::Connect)),
            (0x300, Some(Frame::Connect)),
            (0x301, None),
            (0x400, None),
            (0x401, Some(Frame::Validate)),
            (0x501, None),
        ] {
            assert_eq!(Frame::of(frames.at(at(address))), expected, "{address:#x}");
        }
        assert!(frames.knows_validate());
        let stack = [at(0x301), at(0x210), at(0x110), 0];
        assert_eq!(frames.nearest(&stack, 4), Frame::Connect as u8);
        assert_eq!(frames.nearest(&stack, 1), 0);
        assert_eq!(frames.nearest(&[at(0x301), 0, at(0x110)], 3), 0);
    }

    #[test]
    fn the_last_function_may_have_no_end() {
        let frames = Frames::new(&[(KERNEL, u64::MAX, Frame::Expiry)]).unwrap();
        assert_eq!(Frame::of(frames.at(KERNEL + 5)), Some(Frame::Expiry));
        assert_eq!(frames.words()[1], KERNEL);
    }

    #[test]
    fn too_many_are_refused() {
        let range = |i: u64| (KERNEL + 32 * i, KERNEL + 32 * i + 16, Frame::Receive);
        let many: [_; 128] = core::array::from_fn(|i| range(i as u64));
        assert!(Frames::new(&many).is_none());
        assert!(Frames::new(&many[..127]).is_some());
    }
}
