//! A file of blocks, block by block. What is no intact block is told as damage, with its place and its
//! size, and what comes after it is found again by the next intact header.

use std::io::{self, Read, Seek, SeekFrom};

use super::{
    block::Unpacker,
    bytes::Corrupt,
    header::{BlockType, HEADER, Header, MAGIC, NoHeader},
};

/// Bytes asked for at once.
const CHUNK: usize = 256 * 1024;

/// What comes next in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// An intact block; [`BlockReader::payload`] is what it holds.
    Block {
        /// Where it begins.
        offset: u64,
        /// Its header.
        header: Header,
    },
    /// Bytes that are no intact block.
    Damage {
        /// Where they begin.
        offset: u64,
        /// How many.
        bytes: u64,
        /// What is wrong with the first.
        why: Corrupt,
    },
    /// Nothing.
    End,
}

/// Why a file can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not for this tool.
    #[error(
        "it is of format version {0}, and this tool reads version 1: a newer tcpdwell is needed"
    )]
    Version(u8),
}

/// See the module. Needs no more memory than the largest block.
#[derive(Debug)]
pub struct BlockReader<R> {
    from: R,
    unpacker: Unpacker,
    /// What was read and not yet used begins at `start`.
    buffer: Vec<u8>,
    start: usize,
    /// Where `start` is in the file.
    offset: u64,
    at_end: bool,
    damage: Option<(u64, Corrupt)>,
    payload: Vec<u8>,
    /// Bytes of the latest block, right before `start`.
    whole: usize,
}

impl<R: Read> BlockReader<R> {
    /// Reads from the beginning, which is at `offset` of the file.
    pub fn new(from: R, offset: u64) -> io::Result<Self> {
        Ok(Self {
            from,
            unpacker: Unpacker::new()?,
            buffer: Vec::new(),
            start: 0,
            offset,
            at_end: false,
            damage: None,
            payload: Vec::new(),
            whole: 0,
        })
    }

    /// What the latest block holds, unpacked.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The latest block as it lies in the file.
    pub fn block(&self) -> &[u8] {
        &self.buffer[self.start - self.whole..self.start]
    }

    /// The next block, or what there is in its place.
    pub fn read(&mut self) -> Result<Next, ReadError> {
        loop {
            let why = match self.header()? {
                Some(Ok(header)) => {
                    let whole = HEADER + header.comp_len as usize;
                    self.fill(whole)?;
                    match self.open(&header) {
                        Ok(()) => {
                            if let Some(damage) = self.damage() {
                                return Ok(damage);
                            }
                            let offset = self.offset;
                            self.consume(whole);
                            self.whole = whole;
                            return Ok(Next::Block { offset, header });
                        }
                        Err(why) => why,
                    }
                }
                Some(Err(why)) => why,
                None => return Ok(self.damage().unwrap_or(Next::End)),
            };
            self.skip(why);
        }
    }

    /// What stands here: `None` at the end.
    fn header(&mut self) -> Result<Option<Result<Header, Corrupt>>, ReadError> {
        self.fill(HEADER)?;
        let rest = &self.buffer[self.start..];
        if rest.is_empty() {
            return Ok(None);
        }
        let Some(bytes) = rest.first_chunk() else {
            return Ok(Some(Err(Corrupt("the last block is cut off"))));
        };
        match Header::decode(bytes) {
            Ok(header) => Ok(Some(Ok(header))),
            Err(NoHeader::Damaged(why)) => Ok(Some(Err(why))),
            Err(NoHeader::Version(version)) => Err(ReadError::Version(version)),
        }
    }

    fn open(&mut self, header: &Header) -> Result<(), Corrupt> {
        let from = self.start + HEADER;
        let packed = self.buffer.get(from..from + header.comp_len as usize);
        let packed = packed.ok_or(Corrupt("the block is cut off"))?;
        if header.flags != 0 || matches!(header.kind, BlockType::Other(_)) || header.codec.is_none()
        {
            // Intact, and not for us: whoever knows its type reads it.
            self.payload.clear();
            return if crc32c::crc32c(packed) == header.payload_crc {
                Ok(())
            } else {
                Err(Corrupt("its payload's checksum is wrong"))
            };
        }
        self.unpacker.unpack(header, packed, &mut self.payload)
    }

    /// On to where the next block may begin.
    fn skip(&mut self, why: Corrupt) {
        self.damage.get_or_insert((self.offset, why));
        let rest = &self.buffer[self.start..];
        let next = rest.iter().skip(1).position(|byte| *byte == MAGIC[0]);
        self.consume(next.map_or(rest.len(), |next| next + 1));
    }

    /// What was skipped until here.
    fn damage(&mut self) -> Option<Next> {
        let (offset, why) = self.damage.take()?;
        Some(Next::Damage {
            offset,
            bytes: self.offset - offset,
            why,
        })
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Reads until so many bytes are there, or there are no more.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if self.buffer.len() - self.start >= wanted || self.at_end {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        (self.start, self.whole) = (0, 0);
        while self.buffer.len() < wanted && !self.at_end {
            let missing = (wanted - self.buffer.len()).max(CHUNK) as u64;
            let read = (&mut self.from)
                .take(missing)
                .read_to_end(&mut self.buffer)?;
            self.at_end = read == 0;
        }
        Ok(())
    }
}

impl<R: Read + Seek> BlockReader<R> {
    /// As [`Self::read`], but looks at headers only: a payload is read and checked for META alone.
    pub fn skim(&mut self) -> Result<Next, ReadError> {
        if let Some(Ok(header)) = self.header()?
            && header.kind != BlockType::Meta
            && self.damage.is_none()
        {
            let whole = HEADER as u64 + u64::from(header.comp_len);
            let there = (self.buffer.len() - self.start) as u64;
            let offset = self.offset;
            if whole > there {
                self.buffer.clear();
                (self.start, self.whole) = (0, 0);
                self.offset = offset + whole;
                self.from.seek(SeekFrom::Start(self.offset))?;
                self.at_end = false;
            } else {
                self.consume(usize::try_from(whole).unwrap_or(usize::MAX));
            }
            return Ok(Next::Block { offset, header });
        }
        self.read()
    }
}
