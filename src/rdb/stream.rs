//! Steps over a stream: its listpacks of entries, its ids, its consumer groups (`rdbLoadObject`, rdb.c).

use super::fault::damage;
use super::kind::Kind;
use super::scan::{Parsed, Text, bytes, length, skip_text, text};

/// Milliseconds and sequence, raw.
const ID_BYTES: u64 = 16;
const TIME_BYTES: u64 = 8;

/// What the versions of the format differ in.
#[derive(Clone, Copy)]
struct Layout {
    /// First id, highest deleted id, entries added; entries read of each group.
    has_offsets: bool,
    /// When a consumer was last active, beside when it was last seen.
    has_active_time: bool,
}

pub(super) fn skip(kind: Kind, input: &[u8]) -> Parsed<'_, ()> {
    let layout = Layout { has_offsets: kind != Kind::Stream, has_active_time: kind == Kind::Stream3 };
    let (rest, ()) = repeated(input, entries)?;
    // Length and last id.
    let (rest, ()) = numbers(rest, 3)?;
    let (rest, ()) = numbers(rest, if layout.has_offsets { 5 } else { 0 })?;
    repeated(rest, |input| group(input, layout))
}

/// One node: the id that its entries count from, and their listpack.
fn entries(input: &[u8]) -> Parsed<'_, ()> {
    match text(input)? {
        (rest, Text::Plain(id)) if id.len() as u64 == ID_BYTES => skip_text(rest),
        (rest, Text::Packed { length: ID_BYTES, .. }) => skip_text(rest),
        _ => Err(damage(input, "a stream id of 16 bytes")),
    }
}

fn group(input: &[u8], layout: Layout) -> Parsed<'_, ()> {
    let (rest, ()) = skip_text(input)?;
    // The last id delivered.
    let (rest, ()) = numbers(rest, 2)?;
    let (rest, ()) = numbers(rest, if layout.has_offsets { 1 } else { 0 })?;
    let (rest, ()) = repeated(rest, pending)?;
    repeated(rest, |input| consumer(input, layout))
}

/// An entry that was delivered and not acknowledged: id, time and number of deliveries.
fn pending(input: &[u8]) -> Parsed<'_, ()> {
    let (rest, _) = bytes(input, ID_BYTES + TIME_BYTES)?;
    numbers(rest, 1)
}

fn consumer(input: &[u8], layout: Layout) -> Parsed<'_, ()> {
    let (rest, ()) = skip_text(input)?;
    let (rest, _) = bytes(rest, if layout.has_active_time { 2 * TIME_BYTES } else { TIME_BYTES })?;
    repeated(rest, |input| bytes(input, ID_BYTES).map(|(rest, _)| (rest, ())))
}

fn numbers(mut input: &[u8], count: usize) -> Parsed<'_, ()> {
    for _ in 0..count {
        input = length(input)?.0;
    }
    Ok((input, ()))
}

/// A count, and as many of something that takes at least a byte each, so that the input ends a wrong
/// count.
fn repeated<'a>(input: &'a [u8], each: impl Fn(&'a [u8]) -> Parsed<'a, ()>) -> Parsed<'a, ()> {
    let (mut rest, count) = length(input)?;
    for _ in 0..count {
        rest = each(rest)?.0;
    }
    Ok((rest, ()))
}
