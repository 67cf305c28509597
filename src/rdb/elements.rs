//! Takes a value apart into what plain commands can carry, for targets that do not know its type or
//! limit the size of an argument.
//!
//! The elements come one at a time, borrowed where the encoding allows it, so that a list of any size
//! needs no memory but that of its largest compressed string.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Write;

use nom::number::complete::{le_f64, le_i64, le_u64};

use super::blob::{DamagedAt, Digits, Piece};
use super::compact::{Blob, Format};
use super::extent::{CONTAINER_PLAIN, SCORE_INFINITE, SCORE_MINUS_INFINITE};
use super::fault::{Bad, Fault, damage};
use super::fields::EARLIEST_MAX_MS;
use super::kind::Kind;
use super::reader::Object;
use super::scan::{Parsed, byte, bytes, length, string};
use super::stream_parts::{self, Id};
use super::{intset, score, zipmap};

/// A string longer than this comes in several pieces.
pub const PIECE_BYTES: usize = 16 << 20;

/// A server takes no later deadline of a field from a file (`EB_EXPIRE_TIME_MAX`, ebuckets.h).
pub(super) const FIELD_DEADLINE_MAX_MS: u64 = (1 << 48) - 1;

/// One element of a value, with the command that puts it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element<'e> {
    /// A piece of a string: the first is for SET, the others are for APPEND. An empty string has one.
    Piece {
        /// At most [`PIECE_BYTES`].
        bytes: &'e [u8],
        /// Whether it is the first.
        is_first: bool,
    },
    /// An element of a list, for RPUSH.
    Item(&'e [u8]),
    /// A member of a set, for SADD.
    Member(&'e [u8]),
    /// A member of a sorted set, for ZADD.
    Scored {
        /// The member.
        member: &'e [u8],
        /// Its score in the fewest digits that give the same double; `inf` and `-inf` for the infinities.
        score: &'e str,
    },
    /// A field of a hash, for HSET and HPEXPIREAT.
    Field {
        /// The field.
        field: &'e [u8],
        /// Its value.
        value: &'e [u8],
        /// Unix time in milliseconds at which the field expires.
        deadline_ms: Option<i64>,
    },
    /// A stream without its entries, for RESTORE.
    Bare {
        /// The body of a value of the same kind.
        body: &'e [u8],
        /// That of a [`Kind::Stream2`], which targets that know it have to get instead ([`stream_parts::Bare`]).
        counted: Option<&'e [u8]>,
    },
    /// An entry of a stream, for XADD.
    Entry {
        /// Its id.
        id: Id,
        /// Fields and values in turn.
        parts: &'e [Cow<'e, [u8]>],
    },
    /// Where a stream's ids stand, for XSETID.
    Ids {
        /// The last id.
        last: Id,
        /// How many entries were ever added, where that is not just how many there are.
        added: Option<u64>,
    },
}

