//! Shifts the deadlines of hash fields, as [`super::deadline`] does those of keys.
//!
//! A deadline in the past deletes a field at once on a live server, while one that loads a file keeps it, and what
//! comes later in the file may depend on it. The rules are those of t_hash.c in Redis 7.4 and 8.0 (`parseExpireTime`,
//! `hexpireGenericCommand`, `hsetexParseArgs`) and Valkey 9: 0 is a deadline, a negative one is an error, and an option
//! that stands behind the fields is one for servers that accept it there and an error for all others.

use std::borrow::Cow;

use super::deadline::{Clock, FIELD_OFFSET_MS, Form, Shifted, absolute, borrowed, text, unit};
use super::integer;
use crate::rdb::{Kind, Object, fields, payload};

/// A deadline at or past this is not moved.
const STAYS_FROM_MS: i64 = 2 * FIELD_OFFSET_MS;
// What is moved stays below what servers take.
const _: () = assert!(STAYS_FROM_MS <= fields::DEADLINE_LIMIT_MS);

/// Type bytes of hashes whose fields have deadlines: 22 to 25 of Redis, 22 of Valkey (rdb.h).
const TYPE_BYTES: std::ops::RangeInclusive<u8> = 22..=25;

/// Where the deadline of a hash field is while loading; `None` if it cannot be told from others then.
///
/// Those before the year 3079 are moved by [`FIELD_OFFSET_MS`]. Those from twice the offset on, in the year 4188, stay
/// where they are: no load lasts until then, and they lie behind all that are moved, so that the order is kept.
pub fn while_loading(deadline_ms: i64) -> Option<i64> {
    match deadline_ms {
        ..FIELD_OFFSET_MS => Some(deadline_ms + FIELD_OFFSET_MS),
        STAYS_FROM_MS.. => Some(deadline_ms),
        _ => None,
    }
}

/// Where a deadline that is found in a target was before; `None` if it was there.
pub fn before_loading(deadline_ms: i64) -> Option<i64> {
    (FIELD_OFFSET_MS..STAYS_FROM_MS).contains(&deadline_ms).then(|| deadline_ms - FIELD_OFFSET_MS)
}

/// HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT.
pub(super) fn expire<'a>(arguments: &[&'a [u8]], form: Form, clock: Clock) -> Shifted<'a> {
    let Some(deadline) = arguments.get(2).and_then(|text| valid(text, form, clock)) else {
        return Shifted::AsItStands;
    };
    shifted(deadline, clock, |ms| {
        let mut out = borrowed(arguments);
        out[0] = Cow::Borrowed(b"HPEXPIREAT");
        out[2] = text(ms);
        out
    })
}

/// HSETEX (with `pairs`) and HGETEX: one of EX, PX, EXAT, PXAT.
pub(super) fn option<'a>(arguments: &[&'a [u8]], pairs: bool, clock: Clock) -> Shifted<'a> {
    let mut found = None;
    let mut at = 2;
    while let Some(name) = arguments.get(at) {
        at += 1;
        if let Some(form) = unit(name) {
            if found.replace((at, form)).is_some() {
                // Two deadlines are a syntax error.
                return Shifted::AsItStands;
            }
            at += 1;
        } else if name.eq_ignore_ascii_case(b"FIELDS") {
            let count = arguments.get(at).and_then(|count| integer(count));
            let count = count.and_then(|count| usize::try_from(count).ok());
            match count.and_then(|count| count.checked_mul(if pairs { 2 } else { 1 })?.checked_add(at + 1)) {
                Some(end) if end <= arguments.len() => at = end,
                _ => return Shifted::AsItStands,
            }
        }
    }
    let Some((at, form)) = found else { return Shifted::AsItStands };
    let Some(deadline) = arguments.get(at).and_then(|text| valid(text, form, clock)) else {
        return Shifted::AsItStands;
    };
    shifted(deadline, clock, |ms| {
        let mut out = borrowed(arguments);
        out[at - 1] = Cow::Borrowed(b"PXAT");
        out[at] = text(ms);
        out
    })
}

/// A deadline that servers accept, but for their limits.
fn valid(text: &[u8], form: Form, clock: Clock) -> Option<i64> {
    absolute(integer(text).filter(|value| *value >= 0)?, form, clock)
}

fn shifted<'a>(deadline: i64, clock: Clock, build: impl FnOnce(i64) -> Vec<Cow<'a, [u8]>>) -> Shifted<'a> {
    let moved = if clock.offset_ms == 0 { Some(deadline) } else { while_loading(deadline) };
    match moved {
        Some(moved) => Shifted::Changed(build(moved), deadline),
        None => Shifted::FieldRefused(deadline),
    }
}

/// What becomes of the payload of a RESTORE.
pub(super) enum Payload {
    /// No field in it has a deadline, or it is none that servers take.
    AsItStands,
    /// The payload to send instead, and the latest deadline of a field.
    Changed(Vec<u8>, i64),
    /// A deadline that cannot be shifted.
    Refused(i64),
}

/// Shifts the deadlines inside the payload of a RESTORE.
pub(super) fn payload(payload: &[u8], clock: Clock) -> Payload {
    // With an offset of 0 there is nothing to do: all deadlines in it are absolute.
    let Some(object) = (clock.offset_ms != 0).then(|| hash(payload)).flatten() else {
        return Payload::AsItStands;
    };
    match (fields::shift(&object, &while_loading), fields::deadlines(&object)) {
        (Ok(fields::Shifted::Changed(body)), Ok(Some((_, latest)))) => {
            Payload::Changed(payload::payload(object.kind, &body), latest)
        }
        (Ok(fields::Shifted::Refused(deadline)), _) => Payload::Refused(deadline),
        _ => Payload::AsItStands,
    }
}

/// The hash in a payload, if it is one whose fields can have deadlines, and a server takes it.
fn hash(payload: &[u8]) -> Option<Object<'_>> {
    payload.first().filter(|byte| TYPE_BYTES.contains(byte))?;
    payload::open(payload).ok().filter(|object| object.kind.has_field_deadlines())
}

/// The kind of the hash that a RESTORE brings, if its fields can have deadlines.
pub fn restored(arguments: &[&[u8]]) -> Option<Kind> {
    arguments.get(3).and_then(|payload| hash(payload)).map(|object| object.kind)
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
