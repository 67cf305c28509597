//! Shifts the deadlines of hash fields inside a value, as [`crate::command::deadline`] does in commands.
//!
//! The value keeps its encoding, so a shift there and back gives the bytes it began with, if a server
//! wrote them; only a listpack that was compressed comes back uncompressed.

use nom::Parser;
use nom::combinator::consumed;
use nom::number::complete::le_i64;

use super::blob::Piece;
use super::compact::Blob;
use super::elements::{Element, visit};
use super::fault::{Bad, Fault, unsupported};
use super::kind::Kind;
use super::listpack;
use super::reader::Object;
use super::scan::{Parsed, length, skip_text, write_length};

/// Redis takes no deadline of a field at or past this from a command (`HFE_MAX_ABS_TIME_MSEC`, t_hash.c).
pub const DEADLINE_LIMIT_MS: i64 = 1 << 46;

/// What becomes of a value whose fields may have deadlines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shifted {
    /// No field has one.
    AsItStands,
    /// The new body, of the same kind.
    Changed(Vec<u8>),
    /// A deadline that cannot be shifted so far: servers would not take the result.
    Refused(i64),
}

/// The earliest and the latest deadline of a hash's fields, if any has one.
pub fn deadlines(object: &Object<'_>) -> Result<Option<(i64, i64)>, Fault> {
    let mut found = None;
    if object.kind.has_field_deadlines() {
        visit(object, |element| {
            if let Element::Field { deadline_ms: Some(deadline), .. } = element {
                let (earliest, latest) = found.unwrap_or((deadline, deadline));
                found = Some((deadline.min(earliest), deadline.max(latest)));
            }
            Ok::<(), Fault>(())
        })?;
    }
    Ok(found)
}

/// Moves the deadline of every field that has one by `offset_ms`, which may be negative.
pub fn shift(object: &Object<'_>, offset_ms: i64) -> Result<Shifted, Fault> {
    let Some((earliest, latest)) = deadlines(object)? else { return Ok(Shifted::AsItStands) };
    // 0 stands for no deadline, except in Valkey's form, where -1 does.
    let allowed = match object.kind {
        Kind::HashFieldsValkey => 0..i64::MAX,
        _ => 1..DEADLINE_LIMIT_MS,
    };
    for deadline in [earliest, latest] {
        // One that is out of bounds to begin with could not be put back.
        let is_allowed = |deadline| allowed.contains(&deadline);
        if !is_allowed(deadline) || !deadline.checked_add(offset_ms).is_some_and(is_allowed) {
            return Ok(Shifted::Refused(deadline));
        }
    }
    let bad = |bad| Fault::new(bad, object.body, object.at);
    let body = match object.kind {
        Kind::HashFieldsEarly => each_field(object.body, |input, out| deadline_first(input, offset_ms, out)),
        Kind::HashFieldsValkey => each_field(object.body, |input, out| deadline_last(input, offset_ms, out)),
        Kind::HashFieldsListpackEarly => in_listpack(object.body, offset_ms, Vec::new()),
        Kind::HashFieldsListpack => earliest_first(object.body, offset_ms)
            .and_then(|(rest, start)| in_listpack(rest, offset_ms, start)),
        // All others count from the earliest.
        _ => earliest_first(object.body, offset_ms).map(|(rest, mut out)| {
            out.extend_from_slice(rest);
            out
        }),
    };
    body.map(Shifted::Changed).map_err(bad)
}

/// The earliest deadline, moved, and what follows it.
fn earliest_first(body: &[u8], offset_ms: i64) -> Result<(&[u8], Vec<u8>), nom::Err<Bad>> {
    let (rest, earliest) = le_i64(body)?;
    let mut out = Vec::with_capacity(body.len());
    out.extend(earliest.wrapping_add(offset_ms).to_le_bytes());
    Ok((rest, out))
}

/// A count and as many fields, each rewritten by `each`.
fn each_field<'a>(
    body: &'a [u8],
    each: impl Fn(&'a [u8], &mut Vec<u8>) -> Parsed<'a, ()>,
) -> Result<Vec<u8>, nom::Err<Bad>> {
    let (mut rest, count) = length(body)?;
    let mut out = Vec::with_capacity(body.len());
    write_length(&mut out, count);
    for _ in 0..count {
        rest = each(rest, &mut out)?.0;
    }
    Ok(out)
}

/// Deadline (0: none), field, value.
fn deadline_first<'a>(input: &'a [u8], offset_ms: i64, out: &mut Vec<u8>) -> Parsed<'a, ()> {
    let (start, stored) = length(input)?;
    write_length(out, if stored == 0 { 0 } else { stored.wrapping_add_signed(offset_ms) });
    let (rest, (pair, _)) = consumed((skip_text, skip_text)).parse(start)?;
    out.extend_from_slice(pair);
    Ok((rest, ()))
}

/// Field, value, deadline (-1: none).
fn deadline_last<'a>(input: &'a [u8], offset_ms: i64, out: &mut Vec<u8>) -> Parsed<'a, ()> {
    let (rest, (pair, _)) = consumed((skip_text, skip_text)).parse(input)?;
    let (rest, stored) = le_i64(rest)?;
    out.extend_from_slice(pair);
    let shifted = if stored == -1 { -1 } else { stored.wrapping_add(offset_ms) };
    out.extend(shifted.to_le_bytes());
    Ok((rest, ()))
}

/// Rewrites a listpack of fields, values and deadlines (0: none), behind what `out` already holds.
fn in_listpack(input: &[u8], offset_ms: i64, mut out: Vec<u8>) -> Result<Vec<u8>, nom::Err<Bad>> {
    let (_, blob) = Blob::read(input)?;
    let expected = "an entry of a listpack";
    let mut moved = blob.bytes.get(..listpack::HEADER_BYTES).unwrap_or_default().to_vec();
    let mut entries = listpack::entries(&blob.bytes);
    for place in 0.. {
        let start = entries.at();
        match entries.next() {
            Some(Ok(Piece::Number(stored))) if place % 3 == 2 && stored != 0 => {
                listpack::write_number(&mut moved, stored.wrapping_add(offset_ms));
            }
            Some(Ok(_)) => moved.extend(blob.bytes.get(start..entries.at()).unwrap_or_default()),
            Some(Err(at)) => return Err(blob.damaged(at, expected)),
            None => break,
        }
    }
    moved.push(listpack::END);
    let total = u32::try_from(moved.len()).map_err(|_| unsupported(input, "a listpack past 4 GiB"))?;
    if let Some(header) = moved.first_chunk_mut() {
        *header = total.to_le_bytes();
    }
    write_length(&mut out, u64::from(total));
    out.append(&mut moved);
    Ok(out)
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
