//! Numbers as bytes: varints (LEB128), zigzag, and a cursor that never reads beyond its slice.

/// Bytes that can't be what they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Corrupt(pub &'static str);

/// Appends a number in 7-bit groups, the lowest first.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends the difference to the number before (modulo 2^64), small either way.
#[inline]
pub(super) fn put_delta(out: &mut Vec<u8>, previous: &mut u64, value: u64) {
    put_varint(out, zigzag(value.wrapping_sub(*previous).cast_signed()));
    *previous = value;
}

/// Appends bytes with their length before them.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[inline]
const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[inline]
const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Reads from a slice, never beyond it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self.rest.split_first().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Corrupt> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Corrupt("a number is too large"))
    }

    /// A number that fits into `T`.
    #[inline]
    pub(super) fn number<T: TryFrom<u64>>(&mut self) -> Result<T, Corrupt> {
        T::try_from(self.varint()?).map_err(|_| Corrupt("a number is too large"))
    }

    /// A number, or the default where the writer knew of no such field.
    pub(super) fn number_or_default<T: TryFrom<u64> + Default>(&mut self) -> Result<T, Corrupt> {
        if self.is_empty() {
            Ok(T::default())
        } else {
            self.number()
        }
    }

    /// What [`put_delta`] wrote.
    #[inline]
    pub(super) fn delta(&mut self, previous: &mut u64) -> Result<u64, Corrupt> {
        let step = unzigzag(self.varint()?).cast_unsigned();
        *previous = previous.wrapping_add(step);
        Ok(*previous)
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// What [`put_bytes`] wrote.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let length = self.number()?;
        self.take(length)
    }
}

const SHORT: Corrupt = Corrupt("it ends too early");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(Cursor::new(&out).varint(), Ok(value));
            assert_eq!(unzigzag(zigzag(value.cast_signed())), value.cast_signed());
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert!(Cursor::new(&[0xff; 9]).varint().is_err());
        assert!(Cursor::new(&[0xff; 10]).varint().is_err());
        let beyond = [[0xff; 9].as_slice(), &[2]].concat();
        assert!(Cursor::new(&beyond).varint().is_err());
        assert!(Cursor::new(&[200, 200, 4]).number::<u8>().is_err());
        assert!(Cursor::new(&[3, 1, 2]).bytes().is_err());
    }
}
