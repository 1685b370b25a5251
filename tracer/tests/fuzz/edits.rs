//! Edits of a seed: what a disk, a hostile sender or a newer version does to bytes.

use proptest::{collection::vec, prelude::*};

/// One of them, at a place that is taken modulo the length.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Set(usize, u8),
    Flip(usize, u8),
    /// A number that is at the edge of what fits, little-endian.
    Edge(usize, u64, usize),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    /// From here to there.
    Copy(usize, usize, usize),
    Cut(usize),
}

const EDGES: [u64; 10] = [
    0,
    1,
    0x7f,
    0x80,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    i64::MAX.cast_unsigned(),
    i64::MIN.cast_unsigned(),
    u64::MAX,
];

impl Edit {
    /// Any.
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let at = || any::<usize>();
        prop_oneof![
            6 => (at(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            4 => (at(), 0..8u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            4 => (at(), prop::sample::select(&EDGES[..]), prop::sample::select(vec![1, 2, 4, 8, 10]))
                .prop_map(|(at, edge, width)| Self::Edge(at, edge, width)),
            2 => (at(), vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            2 => (at(), 1..40usize).prop_map(|(at, length)| Self::Remove(at, length)),
            2 => (at(), at(), 1..60usize).prop_map(|(from, to, length)| Self::Copy(from, to, length)),
            1 => at().prop_map(Self::Cut),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let place = |at: &usize| at % length.max(1);
        let over = |at: usize, new: &[u8], bytes: &mut Vec<u8>| {
            for (byte, new) in bytes.iter_mut().skip(at).zip(new) {
                *byte = *new;
            }
        };
        match self {
            Self::Insert(at, new) => {
                let at = place(at);
                bytes.splice(at..at, new.iter().copied());
            }
            _ if bytes.is_empty() => {}
            Self::Set(at, byte) => bytes[place(at)] = *byte,
            Self::Flip(at, bit) => bytes[place(at)] ^= 1 << bit,
            // The longest varint.
            Self::Edge(at, edge, 10) => {
                let mut varint = [0xff; 10];
                varint[9] = edge.to_le_bytes()[0] & 0x7f;
                over(place(at), &varint, bytes);
            }
            Self::Edge(at, edge, width) => {
                over(place(at), &edge.to_le_bytes()[..*width], bytes);
            }
            Self::Remove(at, count) => {
                let at = place(at);
                bytes.drain(at..length.min(at + count));
            }
            Self::Copy(from, to, count) => {
                let from = place(from);
                let part = bytes[from..length.min(from + count)].to_vec();
                over(place(to), &part, bytes);
            }
            Self::Cut(at) => bytes.truncate(place(at)),
        }
    }
}

/// Edits of one of these.
pub(crate) fn edited(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(seeds), vec(Edit::any(), 0..8)).prop_map(|(mut bytes, edits)| {
        for edit in edits {
            edit.apply(&mut bytes);
        }
        bytes
    })
}
