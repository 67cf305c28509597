//! The compact encodings that hold a whole value in one string: what their entries are, what a server
//! checks of them when it loads, and whether there is anything in them.

use std::borrow::Cow;

use super::fault::{Bad, Why};
use super::scan::Text;
use super::{listpack, lzf};

/// One entry of a ziplist, a listpack or an intset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a [u8]),
    /// Stands for its decimal digits.
    Number(i64),
}

/// Offset of an entry that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DamagedAt(pub(super) usize);

/// How to get from one entry of a compact encoding to the next.
pub(super) trait Steps {
    /// What an entry is.
    type Entry;

    /// The next entry; `Some(None)` at a proper end, `None` if what stands there is damaged.
    fn step(&mut self) -> Option<Option<Self::Entry>>;

    /// Offset of the next entry.
    fn at(&self) -> usize;
}

/// Goes through the entries; damage gives one `Err`, and the end.
#[derive(Debug, Clone)]
pub(super) struct Walk<S> {
    steps: S,
    done: bool,
}

impl<S: Steps> Walk<S> {
    pub(super) fn new(steps: S) -> Self {
        Walk { steps, done: false }
    }

    /// Offset of the next entry.
    pub(super) fn at(&self) -> usize {
        self.steps.at()
    }
}

impl<S: Steps> Iterator for Walk<S> {
    type Item = Result<S::Entry, DamagedAt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let entry = self.steps.step().ok_or(DamagedAt(self.steps.at())).transpose();
        self.done = !matches!(entry, Some(Ok(_)));
        entry
    }
}

/// A little-endian signed number of at most eight bytes.
pub(super) fn little_endian(bytes: &[u8]) -> i64 {
    let unsigned = bytes.iter().rev().fold(0i64, |value, byte| value << 8 | i64::from(*byte));
    let unused = 64usize.saturating_sub(8 * bytes.len()).min(63);
    unsigned << unused >> unused
}

/// The digits of a number, without an allocation.
#[derive(Debug, Default)]
pub(super) struct Digits {
    bytes: [u8; 20],
}

impl Digits {
    pub(super) fn of(&mut self, number: i64) -> &[u8] {
        let mut left = number.unsigned_abs();
        let mut start = self.bytes.len();
        // Twenty places hold the nineteen digits of any i64 and its sign.
        for (place, slot) in self.bytes.iter_mut().enumerate().rev() {
            start = place;
            *slot = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        if number < 0 {
            start = start.saturating_sub(1);
            if let Some(slot) = self.bytes.get_mut(start) {
                *slot = b'-';
            }
        }
        self.bytes.get(start..).unwrap_or_default()
    }
}

impl<'a> Piece<'a> {
    /// The entry as the string that a client sees.
    pub(super) fn bytes<'b>(self, digits: &'b mut Digits) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Piece::Text(text) => text,
            Piece::Number(number) => digits.of(number),
        }
    }
}

/// The first bytes of a string that holds a compact encoding.
struct Start<'a> {
    /// At least the bytes asked for; all of them if the string is not compressed.
    bytes: Cow<'a, [u8]>,
    /// Length of the whole string.
    length: u64,
    /// The last byte, if that can be seen without undoing a compression.
    last: Option<u8>,
}

impl Start<'_> {
    fn of(text: Text<'_>, wanted: usize) -> Option<Start<'_>> {
        let start = match text {
            Text::Plain(plain) => {
                Start { bytes: Cow::Borrowed(plain), length: plain.len() as u64, last: plain.last().copied() }
            }
            Text::Integer(_) => return None,
            Text::Packed { packed, length, .. } => {
                let bytes = lzf::start(packed, usize::try_from(length).ok()?, wanted)?;
                Start { bytes: Cow::Owned(bytes), length, last: None }
            }
        };
        (start.bytes.len() >= wanted).then_some(start)
    }

    fn u16_at(&self, at: usize) -> u16 {
        self.bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_le_bytes(*bytes))
    }

    fn u32_at(&self, at: usize) -> u32 {
        self.bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn ends_with(&self, end: u8) -> bool {
        self.last.is_none_or(|last| last == end)
    }
}

fn bad(left: usize, expected: &'static str) -> nom::Err<Bad> {
    nom::Err::Error(Bad { left, why: Why::Damage(expected) })
}

/// Checks the frame of a listpack (`lpValidateIntegrity`, not deep) and tells whether it holds less than
/// one tuple of `tuple` entries; `left` is where it begins, for faults.
pub(super) fn listpack_is_empty(text: Text<'_>, tuple: usize, left: usize) -> Result<bool, nom::Err<Bad>> {
    const EXPECTED: &str = "a listpack";
    let start = Start::of(text, listpack::HEADER_BYTES + 1).ok_or(bad(left, EXPECTED))?;
    if u64::from(start.u32_at(0)) != start.length || !start.ends_with(listpack::END) {
        return Err(bad(left, EXPECTED));
    }
    match start.u16_at(4) {
        listpack::COUNT_UNKNOWN => {
            let whole = text.bytes()?;
            Ok(listpack::entries(&whole).take(tuple).filter(Result::is_ok).count() < tuple)
        }
        count => Ok(usize::from(count) < tuple),
    }
}

/// Checks the frame of a ziplist (`ziplistValidateIntegrity`, not deep) and tells whether it is empty.
pub(super) fn ziplist_is_empty(text: Text<'_>, left: usize) -> Result<bool, nom::Err<Bad>> {
    const EXPECTED: &str = "a ziplist";
    const HEADER_BYTES: usize = 10;
    const END: u8 = 0xff;
    let start = Start::of(text, HEADER_BYTES + 1).ok_or(bad(left, EXPECTED))?;
    let length = u64::from(start.u32_at(0));
    if length != start.length || u64::from(start.u32_at(4)) > length - 1 || !start.ends_with(END) {
        return Err(bad(left, EXPECTED));
    }
    Ok(start.bytes.get(HEADER_BYTES) == Some(&END))
}

/// Checks the frame of an intset, which a server never takes empty (`intsetValidateIntegrity`).
pub(super) fn check_intset(text: Text<'_>, left: usize) -> Result<(), nom::Err<Bad>> {
    const EXPECTED: &str = "an intset with members";
    const HEADER_BYTES: u64 = 8;
    let start = Start::of(text, HEADER_BYTES as usize).ok_or(bad(left, EXPECTED))?;
    let (width, count) = (u64::from(start.u32_at(0)), u64::from(start.u32_at(4)));
    if !matches!(width, 2 | 4 | 8) || count == 0 || HEADER_BYTES + width * count != start.length {
        return Err(bad(left, EXPECTED));
    }
    Ok(())
}

/// Checks the frame of a zipmap, which a server never takes empty (`zipmapValidateIntegrity`).
pub(super) fn check_zipmap(text: Text<'_>, left: usize) -> Result<(), nom::Err<Bad>> {
    const EXPECTED: &str = "a zipmap with fields";
    const END: u8 = 0xff;
    let start = Start::of(text, 2).ok_or(bad(left, EXPECTED))?;
    if start.bytes.get(1) == Some(&END) || !start.ends_with(END) {
        return Err(bad(left, EXPECTED));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_every_length() {
        for number in [0, 7, -7, 10, -4096, i64::MAX, i64::MIN] {
            assert_eq!(Digits::default().of(number), number.to_string().as_bytes());
        }
    }
}
