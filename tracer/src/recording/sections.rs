//! A payload's parts: each with a number and a length, so that a reader skips what it does not know.

use super::bytes::{Corrupt, Cursor, put_bytes, put_varint};

/// The parts of an EVENTS or END payload. The numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Where the block stands in the recording, and the kernel side's account.
    Ledger = 1,
    /// A byte for each event: which columns it takes from.
    Kinds = 2,
    /// Times, each as the difference to the one before.
    Times = 3,
    /// State changes: old and new state, a nibble each.
    States = 4,
    /// State changes: what else there is of it.
    ChangeFlags = 5,
    /// Whose change or end it is.
    FlowRefs = 6,
    /// Who made it.
    PidRefs = 7,
    /// The processes, each once.
    Pids = 8,
    /// State changes: what the socket said of its end.
    Evidence = 9,
    /// State changes: what took over.
    Minisocks = 10,
    /// Ends of minisocks.
    Ends = 11,
    /// Who holds what.
    Held = 12,
    /// Everything else.
    Rare = 13,
    FlowBases = 20,
    FlowFields = 21,
    FlowSocks = 22,
    FlowCookies = 23,
    FlowAddressRefs = 24,
    Addresses = 25,
    FlowPorts = 26,
    FlowRest = 27,
    /// END: where blocks are.
    Index = 28,
}

/// One more than the highest number.
const SECTIONS: usize = 29;

/// Appends a part; an empty one is left out.
pub(super) fn put_section(out: &mut Vec<u8>, section: Section, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_varint(out, section as u64);
        put_bytes(out, bytes);
    }
}

/// The parts of a payload, by number.
#[derive(Debug, Default)]
pub(super) struct Sections<'a> {
    known: [Cursor<'a>; SECTIONS],
}

impl<'a> Sections<'a> {
    pub(super) fn parse(payload: &'a [u8]) -> Result<Self, Corrupt> {
        let mut sections = Self::default();
        let mut rest = Cursor::new(payload);
        while !rest.is_empty() {
            let number: usize = rest.number()?;
            let bytes = rest.bytes()?;
            if let Some(known) = sections.known.get_mut(number) {
                *known = Cursor::new(bytes);
            }
        }
        Ok(sections)
    }

    /// A part; what is not there is empty.
    pub(super) fn get(&self, section: Section) -> Cursor<'a> {
        self.known
            .get(section as usize)
            .copied()
            .unwrap_or_default()
    }
}
