//! Reading integers out of bytes that may be too short or hostile: total, never a transmute.

/// Reads the fields of a record one after the other, in the order of the `repr(C)` struct.
///
/// Past the end it yields zeros; the caller checks the length once, before.
#[derive(Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Starts at the first byte of `bytes`.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `N` bytes.
    #[inline]
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                *head
            }
            None => [0; N],
        }
    }

    /// The next byte.
    #[inline]
    pub fn u8(&mut self) -> u8 {
        u8::from_ne_bytes(self.bytes())
    }

    /// The next two bytes, host order.
    #[inline]
    pub fn u16(&mut self) -> u16 {
        u16::from_ne_bytes(self.bytes())
    }

    /// The next four bytes, host order.
    #[inline]
    pub fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.bytes())
    }

    /// The next four bytes, signed, host order.
    #[inline]
    pub fn i32(&mut self) -> i32 {
        i32::from_ne_bytes(self.bytes())
    }

    /// The next eight bytes, host order.
    #[inline]
    pub fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.bytes())
    }
}