/// Hands the elements of an object to `each`, in their order, until it fails or there are no more.
///
/// A value that cannot be taken apart, one of a module, is [`Fault::Unsupported`].
pub fn visit<E: From<Fault>>(
    object: &Object<'_>,
    mut each: impl FnMut(Element<'_>) -> Result<(), E>,
) -> Result<(), E> {
    match take_apart(object, Look::CLOSE, |element| each(element).map_err(Stop::Caller)) {
        Ok(()) => Ok(()),
        Err(Stop::Caller(error)) => Err(error),
        Err(Stop::Bad(bad)) => Err(Fault::new(bad, object.body, object.at).into()),
        Err(Stop::Indivisible) => {
            let what = format!("a {} that is to be taken apart", object.kind.name());
            Err(Fault::Unsupported { at: object.at, what }.into())
        }
    }
}

/// Hands on the elements of an object as a server reads them that loads it; see [`Look`].
pub(super) fn look(
    object: &Object<'_>,
    look: Look,
    mut each: impl FnMut(Element<'_>),
) -> Result<(), nom::Err<Bad>> {
    let visited = take_apart(object, look, |element| {
        each(element);
        Ok::<(), Stop<Infallible>>(())
    });
    match visited {
        Err(Stop::Bad(bad)) => Err(bad),
        Ok(()) | Err(Stop::Indivisible) => Ok(()),
    }
}

/// How close a look is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Whether a listpack has to have as many entries as its header says.
    pub(super) counts: bool,
    /// Whether scores in listpacks and ziplists are read; else they are 0.
    pub(super) scores: bool,
}

impl Look {
    /// What commands are made of has to be sound.
    const CLOSE: Look = Look { counts: true, scores: true };

    fn listpack(self) -> Format {
        if self.counts { Format::Listpack } else { Format::UncountedListpack }
    }
}

/// Why a visit ended early.
enum Stop<E> {
    Bad(nom::Err<Bad>),
    Caller(E),
    Indivisible,
}

impl<E> From<nom::Err<Bad>> for Stop<E> {
    fn from(bad: nom::Err<Bad>) -> Self {
        Stop::Bad(bad)
    }
}

type Visited<E> = Result<(), Stop<E>>;

fn take_apart<E>(
    object: &Object<'_>,
    look: Look,
    mut each: impl FnMut(Element<'_>) -> Visited<E>,
) -> Visited<E> {
    let body = object.body;
    match object.kind {
        Kind::String => pieces(body, each),
        Kind::List => texts(body, |item| each(Element::Item(item))),
        Kind::Set => texts(body, |member| each(Element::Member(member))),
        Kind::SortedSet => scores(body, text_score, each),
        Kind::SortedSet2 => scores(body, binary_score, each),
        Kind::ListQuicklist | Kind::ListQuicklist2 => nodes(object.kind, body, each),
        Kind::ListZiplist => singles(body, Format::Ziplist, |item| each(Element::Item(item))).map(drop),
        Kind::SetListpack => singles(body, look.listpack(), |member| each(Element::Member(member))).map(drop),
        Kind::SetIntset => members(body, each),
        Kind::SortedSetZiplist => scored_pairs(body, Format::Ziplist, look.scores, each),
        Kind::SortedSetListpack => scored_pairs(body, look.listpack(), look.scores, each),
        Kind::HashZipmap => zipmap_fields(body, each),
        Kind::HashZiplist => field_pairs(body, Format::Ziplist, each),
        Kind::HashListpack => field_pairs(body, look.listpack(), each),
        Kind::HashFieldsListpackEarly => field_triples(body, look.listpack(), each),
        // The earliest deadline in front is a hint that the server skips as well.
        Kind::HashFieldsListpack => field_triples(bytes(body, 8)?.0, look.listpack(), each),
        Kind::Hash | Kind::HashFieldsEarly | Kind::HashFields | Kind::HashFieldsValkey => {
            fields(object.kind, body, each)
        }
        Kind::Stream | Kind::Stream2 | Kind::Stream3 => stream(object.kind, body, each),
        Kind::Module => Err(Stop::Indivisible),
    }
}

fn stream<E>(kind: Kind, body: &[u8], mut each: impl FnMut(Element<'_>) -> Visited<E>) -> Visited<E> {
    let bare = stream_parts::bare(kind, body)?;
    let counted = if bare.is_uncounted { Some(stream_parts::counted(body, &bare)?) } else { None };
    each(Element::Bare { body: &bare.body, counted: counted.as_deref() })?;
    stream_parts::entries(body, &bare, |id, parts| each(Element::Entry { id, parts }))?;
    each(Element::Ids { last: bare.last, added: bare.added })
}

fn pieces<E>(body: &[u8], mut each: impl FnMut(Element<'_>) -> Visited<E>) -> Visited<E> {
    let (_, whole) = string(body)?;
    let (first, rest) = whole.split_at_checked(PIECE_BYTES).unwrap_or((&whole, &[]));
    each(Element::Piece { bytes: first, is_first: true })?;
    rest.chunks(PIECE_BYTES).try_for_each(|bytes| each(Element::Piece { bytes, is_first: false }))
}

fn texts<E>(body: &[u8], mut each: impl FnMut(&[u8]) -> Visited<E>) -> Visited<E> {
    let (mut rest, count) = length(body)?;
    for _ in 0..count {
        let (after, text) = string(rest)?;
        each(&text)?;
        rest = after;
    }
    Ok(())
}

fn scores<'a, E>(
    body: &'a [u8],
    read: impl Fn(&'a [u8]) -> Parsed<'a, f64>,
    mut each: impl FnMut(Element<'_>) -> Visited<E>,
) -> Visited<E> {
    let (mut rest, count) = length(body)?;
    let mut text = String::new();
    for _ in 0..count {
        let (after, member) = string(rest)?;
        let (after, score) = read(after)?;
        each(Element::Scored { member: &member, score: shown(score, &mut text) })?;
        rest = after;
    }
    Ok(())
}

fn text_score(input: &[u8]) -> Parsed<'_, f64> {
    match byte(input)? {
        (rest, SCORE_INFINITE) => Ok((rest, f64::INFINITY)),
        (rest, SCORE_MINUS_INFINITE) => Ok((rest, f64::NEG_INFINITY)),
        (rest, length) => {
            let (rest, text) = bytes(rest, u64::from(length))?;
            let score = score::scanned(text).filter(|score| !score.is_nan());
            Ok((rest, score.ok_or(damage(input, "a score that is a number"))?))
        }
    }
}

fn binary_score(input: &[u8]) -> Parsed<'_, f64> {
    match le_f64(input)? {
        (_, score) if score.is_nan() => Err(damage(input, "a score that is a number")),
        sound => Ok(sound),
    }
}

/// The shortest text that reads as the same double, with an exponent where the digits would be many.
fn shown(score: f64, text: &mut String) -> &str {
    text.clear();
    let magnitude = score.abs();
    // Writing to a string cannot fail.
    let _ = if magnitude == 0.0 || magnitude.is_infinite() || (1e-5..1e17).contains(&magnitude) {
        write!(text, "{score}")
    } else {
        write!(text, "{score:e}")
    };
    text
}

fn nodes<E>(kind: Kind, body: &[u8], mut each: impl FnMut(Element<'_>) -> Visited<E>) -> Visited<E> {
    let (mut rest, count) = length(body)?;
    for _ in 0..count {
        let (node, container) = if kind == Kind::ListQuicklist2 { length(rest)? } else { (rest, 0) };
        rest = if container == CONTAINER_PLAIN {
            let (rest, item) = string(node)?;
            each(Element::Item(&item))?;
            rest
        } else {
            let format = if kind == Kind::ListQuicklist2 { Format::Listpack } else { Format::Ziplist };
            singles(node, format, |item| each(Element::Item(item)))?
        };
    }
    Ok(())
}

/// The entries of the string at the start of `body`; gives what follows it.
fn singles<E>(
    body: &[u8],
    format: Format,
    mut each: impl FnMut(&[u8]) -> Visited<E>,
) -> Result<&[u8], Stop<E>> {
    let (rest, blob) = Blob::read(body)?;
    let mut digits = Digits::default();
    blob.tuples(format, |[piece]| each(piece.bytes(&mut digits)))?;
    Ok(rest)
}

fn members<E>(body: &[u8], mut each: impl FnMut(Element<'_>) -> Visited<E>) -> Visited<E> {
    let (_, blob) = Blob::read(body)?;
    let members = intset::members(&blob.bytes).ok_or(blob.damaged(DamagedAt(0), "an intset with members"))?;
    let mut digits = Digits::default();
    for member in members {
        each(Element::Member(digits.of(member)))?;
    }
    Ok(())
}

fn scored_pairs<E>(
    body: &[u8],
    format: Format,
    is_read: bool,
    mut each: impl FnMut(Element<'_>) -> Visited<E>,
) -> Visited<E> {
    let (_, blob) = Blob::read(body)?;
    let mut digits = Digits::default();
    let mut text = String::new();
    blob.tuples(format, |[member, score]| {
        let score = match score {
            Piece::Number(number) => number as f64,
            Piece::Text(text) if is_read => score::in_entry(text),
            Piece::Text(_) => 0.0,
        };
        if score.is_nan() {
            return Err(damage(body, "a sorted set whose scores are numbers").into());
        }
        each(Element::Scored { member: member.bytes(&mut digits), score: shown(score, &mut text) })
    })
}

fn zipmap_fields<E>(body: &[u8], mut each: impl FnMut(Element<'_>) -> Visited<E>) -> Visited<E> {
    let (_, blob) = Blob::read(body)?;
    for pair in zipmap::fields(&blob.bytes) {
        let (field, value) = pair.map_err(|at| blob.damaged(at, "a field of a zipmap"))?;
        each(Element::Field { field, value, deadline_ms: None })?;
    }
    Ok(())
}

fn field_pairs<E>(
    body: &[u8],
    format: Format,
    mut each: impl FnMut(Element<'_>) -> Visited<E>,
) -> Visited<E> {
    let (_, blob) = Blob::read(body)?;
    let (mut field_digits, mut value_digits) = (Digits::default(), Digits::default());
    blob.tuples(format, |[field, value]| {
        let (field, value) = (field.bytes(&mut field_digits), value.bytes(&mut value_digits));
        each(Element::Field { field, value, deadline_ms: None })
    })
}

/// Field, value and deadline in turn; 0 is no deadline.
fn field_triples<E>(
    body: &[u8],
    format: Format,
    mut each: impl FnMut(Element<'_>) -> Visited<E>,
) -> Visited<E> {
    let (_, blob) = Blob::read(body)?;
    let (mut field_digits, mut value_digits) = (Digits::default(), Digits::default());
    blob.tuples(format, |[field, value, deadline]| {
        // As long as the listpack is kept, no server minds how late they are.
        let deadline_ms = match deadline {
            Piece::Number(number @ 0..) => Some(number).filter(|deadline| *deadline != 0),
            _ => return Err(damage(body, "fields with deadlines that are numbers of 0 or more").into()),
        };
        let (field, value) = (field.bytes(&mut field_digits), value.bytes(&mut value_digits));
        each(Element::Field { field, value, deadline_ms })
    })
}

fn fields<E>(kind: Kind, body: &[u8], mut each: impl FnMut(Element<'_>) -> Visited<E>) -> Visited<E> {
    let (rest, earliest_ms) = if kind == Kind::HashFields { le_u64(body)? } else { (body, 0) };
    if earliest_ms > EARLIEST_MAX_MS as u64 {
        return Err(damage(body, "the earliest deadline of fields, 2^48 at most").into());
    }
    let (mut rest, count) = length(rest)?;
    for _ in 0..count {
        let has_deadline_first = matches!(kind, Kind::HashFieldsEarly | Kind::HashFields);
        let (after, stored) = if has_deadline_first { length(rest)? } else { (rest, 0) };
        let (after, field) = string(after)?;
        let (after, value) = string(after)?;
        let (after, deadline_ms) = match kind {
            Kind::HashFieldsValkey => {
                let (after, deadline) = le_i64(after)?;
                (after, Some(deadline).filter(|deadline| *deadline != -1))
            }
            _ => {
                let stored = if kind == Kind::HashFields { relative(earliest_ms, stored) } else { stored };
                (after, absolute(stored).ok_or(damage(rest, "a field's deadline below 2^48"))?)
            }
        };
        each(Element::Field { field: &field, value: &value, deadline_ms })?;
        rest = after;
    }
    Ok(())
}

/// A deadline that is stored as its distance from the earliest, and one more; 0 is none. Servers let the sum wrap, and
/// take one that is 0 for none.
fn relative(earliest_ms: u64, stored: u64) -> u64 {
    if stored == 0 { 0 } else { earliest_ms.wrapping_add(stored).wrapping_sub(1) }
}

/// A deadline where 0 is none; nothing if it is past what a server takes.
fn absolute(deadline_ms: u64) -> Option<Option<i64>> {
    let deadline = i64::try_from(deadline_ms).ok().filter(|_| deadline_ms <= FIELD_DEADLINE_MAX_MS)?;
    Some(Some(deadline).filter(|deadline| *deadline != 0))
}

#[cfg(test)]
#[path = "elements_tests.rs"]
mod tests;
