//! Ziplists: a header of total bytes, offset of the last entry and count, entries that each begin with
//! the length of the one before, an end byte (ziplist.c).

use super::blob::{Piece, Steps, Walk, little_endian};

/// Total bytes (u32), offset of the last entry (u32), number of entries (u16).
const HEADER_BYTES: usize = 10;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;
/// Says that the length of the entry before takes the next four bytes.
const PREVIOUS_LONG: u8 = 0xfe;

/// The entries of a ziplist, with all that a server checks when it loads one (`ziplistValidateIntegrity`,
/// deep).
pub(super) fn entries(ziplist: &[u8]) -> Walk<Entries<'_>> {
    Walk::new(Entries { ziplist, at: HEADER_BYTES, previous: 0, count: 0 })
}

#[derive(Debug, Clone)]
pub(super) struct Entries<'a> {
    ziplist: &'a [u8],
    at: usize,
    /// Length of the entry before.
    previous: usize,
    count: usize,
}

impl<'a> Steps for Entries<'a> {
    type Entry = Piece<'a>;

    fn step(&mut self) -> Option<Option<Piece<'a>>> {
        let rest = self.ziplist.get(self.at..)?;
        if rest.first() == Some(&END) {
            return (rest.len() == 1 && self.is_header_right()?).then_some(None);
        }
        let (previous, start) = match *rest.first()? {
            PREVIOUS_LONG => (u32::from_le_bytes(*rest.get(1..)?.first_chunk()?) as usize, 5),
            short => (usize::from(short), 1),
        };
        if previous != self.previous {
            return None;
        }
        let (piece, length) = entry(rest.get(start..)?)?;
        self.previous = start.checked_add(length)?;
        self.at = self.at.checked_add(self.previous)?;
        self.count += 1;
        Some(Some(piece))
    }

    fn at(&self) -> usize {
        self.at
    }
}

impl Entries<'_> {
    fn is_header_right(&self) -> Option<bool> {
        let last = u32::from_le_bytes(*self.ziplist.get(4..)?.first_chunk()?) as usize;
        let count = u16::from_le_bytes(*self.ziplist.get(8..)?.first_chunk()?);
        let is_count = count == COUNT_UNKNOWN || usize::from(count) == self.count;
        Some(is_count && (self.count == 0 || Some(last) == self.at.checked_sub(self.previous)))
    }
}

/// The entry at the start of `rest`, behind the length of the one before, and its length.
fn entry(rest: &[u8]) -> Option<(Piece<'_>, usize)> {
    let first = *rest.first()?;
    let text = |start: usize, length: usize| {
        let end = start.checked_add(length)?;
        Some((Piece::Text(rest.get(start..end)?), end))
    };
    let number = |width: usize| {
        let end = width + 1;
        Some((Piece::Number(little_endian(rest.get(1..end)?)), end))
    };
    match first {
        0x00..=0x3f => text(1, usize::from(first)),
        0x40..=0x7f => text(2, usize::from(first & 0x3f) << 8 | usize::from(*rest.get(1)?)),
        0x80..=0xbf => text(5, u32::from_be_bytes(*rest.get(1..)?.first_chunk()?) as usize),
        0xc0 => number(2),
        0xd0 => number(4),
        0xe0 => number(8),
        0xf0 => number(3),
        0xfe => number(1),
        0xf1..=0xfd => Some((Piece::Number(i64::from(first & 0x0f) - 1), 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::blob::DamagedAt;
    use super::*;

    fn ziplist(last: u32, count: u16, entries: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend((HEADER_BYTES as u32 + entries.len() as u32 + 1).to_le_bytes());
        out.extend(last.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(entries);
        out.push(END);
        out
    }

    #[test]
    fn every_form_of_entry() {
        let bytes = b"\x00\x02ab\x04\xfe\xfb\x03\xf1\x02\xfd\x02\xc0\xff\x7f\x04\xd0\x00\x00\x00\x80\
            \x06\xf0\x00\x00\x80\x05\xe0\xff\xff\xff\xff\xff\xff\xff\x7f\x0a\x40\x01z";
        let ziplist = ziplist(10 + 36, 9, bytes);
        let all: Result<Vec<_>, _> = entries(&ziplist).collect();
        let number = Piece::Number;
        let expected = [
            Piece::Text(b"ab"),
            number(-5),
            number(0),
            number(12),
            number(32767),
            number(-2147483648),
            number(-8388608),
            number(i64::MAX),
            Piece::Text(b"z"),
        ];
        assert_eq!(all.as_deref(), Ok(expected.as_slice()));
    }

    #[test]
    fn what_does_not_fit_together_is_damage() {
        for (last, count, bytes, at) in [
            // Another count; another last entry; another length before; an entry past the end.
            (10, 2, b"\x00\xf1".as_slice(), 12),
            (11, 1, b"\x00\xf1", 12),
            (10, 1, b"\x01\xf1", 10),
            (10, 1, b"\x00\x05abc", 10),
            (10, 1, b"\x00\xff", 10),
            (10, 1, b"\xfe\x00", 10),
        ] {
            let ziplist = ziplist(last, count, bytes);
            let last = entries(&ziplist).last();
            assert_eq!(last, Some(Err(DamagedAt(at))), "{bytes:x?}");
        }
        assert_eq!(entries(b"").next(), Some(Err(DamagedAt(10))));
    }
}
