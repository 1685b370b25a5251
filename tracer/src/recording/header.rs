//! The 64 bytes before every block: what it is, how long, and whether it arrived whole.

use super::bytes::{Corrupt, Cursor};

/// The first bytes of every block. The first is no text, so that a transfer that mangles line ends
/// shows at once.
pub const MAGIC: [u8; 4] = *b"\x89TDW";
/// The version that this tool writes, and the newest that it reads.
pub const VERSION: u8 = 1;
/// Bytes of a header.
pub const HEADER: usize = 64;
/// Most bytes of a payload, before and after compression.
pub const MAX_PAYLOAD: u32 = 16 << 20;
/// Most events of a block.
pub const MAX_COUNT: u32 = 65_536;

/// Bytes that the header's own checksum covers.
const COVERED: usize = HEADER - 4;

/// How a payload is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As it is.
    Raw,
    /// One zstd frame.
    Zstd,
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockType {
    /// What the recording stands on; the first block of a file.
    Meta,
    /// Events.
    Events,
    /// The index and the account; the last block of a file that was closed in order.
    End,
    /// What the events before have led to, for a reader who has not got them.
    Snapshot,
    /// From a newer tool: skipped.
    Other(u8),
}

impl BlockType {
    const fn number(self) -> u8 {
        match self {
            Self::Meta => 1,
            Self::Events => 2,
            Self::End => 3,
            Self::Snapshot => 4,
            Self::Other(number) => number,
        }
    }

    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Meta,
            2 => Self::Events,
            3 => Self::End,
            4 => Self::Snapshot,
            other => Self::Other(other),
        }
    }

    /// The name that `verify` prints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "META",
            Self::Events => "EVENTS",
            Self::End => "END",
            Self::Snapshot => "SNAPSHOT",
            Self::Other(_) => "unknown",
        }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Format version.
    pub version: u8,
    /// How the payload is packed; `None`: in a way that this tool does not know.
    pub codec: Option<Codec>,
    /// What the block holds.
    pub kind: BlockType,
    /// None is defined; a block with one is skipped.
    pub flags: u8,
    /// Blocks of the recording before this one.
    pub seq: u64,
    /// Events in it.
    pub count: u32,
    /// Bytes of the payload, unpacked.
    pub raw_len: u32,
    /// Bytes of the payload, as they follow.
    pub comp_len: u32,
    /// CRC32C of these.
    pub payload_crc: u32,
    /// Earliest time of an event, ns of `CLOCK_MONOTONIC`.
    pub first_ts: u64,
    /// Latest.
    pub last_ts: u64,
    /// Events that the recorder had to drop right before this block.
    pub lost_before: u64,
    /// Which recording it belongs to: random, the same in all its blocks.
    pub recording: u32,
}

/// Why 64 bytes are no usable header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHeader {
    /// Not a header, or a damaged one.
    Damaged(Corrupt),
    /// An intact header of a version that this tool can't know.
    Version(u8),
}

impl Header {
    /// As bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut out = Vec::with_capacity(HEADER);
        let codec = match self.codec {
            Some(Codec::Raw) => 0,
            Some(Codec::Zstd) | None => 1,
        };
        out.extend(MAGIC);
        out.extend([self.version, codec, self.kind.number(), self.flags]);
        out.extend(self.seq.to_le_bytes());
        out.extend(self.count.to_le_bytes());
        out.extend(self.raw_len.to_le_bytes());
        out.extend(self.comp_len.to_le_bytes());
        out.extend(self.payload_crc.to_le_bytes());
        out.extend(self.first_ts.to_le_bytes());
        out.extend(self.last_ts.to_le_bytes());
        out.extend(self.lost_before.to_le_bytes());
        out.extend(self.recording.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend(crc.to_le_bytes());
        let mut array = [0; HEADER];
        array.copy_from_slice(&out);
        array
    }

    /// From bytes. Nothing in them is believed before their checksum was right.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, NoHeader> {
        let (covered, crc) = bytes.split_at(COVERED);
        if !covered.starts_with(&MAGIC) {
            return Err(NoHeader::Damaged(Corrupt("no block begins here")));
        }
        if crc32c::crc32c(covered).to_le_bytes() != crc {
            return Err(NoHeader::Damaged(Corrupt("the header's checksum is wrong")));
        }
        let header = Self::fields(Cursor::new(&covered[MAGIC.len()..]));
        let header = header.map_err(NoHeader::Damaged)?;
        if header.version != VERSION {
            return Err(NoHeader::Version(header.version));
        }
        if header.raw_len > MAX_PAYLOAD || header.comp_len > MAX_PAYLOAD {
            return Err(NoHeader::Damaged(Corrupt("it claims to be too long")));
        }
        if header.count > MAX_COUNT {
            let why = Corrupt("it claims too many events");
            return Err(NoHeader::Damaged(why));
        }
        Ok(header)
    }

    fn fields(mut from: Cursor<'_>) -> Result<Self, Corrupt> {
        let [version, codec, kind, flags] = from.array()?;
        let mut long = || Ok(u64::from_le_bytes(from.array()?));
        let seq = long()?;
        let mut short = || Ok(u32::from_le_bytes(from.array()?));
        let (count, raw_len, comp_len, payload_crc) = (short()?, short()?, short()?, short()?);
        let mut long = || Ok(u64::from_le_bytes(from.array()?));
        Ok(Self {
            version,
            codec: match codec {
                0 => Some(Codec::Raw),
                1 => Some(Codec::Zstd),
                _ => None,
            },
            kind: BlockType::from_number(kind),
            flags,
            seq,
            count,
            raw_len,
            comp_len,
            payload_crc,
            first_ts: long()?,
            last_ts: long()?,
            lost_before: long()?,
            recording: u32::from_le_bytes(from.array()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let header = Header {
            version: VERSION,
            codec: Some(Codec::Zstd),
            kind: BlockType::Events,
            flags: 0,
            seq: 7,
            count: 16_384,
            raw_len: 1 << 20,
            comp_len: 70_000,
            payload_crc: 0xdead_beef,
            first_ts: 1,
            last_ts: u64::MAX,
            lost_before: 3,
            recording: 9,
        };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(
                Header::decode(&flipped),
                Err(NoHeader::Damaged(_))
            ));
        }
    }

    #[test]
    fn what_claims_too_much_is_refused() {
        let header = Header {
            version: VERSION,
            codec: Some(Codec::Raw),
            kind: BlockType::Other(200),
            flags: 0,
            seq: 0,
            count: 0,
            raw_len: 0,
            comp_len: 0,
            payload_crc: 0,
            first_ts: 0,
            last_ts: 0,
            lost_before: 0,
            recording: 0,
        };
        let large = Header {
            raw_len: u32::MAX,
            ..header
        };
        let many = Header {
            count: MAX_COUNT + 1,
            ..header
        };
        for bad in [large, many] {
            assert!(matches!(
                Header::decode(&bad.encode()),
                Err(NoHeader::Damaged(_))
            ));
        }
        let newer = Header {
            version: 2,
            ..header
        };
        assert_eq!(Header::decode(&newer.encode()), Err(NoHeader::Version(2)));
    }
}
