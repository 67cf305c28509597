//! Listpacks: a header of total bytes and count, entries that each end in their own length, an end byte
//! (listpack.c).

use super::blob::{DamagedAt, Piece, Steps, Walk, little_endian};

/// Total bytes (u32) and number of entries (u16).
pub(super) const HEADER_BYTES: usize = 6;
/// The byte behind the last entry.
pub(super) const END: u8 = 0xff;
/// Stands for a number of entries that does not fit.
pub(super) const COUNT_UNKNOWN: u16 = u16::MAX;

/// The entries of a listpack, with all that a server can check of them (`lpValidateIntegrity`, deep).
pub(super) fn entries(listpack: &[u8]) -> Walk<Entries<'_>> {
    Walk::new(Entries { listpack, at: HEADER_BYTES, count: 0, is_counted: true })
}

/// The entries as a server goes through them: up to the first end mark, however many there are (`lpNext`).
pub(super) fn entries_uncounted(listpack: &[u8]) -> Walk<Entries<'_>> {
    Walk::new(Entries { listpack, at: HEADER_BYTES, count: 0, is_counted: false })
}

/// How many entries there are by the header; counted where it does not tell (`lpLength`).
pub(super) fn length(listpack: &[u8]) -> Result<usize, DamagedAt> {
    let stored = listpack.get(4..).and_then(<[u8]>::first_chunk).ok_or(DamagedAt(0))?;
    match u16::from_le_bytes(*stored) {
        COUNT_UNKNOWN => entries_uncounted(listpack).try_fold(0, |count, entry| entry.map(|_| count + 1)),
        count => Ok(usize::from(count)),
    }
}

#[derive(Debug, Clone)]
pub(super) struct Entries<'a> {
    listpack: &'a [u8],
    at: usize,
    count: usize,
    /// Whether the end has to be where the header says.
    is_counted: bool,
}

impl<'a> Steps for Entries<'a> {
    type Entry = Piece<'a>;

    fn step(&mut self) -> Option<Option<Piece<'a>>> {
        let rest = self.listpack.get(self.at..)?;
        if rest.first() == Some(&END) {
            return (!self.is_counted || rest.len() == 1 && self.is_count_right()?).then_some(None);
        }
        let (piece, length) = entry(rest)?;
        let (tail, tail_bytes) = back_length(length);
        let end = length.checked_add(tail_bytes)?;
        if rest.get(length..end)? != tail.get(..tail_bytes)? {
            return None;
        }
        self.at += end;
        self.count += 1;
        Some(Some(piece))
    }

    fn at(&self) -> usize {
        self.at
    }
}

impl Entries<'_> {
    fn is_count_right(&self) -> Option<bool> {
        let stored = u16::from_le_bytes(*self.listpack.get(4..)?.first_chunk()?);
        Some(stored == COUNT_UNKNOWN || usize::from(stored) == self.count)
    }
}

/// The entry at the start of `rest` and its length without the length that ends it.
fn entry(rest: &[u8]) -> Option<(Piece<'_>, usize)> {
    let first = *rest.first()?;
    let second = || rest.get(1).map(|byte| usize::from(*byte));
    let text = |start: usize, length: usize| {
        let end = start.checked_add(length)?;
        Some((Piece::Text(rest.get(start..end)?), end))
    };
    match first {
        0x00..=0x7f => Some((Piece::Number(i64::from(first)), 1)),
        0x80..=0xbf => text(1, usize::from(first & 0x3f)),
        0xc0..=0xdf => {
            // 13 bits, sign-extended by moving them to the top and back.
            let bits = (u16::from(first & 0x1f) << 8 | second()? as u16) << 3;
            Some((Piece::Number(i64::from(bits as i16 >> 3)), 2))
        }
        0xe0..=0xef => text(2, usize::from(first & 0x0f) << 8 | second()?),
        0xf0 => text(5, u32::from_le_bytes(*rest.get(1..)?.first_chunk()?) as usize),
        0xf1 => signed(rest, 2),
        0xf2 => signed(rest, 3),
        0xf3 => signed(rest, 4),
        0xf4 => signed(rest, 8),
        _ => None,
    }
}

/// A little-endian signed number of `width` bytes behind the first byte.
fn signed(rest: &[u8], width: usize) -> Option<(Piece<'_>, usize)> {
    let end = width + 1;
    Some((Piece::Number(little_endian(rest.get(1..end)?)), end))
}

/// An entry's length as it stands at the entry's end: seven bits a byte, the low ones last, all but the
/// first byte marked; so it can be read backwards. The limits are the server's, one less than what
/// would fit (`lpEncodeBacklen`).
fn back_length(length: usize) -> ([u8; 5], usize) {
    let count = match length {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    let mut bytes = [0; 5];
    for (place, byte) in bytes.iter_mut().take(count).enumerate() {
        let bits = (length >> (7 * (count - 1 - place)) & 0x7f) as u8;
        *byte = if place == 0 { bits } else { bits | 0x80 };
    }
    (bytes, count)
}

/// Appends an entry that holds a number, in the shortest form (`lpEncodeIntegerGetType`).
pub(super) fn write_number(out: &mut Vec<u8>, number: i64) {
    let start = out.len();
    let bytes = number.to_le_bytes();
    let [low, second, third, fourth, ..] = bytes;
    match number {
        0..=127 => out.push(low),
        -4096..=4095 => out.extend([0xc0 | second & 0x1f, low]),
        -32_768..=32_767 => out.extend([0xf1, low, second]),
        -8_388_608..=8_388_607 => out.extend([0xf2, low, second, third]),
        -2_147_483_648..=2_147_483_647 => out.extend([0xf3, low, second, third, fourth]),
        _ => {
            out.push(0xf4);
            out.extend(bytes);
        }
    }
    let (tail, tail_bytes) = back_length(out.len() - start);
    out.extend(tail.iter().take(tail_bytes));
}

#[cfg(test)]
#[path = "listpack_tests.rs"]
mod tests;
