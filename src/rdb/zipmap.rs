//! Zipmaps, the small hashes of Redis before 2.6: a count, then field and value in turn, each behind its
//! length, with a number of unused bytes behind each value, then an end byte (zipmap.c).

use super::blob::{Steps, Walk};

const END: u8 = 0xff;
/// Says that a length takes the next four bytes, and that the count in the first byte is not known.
const LONG: u8 = 0xfe;

/// The fields and values of a zipmap, with all that a server checks (`zipmapValidateIntegrity`).
pub(super) fn fields(zipmap: &[u8]) -> Walk<Fields<'_>> {
    Walk::new(Fields { zipmap, at: 1, count: 0 })
}

#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    zipmap: &'a [u8],
    at: usize,
    count: usize,
}

impl<'a> Steps for Fields<'a> {
    type Entry = (&'a [u8], &'a [u8]);

    fn step(&mut self) -> Option<Option<Self::Entry>> {
        let rest = self.zipmap.get(self.at..)?;
        if rest.first() == Some(&END) {
            let count = *self.zipmap.first()?;
            let is_count = count == LONG || usize::from(count) == self.count;
            return (rest.len() == 1 && is_count && self.count > 0).then_some(None);
        }
        let (field_bytes, rest) = length(rest)?;
        let (field, rest) = rest.split_at_checked(field_bytes)?;
        let (value_bytes, rest) = length(rest)?;
        let (unused, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked(value_bytes)?;
        let rest = rest.get(usize::from(*unused)..)?;
        self.at = self.zipmap.len() - rest.len();
        self.count += 1;
        Some(Some((field, value)))
    }

    fn at(&self) -> usize {
        self.at
    }
}

fn length(rest: &[u8]) -> Option<(usize, &[u8])> {
    match rest.split_first()? {
        (&LONG, rest) => {
            let (bytes, rest) = rest.split_first_chunk()?;
            Some((u32::from_le_bytes(*bytes) as usize, rest))
        }
        (&END, _) => None,
        (short, rest) => Some((usize::from(*short), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_values() {
        let all: Result<Vec<_>, _> = fields(b"\x02\x01a\x02\x01bc?\x00\xfe\x01\0\0\0\x00d\xff").collect();
        let expected: [(&[u8], &[u8]); 2] = [(b"a", b"bc"), (b"", b"d")];
        assert_eq!(all.as_deref(), Ok(expected.as_slice()));
    }

    #[test]
    fn what_does_not_fit_together_is_damage() {
        for zipmap in [
            b"".as_slice(),
            b"\x00\xff",
            b"\x02\x01a\x01\x00b\xff",
            b"\x01\x01a\x01\x00b",
            b"\x01\x01a\x05\x00b\xff",
            b"\x01\x01a\x01\x05b\xff",
            b"\x01\x01a\x01\x00b\xff\xff",
        ] {
            assert!(matches!(fields(zipmap).last(), Some(Err(_))), "{zipmap:x?}");
        }
    }
}
