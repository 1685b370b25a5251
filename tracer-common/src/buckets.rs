//! How long stays were, counted: log-linear buckets, so that counts of many CPUs add up without error.

#![expect(
    clippy::inline_always,
    reason = "the verifier follows inlined code; a call costs it more than it saves"
)]

/// Buckets of dwells: each holds values that differ by less than 1 part in 128, and those below 256 µs
/// to the unit. They are those of the engine's histograms (`hdrhistogram` of two digits), so that one
/// is the other without error.
pub const BUCKETS: usize = 4608;

/// log2 of the buckets for each power of two.
const PRECISION: u32 = 7;

/// The bucket of a dwell. Above 2^42 µs (50 days) all are in the last.
#[expect(
    clippy::cast_possible_truncation,
    reason = "below BUCKETS, as the test holds it to"
)]
#[inline(always)]
pub const fn bucket(us: u64) -> usize {
    let mut us = us;
    if us >= 1 << 42 {
        us = (1 << 42) - 1;
    }
    // Which power of two beyond the first 256: `us >> power` is in 128..256. BPF counts no leading
    // zeros; and no branches, for the verifier follows every way through them.
    let mut power = 0;
    let mut rest = us >> (PRECISION + 1);
    let mut half = 32_u64;
    while half > 0 {
        let is_above = 0_u64.wrapping_sub(rest >> half) >> 63;
        let step = half & 0_u64.wrapping_sub(is_above);
        rest >>= step & 63;
        power += step;
        half /= 2;
    }
    power += 0_u64.wrapping_sub(rest) >> 63;
    let place = (power << PRECISION) + (us >> (power & 63));
    place as usize
}

/// Words of the buckets of one state. Two counts of 32 bits share a word, to be added to at once: the
/// kernel's per-CPU values have 32 KiB at most. The one that overflows carries into the other, and
/// differences ([`since`]) are right all the same, while they are below 2^32 each.
pub const BUCKET_WORDS: usize = BUCKETS / 2;

/// The word of a bucket, and what one dwell adds to it.
#[inline(always)]
pub const fn bucket_word(bucket: usize) -> (usize, u64) {
    if bucket < BUCKET_WORDS {
        (bucket, 1)
    } else {
        (bucket - BUCKET_WORDS, 1 << 32)
    }
}

/// What was counted in the two buckets of a word, the one of the same number and the one
/// [`BUCKET_WORDS`] above, since it was `before`.
pub const fn since(now: u64, before: u64) -> [u64; 2] {
    let both = now.wrapping_sub(before);
    [both & 0xffff_ffff, both >> 32]
}

/// The least dwell in a bucket, µs.
pub const fn least_of(bucket: usize) -> u64 {
    let half = 1 << PRECISION;
    if bucket < 2 * half {
        return bucket as u64;
    }
    let power = bucket / half - 1;
    ((half + bucket % half) as u64) << power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_less_than_a_percent_wide() {
        let mut values: [u64; 4 * 42] = [0; 4 * 42];
        for (i, value) in values.iter_mut().enumerate() {
            let power = 1_u64 << (i / 4);
            *value = match i % 4 {
                0 => power - 1,
                1 => power,
                2 => power + power / 3,
                _ => power + power / 2,
            };
        }
        for us in values {
            let at = bucket(us);
            let (least, next) = (least_of(at), least_of(at + 1));
            assert!(
                least <= us && us < next,
                "{us}: {at} from {least} to {next}"
            );
            assert!(us < 256 || (next - least) * 128 <= least, "{us}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket((1 << 42) - 1), BUCKETS - 1);
        for at in 0..BUCKETS {
            assert_eq!(bucket(least_of(at)), at);
        }
    }

    #[test]
    fn two_counts_share_a_word() {
        let before = 0xffff_ffff_ffff_fffe_u64;
        let mut word = before;
        for _ in 0..5 {
            word = word.wrapping_add(bucket_word(6).1);
        }
        for _ in 0..3 {
            word = word.wrapping_add(bucket_word(6 + BUCKET_WORDS).1);
        }
        assert_eq!(since(word, before), [5, 3]);
        for bucket in [0, 6, BUCKET_WORDS - 1] {
            assert_eq!(bucket_word(bucket).0, bucket);
            assert_eq!(bucket_word(bucket + BUCKET_WORDS).0, bucket);
        }
    }
}
