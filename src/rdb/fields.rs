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

/// The latest that servers take for the earliest deadline of a hash (`EB_EXPIRE_TIME_INVALID`, ebuckets.h).
pub(super) const EARLIEST_MAX_MS: i64 = 1 << 48;

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

/// Where a deadline is moved to; `None` if it cannot be.
pub type Move<'m> = &'m dyn Fn(i64) -> Option<i64>;

/// Gives the deadline of every field that has one to `look`.
pub fn each_deadline(object: &Object<'_>, mut look: impl FnMut(i64)) -> Result<(), Fault> {
    if object.kind.has_field_deadlines() {
        visit(object, |element| {
            if let Element::Field { deadline_ms: Some(deadline), .. } = element {
                look(deadline);
            }
            Ok::<(), Fault>(())
        })?;
    }
    Ok(())
}

/// The earliest and the latest deadline of a hash's fields, if any has one.
pub fn deadlines(object: &Object<'_>) -> Result<Option<(i64, i64)>, Fault> {
    let mut found = None;
    each_deadline(object, |deadline| {
        let (earliest, latest) = found.unwrap_or((deadline, deadline));
        found = Some((deadline.min(earliest), deadline.max(latest)));
    })?;
    Ok(found)
}

/// Moves the deadline of every field that has one to where `to` says. Their order must stay the same: some encodings
/// hold the fields sorted by it.
pub fn shift(object: &Object<'_>, to: Move<'_>) -> Result<Shifted, Fault> {
    // 0 stands for no deadline, except in Valkey's form, where -1 does.
    let allowed = match object.kind {
        Kind::HashFieldsValkey => 0..i64::MAX,
        _ => 1..DEADLINE_LIMIT_MS,
    };
    // One that is out of bounds to begin with could not be put back.
    let fits = |deadline: i64| {
        allowed.contains(&deadline) && to(deadline).is_some_and(|deadline| allowed.contains(&deadline))
    };
    let (mut any, mut refused) = (false, None);
    each_deadline(object, |deadline| {
        any = true;
        refused = refused.or((!fits(deadline)).then_some(deadline));
    })?;
    if let Some(deadline) = refused {
        return Ok(Shifted::Refused(deadline));
    }
    if !any {
        return Ok(Shifted::AsItStands);
    }
    let bad = |bad| Fault::new(bad, object.body, object.at);
    if let Kind::HashFields | Kind::HashFieldsListpack = object.kind {
        let (rest, earliest) = le_i64(object.body).map_err(bad)?;
        // It may be earlier than all that are left, or later where distances wrap, but not past what servers take.
        let moved = to(earliest).filter(|moved| *moved <= EARLIEST_MAX_MS);
        let Some(moved) = moved else { return Ok(Shifted::Refused(earliest)) };
        let mut out = moved.to_le_bytes().to_vec();
        if object.kind == Kind::HashFieldsListpack {
            return in_listpack(rest, to, out).map(Shifted::Changed).map_err(bad);
        }
        let offset = |stored: i64| match earliest.wrapping_add(stored).wrapping_sub(1) {
            // A distance that leads to 0 stands for no deadline.
            0 => Some(0),
            deadline => Some(to(deadline)?.wrapping_sub(moved).wrapping_add(1)),
        };
        let fields = each_field(rest, |input, out| deadline_first(input, &offset, out));
        out.extend(fields.map_err(bad)?);
        return Ok(Shifted::Changed(out));
    }
    let body = match object.kind {
        Kind::HashFieldsEarly => each_field(object.body, |input, out| deadline_first(input, to, out)),
        Kind::HashFieldsListpackEarly => in_listpack(object.body, to, Vec::new()),
        _ => each_field(object.body, |input, out| deadline_last(input, to, out)),
    };
    body.map(Shifted::Changed).map_err(bad)
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
fn deadline_first<'a>(input: &'a [u8], to: Move<'_>, out: &mut Vec<u8>) -> Parsed<'a, ()> {
    let (start, stored) = length(input)?;
    write_length(out, if stored == 0 { 0 } else { moved(stored as i64, to) as u64 });
    let (rest, (pair, _)) = consumed((skip_text, skip_text)).parse(start)?;
    out.extend_from_slice(pair);
    Ok((rest, ()))
}

/// The new place of a deadline, all of which have been looked at.
fn moved(deadline: i64, to: Move<'_>) -> i64 {
    to(deadline).unwrap_or(deadline)
}

/// Field, value, deadline (-1: none).
fn deadline_last<'a>(input: &'a [u8], to: Move<'_>, out: &mut Vec<u8>) -> Parsed<'a, ()> {
    let (rest, (pair, _)) = consumed((skip_text, skip_text)).parse(input)?;
    let (rest, stored) = le_i64(rest)?;
    out.extend_from_slice(pair);
    let shifted = if stored == -1 { -1 } else { moved(stored, to) };
    out.extend(shifted.to_le_bytes());
    Ok((rest, ()))
}

/// Rewrites a listpack of fields, values and deadlines (0: none), behind what `out` already holds.
fn in_listpack(input: &[u8], to: Move<'_>, mut out: Vec<u8>) -> Result<Vec<u8>, nom::Err<Bad>> {
    let (_, blob) = Blob::read(input)?;
    let expected = "an entry of a listpack";
    let mut packed = blob.bytes.get(..listpack::HEADER_BYTES).unwrap_or_default().to_vec();
    let mut entries = listpack::entries(&blob.bytes);
    for place in 0.. {
        let start = entries.at();
        match entries.next() {
            Some(Ok(Piece::Number(stored))) if place % 3 == 2 && stored != 0 => {
                listpack::write_number(&mut packed, moved(stored, to));
            }
            Some(Ok(_)) => packed.extend(blob.bytes.get(start..entries.at()).unwrap_or_default()),
            Some(Err(at)) => return Err(blob.damaged(at, expected)),
            None => break,
        }
    }
    packed.push(listpack::END);
    let total = u32::try_from(packed.len()).map_err(|_| unsupported(input, "a listpack past 4 GiB"))?;
    if let Some(header) = packed.first_chunk_mut() {
        *header = total.to_le_bytes();
    }
    write_length(&mut out, u64::from(total));
    out.append(&mut packed);
    Ok(out)
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
