//! Lengths and strings, which everything else in an RDB file is made of (`rdbLoadLenByRef` and
//! `rdbGenericLoadStringObject`, rdb.c).

use std::borrow::Cow;

use nom::bytes::complete::take;
use nom::number::complete::{be_u32, be_u64, le_i16, le_i32};
use nom::{IResult, Parser};

use super::fault::{Bad, Why, damage};
use super::lzf;

/// What the parsers of this module give: the rest of the input and a value, or a fault.
pub(super) type Parsed<'a, T> = IResult<&'a [u8], T, Bad>;

/// One byte.
#[inline]
pub(super) fn byte(input: &[u8]) -> Parsed<'_, u8> {
    nom::number::complete::u8(input)
}

/// A length or any other unsigned number, in 1, 2, 5 or 9 bytes. Where no string can stand, servers take the marks of
/// special strings for numbers below 64.
#[inline]
pub(super) fn length(input: &[u8]) -> Parsed<'_, u64> {
    match input {
        [first @ 0..=0x3f, rest @ ..] => Ok((rest, u64::from(*first))),
        [first @ 0x40..=0x7f, low, rest @ ..] => Ok((rest, u64::from(first & 0x3f) << 8 | u64::from(*low))),
        _ => any_length(input),
    }
}

/// The same for those that are seldom, too.
#[inline(never)]
fn any_length(input: &[u8]) -> Parsed<'_, u64> {
    let (rest, first) = byte(input)?;
    match first {
        0..=0x3f | 0xc0..=0xff => Ok((rest, u64::from(first & 0x3f))),
        0x40..=0x7f => {
            let (rest, low) = byte(rest)?;
            Ok((rest, u64::from(first & 0x3f) << 8 | u64::from(low)))
        }
        0x80 => be_u32.map(u64::from).parse(rest),
        0x81 => be_u64(rest),
        _ => Err(damage(input, "a length")),
    }
}

/// A number of which servers take the highest for the sign of an error (`RDB_LENERR`, rdb.h).
#[inline]
pub(super) fn number(input: &[u8]) -> Parsed<'_, u64> {
    match length(input)? {
        (_, u64::MAX) => Err(damage(input, "a number below 2^64 - 1")),
        sound => Ok(sound),
    }
}

/// As many bytes as a length says.
#[inline]
pub(super) fn bytes(input: &[u8], length: u64) -> Parsed<'_, &[u8]> {
    // What does not fit into memory does not fit into the input either.
    take(usize::try_from(length).unwrap_or(usize::MAX)).parse_complete(input)
}

/// A string as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text<'a> {
    /// Its bytes.
    Plain(&'a [u8]),
    /// A number, which stands for its decimal digits.
    Integer(i64),
    /// Compressed with LZF.
    Packed {
        /// The compressed bytes.
        packed: &'a [u8],
        /// How many bytes they stand for.
        length: u64,
        /// Bytes between the string's first byte and the end of the input, for faults.
        left: usize,
    },
}

/// A string.
#[inline]
pub(super) fn text(input: &[u8]) -> Parsed<'_, Text<'_>> {
    match input.split_first() {
        Some((0xc0, rest)) => byte.map(|value| Text::Integer(i64::from(value as i8))).parse(rest),
        Some((0xc1, rest)) => le_i16.map(|value| Text::Integer(i64::from(value))).parse(rest),
        Some((0xc2, rest)) => le_i32.map(|value| Text::Integer(i64::from(value))).parse(rest),
        Some((0xc3, rest)) => {
            let (rest, packed_bytes) = length(rest)?;
            let (rest, length) = length(rest)?;
            let (rest, packed) = bytes(rest, packed_bytes)?;
            Ok((rest, Text::Packed { packed, length, left: input.len() }))
        }
        Some((0x82..=0xff, _)) => Err(damage(input, "a string")),
        _ => {
            let (rest, length) = length(input)?;
            let (rest, plain) = bytes(rest, length)?;
            Ok((rest, Text::Plain(plain)))
        }
    }
}

/// Steps over a string.
#[inline]
pub(super) fn skip_text(input: &[u8]) -> Parsed<'_, ()> {
    text.map(drop).parse(input)
}

