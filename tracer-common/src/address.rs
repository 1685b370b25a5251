//! Addresses on the wire: always 16 bytes, IPv4 as v4-mapped (`::ffff:a.b.c.d`, RFC 4291 2.5.5.2),
//! so that one comparison serves both and a dual-stack server's IPv4 clients count as IPv4.

/// `AF_INET`.
pub const AF_INET: u16 = 2;
/// `AF_INET6`.
pub const AF_INET6: u16 = 10;

/// An address as 16 bytes in network order.
pub type Address = [u8; 16];

/// No address: `::`, also what an unset IPv6 address is.
pub const UNSPECIFIED: Address = [0; 16];

/// An IPv4 address in its v4-mapped form.
#[inline]
pub const fn mapped(v4: [u8; 4]) -> Address {
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3],
    ]
}

/// An address as two numbers, the first bytes in the first: what the filter compares. Bytes one by
/// one would cost the kernel programs a hundred instructions for each comparison.
pub type Words = [u64; 2];

/// The address as two numbers.
#[inline]
pub const fn words(address: &Address) -> Words {
    let a = address;
    [
        u64::from_be_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]),
        u64::from_be_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]),
    ]
}

/// The upper 96 bits of every v4-mapped address.
const MAPPED_LOW: u64 = 0x0000_ffff_0000_0000;

/// Whether the address is v4-mapped.
#[inline]
pub const fn is_mapped(address: &Address) -> bool {
    are_mapped(words(address))
}

/// The same of an address as words.
#[inline]
pub const fn are_mapped([high, low]: Words) -> bool {
    high == 0 && low & 0xffff_ffff_0000_0000 == MAPPED_LOW
}

/// Whether the address is `::` or `0.0.0.0` (in its mapped form): not known yet, or a listener on
/// every address.
#[inline]
pub const fn is_unspecified(address: &Address) -> bool {
    are_unspecified(words(address))
}

/// The same of an address as words.
#[inline]
pub const fn are_unspecified([high, low]: Words) -> bool {
    high == 0 && (low == 0 || low == MAPPED_LOW)
}
