//! Undoes LZF compression (`lzf_decompress`, lzf_d.c).
//!
//! The compressed bytes are a run of instructions. A control byte below 32 is followed by one more
//! literal byte than it says. Any other names a stretch of the output to repeat: its upper three bits
//! are the length less two (seven: one more byte of length follows), its lower five and the next byte
//! the distance back less one.

const LITERAL_MAX: u8 = 31;
const LENGTH_MORE: u8 = 7;

/// The `length` bytes that `packed` stands for; `None` if it stands for something else.
pub(super) fn decode(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(length.min(packed.len().saturating_mul(4)));
    append(&mut out, packed, length).map(|()| out)
}

/// The same, behind what is in `out`.
pub(super) fn append(out: &mut Vec<u8>, packed: &[u8], length: usize) -> Option<()> {
    let start = out.len();
    expand(&mut Behind { out, start }, packed, length, usize::MAX)?;
    (out.len() - start == length).then_some(())
}

/// At least the first `wanted` of the `length` bytes that `packed` stands for, if it has so many.
///
/// A declared length is not reserved: memory is only taken in proportion to bytes that are there.
pub(super) fn start(packed: &[u8], length: usize, wanted: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(length.min(wanted).min(packed.len().saturating_mul(4)));
    expand(&mut Behind { out: &mut out, start: 0 }, packed, length, wanted).map(|()| out)
}

/// Whether `packed` stands for `length` bytes, without decoding them.
pub(super) fn is_sound(packed: &[u8], length: usize) -> bool {
    let mut count = Count(0);
    expand(&mut count, packed, length, usize::MAX).is_some() && count.0 == length
}

/// What instructions are followed for.
trait Output {
    fn len(&self) -> usize;
    fn literal(&mut self, bytes: &[u8]);
    /// Appends the `count` bytes that begin `distance` before the end, among them those just appended.
    fn repeat(&mut self, distance: usize, count: usize) -> Option<()>;
}

/// The bytes behind `start`.
struct Behind<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
}

impl Output for Behind<'_> {
    fn len(&self) -> usize {
        self.out.len() - self.start
    }

    fn literal(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn repeat(&mut self, distance: usize, count: usize) -> Option<()> {
        let from = self.start + self.len().checked_sub(distance)?;
        if distance == 1 {
            // A run of one byte, as in padding.
            self.out.resize(self.out.len() + count, *self.out.last()?);
            return Some(());
        }
        let mut left = count;
        while left > 0 {
            let step = left.min(self.out.len() - from);
            self.out.extend_from_within(from..from + step);
            left -= step;
        }
        Some(())
    }
}

/// How many bytes there would be.
struct Count(usize);

impl Output for Count {
    fn len(&self) -> usize {
        self.0
    }

    fn literal(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn repeat(&mut self, distance: usize, count: usize) -> Option<()> {
        self.0.checked_sub(distance)?;
        self.0 += count;
        Some(())
    }
}

/// Follows the instructions until there are `enough` bytes; more than `length` are damage.
fn expand(out: &mut impl Output, packed: &[u8], length: usize, enough: usize) -> Option<()> {
    // A server's function gives 0 for damage, which it takes for the length of an empty string.
    let mut rest = if length == 0 { &[] } else { packed };
    while out.len() < enough {
        let Some((&control, after)) = rest.split_first() else { break };
        if control <= LITERAL_MAX {
            let (literal, after) = after.split_at_checked(usize::from(control) + 1)?;
            out.literal(literal);
            rest = after;
        } else {
            let (more, after) = match control >> 5 {
                LENGTH_MORE => after.split_first()?,
                _ => (&0, after),
            };
            let (low, after) = after.split_first()?;
            let distance = (usize::from(control & 0x1f) << 8 | usize::from(*low)) + 1;
            out.repeat(distance, usize::from(control >> 5) + usize::from(*more) + 2)?;
            rest = after;
        }
        if out.len() > length {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literals_and_repeats() {
        assert_eq!(decode(b"\x02abc", 3), Some(b"abc".to_vec()));
        // Three bytes, then seven from three back: the repeat feeds on itself.
        assert_eq!(decode(b"\x02abc\xa0\x02", 10), Some(b"abcabcabca".to_vec()));
        // A length in two bytes: 7 + 1 + 2.
        assert_eq!(decode(b"\x00x\xe0\x01\x00", 11), Some(vec![b'x'; 11]));
        assert_eq!(decode(b"", 0), Some(vec![]));
        // Whatever stands there; a server says so.
        assert_eq!(decode(b"\x00x", 0), Some(vec![]));
        assert_eq!(start(b"\x02abc\xa0\x02", 10, 2), Some(b"abc".to_vec()));
    }

    #[test]
    fn damage_is_seen() {
        for (packed, length) in [
            (b"\x02abc".as_slice(), 2),
            (b"\x02abc", 4),
            (b"\x02ab", 3),
            (b"\x00x\x20\x01", 4),
            (b"\x00x\x20", 4),
            (b"\x00x\xe0", 4),
            (b"\x00x\xe0\xff\x00", 4),
        ] {
            assert_eq!(decode(packed, length), None, "{packed:x?}");
        }
    }

    proptest! {
        #[test]
        fn never_more_than_declared(packed in prop::collection::vec(any::<u8>(), 0..200), length in 0usize..2000) {
            if let Some(out) = decode(&packed, length) {
                prop_assert_eq!(out.len(), length);
            }
            if let Some(out) = start(&packed, length, 10) {
                prop_assert!(out.len() <= length);
            }
        }
    }
}