/// How many bytes the length at the start of `input` has, and the length, if it is a short one: nearly all are.
#[inline(always)]
fn short_length(input: &[u8]) -> Option<(usize, usize)> {
    match input {
        [first @ 0..=0x3f, ..] => Some((1, usize::from(*first))),
        [first @ 0x40..=0x7f, low, ..] => Some((2, usize::from(first & 0x3f) << 8 | usize::from(*low))),
        _ => None,
    }
}

/// A string that is stored as it is and has a short length, and what follows it. [`text`] reads all.
#[inline(always)]
pub(super) fn short_plain(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (start, length) = short_length(input)?;
    input.get(start..)?.split_at_checked(length)
}

/// What follows a string all of whose lengths are short. [`text`] reads all.
#[inline(always)]
pub(super) fn behind_short_text(input: &[u8]) -> Option<&[u8]> {
    let end = match input.first()? {
        0xc0 => 2,
        0xc1 => 3,
        0xc2 => 5,
        0xc3 => {
            let (packed_at, packed_bytes) = short_length(input.get(1..)?)?;
            let (start, _) = short_length(input.get(1 + packed_at..)?)?;
            1 + packed_at + start + packed_bytes
        }
        _ => {
            let (start, length) = short_length(input)?;
            start + length
        }
    };
    input.get(end..)
}

/// Whether a string whose end was found is stored compressed.
#[inline(always)]
pub(super) fn is_packed(text: &[u8]) -> bool {
    text.first() == Some(&0xc3)
}

/// Whether a string whose end was found has fewer than `limit` bytes, by what it declares.
#[inline(always)]
pub(super) fn is_shorter(input: &[u8], limit: usize) -> bool {
    // A number has 11 digits at most.
    const NUMBER_BYTES_MAX: usize = 11;
    match input.first() {
        Some(0xc0..=0xc2) if NUMBER_BYTES_MAX < limit => true,
        _ => match short_length(input) {
            Some((_, length)) => length < limit,
            None => text(input).is_ok_and(|(_, text)| text.len().is_some_and(|bytes| bytes < limit)),
        },
    }
}

impl<'a> Text<'a> {
    /// How many bytes the string itself has, by what is declared.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Text::Plain(plain) => Some(plain.len()),
            Text::Integer(value) => Some(value.to_string().len()),
            Text::Packed { length, .. } => usize::try_from(*length).ok(),
        }
    }

    /// Appends the string itself; `None` if it is not what was declared.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Text::Plain(plain) => out.extend_from_slice(plain),
            Text::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Text::Packed { packed, length, .. } => lzf::append(out, packed, usize::try_from(*length).ok()?)?,
        }
        Some(())
    }

    /// The string itself, borrowed where it is stored as it is.
    #[inline]
    pub(super) fn bytes(self) -> Result<Cow<'a, [u8]>, nom::Err<Bad>> {
        match self {
            Text::Plain(plain) => Ok(Cow::Borrowed(plain)),
            Text::Integer(value) => Ok(Cow::Owned(value.to_string().into_bytes())),
            Text::Packed { packed, length, left } => usize::try_from(length)
                .ok()
                .and_then(|length| lzf::decode(packed, length))
                .map(Cow::Owned)
                .ok_or(nom::Err::Error(Bad { left, why: Why::Damage("a string compressed with LZF") })),
        }
    }
}

/// Steps over a string and looks whether it can be decoded.
pub(super) fn check_text(input: &[u8]) -> Parsed<'_, ()> {
    match text(input)? {
        (_, Text::Packed { packed, length, left })
            if !usize::try_from(length).is_ok_and(|length| lzf::is_sound(packed, length)) =>
        {
            Err(nom::Err::Error(Bad { left, why: Why::Damage("a string compressed with LZF") }))
        }
        (rest, _) => Ok((rest, ())),
    }
}

/// A string's bytes.
pub(super) fn string(input: &[u8]) -> Parsed<'_, Cow<'_, [u8]>> {
    let (rest, text) = text(input)?;
    Ok((rest, text.bytes()?))
}

/// Writes a length in the fewest bytes, as servers do (`rdbSaveLen`).
pub(super) fn write_length(out: &mut Vec<u8>, length: u64) {
    match length {
        0..=0x3f => out.push(length as u8),
        0x40..=0x3fff => out.extend([0x40 | (length >> 8) as u8, length as u8]),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend((length as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend(length.to_be_bytes());
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
