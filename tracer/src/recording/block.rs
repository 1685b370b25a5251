//! A block as it lies in the file: header and packed payload, written and read in one piece.

use zstd::bulk::{Compressor, Decompressor};

use super::{
    bytes::Corrupt,
    header::{BlockType, Codec, HEADER, Header, MAX_PAYLOAD, VERSION},
};

/// Packs payloads.
pub struct Packer {
    zstd: Compressor<'static>,
    packed: Vec<u8>,
}

/// What a header says beside lengths and checksums.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// What it holds.
    pub kind: BlockType,
    /// Blocks before it.
    pub seq: u64,
    /// Events in it.
    pub count: u32,
    /// Earliest and latest time.
    pub span: (u64, u64),
    /// Events dropped right before it.
    pub lost_before: u64,
    /// The recording that it belongs to.
    pub recording: u32,
}

impl Packer {
    /// With this zstd level.
    pub fn new(level: i32) -> std::io::Result<Self> {
        Ok(Self {
            zstd: Compressor::new(level)?,
            packed: Vec::new(),
        })
    }

    /// Appends the whole block to `out`.
    pub fn pack(
        &mut self,
        label: &Label,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let length = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len())
                .ok()
                .filter(|n| *n <= MAX_PAYLOAD);
            length.ok_or_else(|| std::io::Error::other("a block is larger than the format allows"))
        };
        self.packed.clear();
        self.packed
            .reserve(zstd::zstd_safe::compress_bound(payload.len()));
        self.zstd.compress_to_buffer(payload, &mut self.packed)?;
        let (codec, bytes) = if self.packed.len() < payload.len() {
            (Codec::Zstd, self.packed.as_slice())
        } else {
            (Codec::Raw, payload)
        };
        let header = Header {
            version: VERSION,
            codec: Some(codec),
            kind: label.kind,
            flags: 0,
            seq: label.seq,
            count: label.count,
            raw_len: length(payload)?,
            comp_len: length(bytes)?,
            payload_crc: crc32c::crc32c(bytes),
            first_ts: label.span.0,
            last_ts: label.span.1,
            lost_before: label.lost_before,
            recording: label.recording,
        };
        out.reserve(HEADER + bytes.len());
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(bytes);
        Ok(())
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

/// Unpacks payloads.
pub struct Unpacker {
    zstd: Decompressor<'static>,
}

impl Unpacker {
    /// Ready.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            zstd: Decompressor::new()?,
        })
    }

    /// Checks a payload against its header, and puts what it holds into `out`, which it replaces.
    pub fn unpack(
        &mut self,
        header: &Header,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Corrupt> {
        let wrong_length = Corrupt("its payload has not the length it says");
        let raw_len = header.raw_len as usize;
        if payload.len() != header.comp_len as usize {
            return Err(wrong_length);
        }
        if crc32c::crc32c(payload) != header.payload_crc {
            return Err(Corrupt("its payload's checksum is wrong"));
        }
        out.clear();
        match header.codec {
            Some(Codec::Raw) => out.extend_from_slice(payload),
            // The header's length was held against the cap before: no more than that is reserved.
            Some(Codec::Zstd) => {
                out.reserve(raw_len);
                let unpacked = self.zstd.decompress_to_buffer(payload, out);
                unpacked.map_err(|_| Corrupt("its payload can't be unpacked"))?;
            }
            None => return Err(Corrupt("it is packed in an unknown way")),
        }
        if out.len() == raw_len {
            Ok(())
        } else {
            Err(wrong_length)
        }
    }
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}
