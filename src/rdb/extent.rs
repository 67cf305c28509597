//! Where a value ends, without decoding it, and whether a server skips it as empty (`rdbLoadObject`,
//! rdb.c).

use super::blob;
use super::fault::{Bad, damage};
use super::kind::Kind;
use super::scan::{Parsed, Text, byte, bytes, length, skip_text, text};
use super::{module, stream};

/// How a node of a quicklist is stored: as one large element, or as a listpack.
pub(super) const CONTAINER_PLAIN: u64 = 1;
pub(super) const CONTAINER_PACKED: u64 = 2;

const DOUBLE_BYTES: u64 = 8;
const TIME_BYTES: u64 = 8;

/// The length bytes of a score as text that stand for something else.
pub(super) const SCORE_NOT_A_NUMBER: u8 = 253;
pub(super) const SCORE_INFINITE: u8 = 254;
pub(super) const SCORE_MINUS_INFINITE: u8 = 255;

/// Steps over a value of this kind; true if it is an aggregate without an element, which older servers
/// could write by mistake and which a loading server skips without a word.
pub(super) fn skip(kind: Kind, input: &[u8]) -> Parsed<'_, bool> {
    match kind {
        Kind::String => filled(skip_text(input)),
        Kind::List | Kind::Set => counted(input, skip_text),
        Kind::Hash => counted(input, skip_pair),
        Kind::SortedSet => counted(input, |input| skip_text_score(skip_text(input)?.0)),
        Kind::SortedSet2 => counted(input, |input| fixed(skip_text(input)?.0, DOUBLE_BYTES)),
        Kind::Module => filled(module::skip_parts(length(input)?.0)),
        Kind::HashZipmap => in_blob(input, |text, left| blob::check_zipmap(text, left).map(|()| false)),
        Kind::SetIntset => in_blob(input, |text, left| blob::check_intset(text, left).map(|()| false)),
        Kind::ListZiplist | Kind::SortedSetZiplist | Kind::HashZiplist => {
            in_blob(input, blob::ziplist_is_empty)
        }
        Kind::SetListpack => in_listpack(input, 1),
        Kind::HashListpack | Kind::SortedSetListpack => in_listpack(input, 2),
        Kind::HashFieldsListpackEarly => in_listpack(input, 3),
        Kind::HashFieldsListpack => in_listpack(fixed(input, TIME_BYTES)?.0, 3),
        Kind::ListQuicklist | Kind::ListQuicklist2 => nodes(kind, input),
        Kind::Stream | Kind::Stream2 | Kind::Stream3 => filled(stream::skip(kind, input)),
        Kind::HashFieldsEarly => counted(input, skip_deadline_and_pair),
        Kind::HashFields => counted(fixed(input, TIME_BYTES)?.0, skip_deadline_and_pair),
        Kind::HashFieldsValkey => counted(input, |input| fixed(skip_pair(input)?.0, TIME_BYTES)),
    }
}

/// What can be empty and still be a value.
fn filled(parsed: Parsed<'_, ()>) -> Parsed<'_, bool> {
    parsed.map(|(rest, ())| (rest, false))
}

/// A count and as many elements; each takes a byte at least, so that the input ends a wrong count.
fn counted<'a>(input: &'a [u8], each: impl Fn(&'a [u8]) -> Parsed<'a, ()>) -> Parsed<'a, bool> {
    let (mut rest, count) = length(input)?;
    for _ in 0..count {
        rest = each(rest)?.0;
    }
    Ok((rest, count == 0))
}

fn skip_pair(input: &[u8]) -> Parsed<'_, ()> {
    skip_text(skip_text(input)?.0)
}

fn skip_deadline_and_pair(input: &[u8]) -> Parsed<'_, ()> {
    skip_pair(length(input)?.0)
}

fn skip_text_score(input: &[u8]) -> Parsed<'_, ()> {
    match byte(input)? {
        (rest, SCORE_INFINITE | SCORE_MINUS_INFINITE) => Ok((rest, ())),
        (_, SCORE_NOT_A_NUMBER) => Err(damage(input, "a score that is a number")),
        (rest, length) => fixed(rest, u64::from(length)),
    }
}

fn fixed(input: &[u8], count: u64) -> Parsed<'_, ()> {
    bytes(input, count).map(|(rest, _)| (rest, ()))
}

fn in_listpack(input: &[u8], tuple: usize) -> Parsed<'_, bool> {
    in_blob(input, |text, left| blob::listpack_is_empty(text, tuple, left))
}

fn in_blob<'a>(
    input: &'a [u8],
    is_empty: impl Fn(Text<'a>, usize) -> Result<bool, nom::Err<Bad>>,
) -> Parsed<'a, bool> {
    let (rest, text) = text(input)?;
    Ok((rest, is_empty(text, input.len())?))
}

/// The nodes of a quicklist; it is empty if all of them are.
fn nodes(kind: Kind, input: &[u8]) -> Parsed<'_, bool> {
    let (mut rest, count) = length(input)?;
    let mut is_empty = true;
    for _ in 0..count {
        let (after, node_is_empty) = match kind {
            Kind::ListQuicklist => in_blob(rest, blob::ziplist_is_empty)?,
            _ => node(rest)?,
        };
        is_empty &= node_is_empty;
        rest = after;
    }
    Ok((rest, is_empty))
}

fn node(input: &[u8]) -> Parsed<'_, bool> {
    match length(input)? {
        (rest, CONTAINER_PACKED) => in_listpack(rest, 1),
        (rest, CONTAINER_PLAIN) => match text(rest)? {
            (_, Text::Plain([]) | Text::Packed { length: 0, .. }) => {
                Err(damage(rest, "an element of a byte or more"))
            }
            (rest, _) => Ok((rest, false)),
        },
        _ => Err(damage(input, "1 or 2, the form of a list's node")),
    }
}
