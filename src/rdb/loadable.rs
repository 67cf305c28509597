//! Looks at a value as a server does that loads it in its default configuration (`rdbLoadObject`, rdb.c), to tell what
//! it would refuse.
//!
//! A server looks inside what it converts, and at nothing but the frame of what it keeps as it stands. What has few
//! elements it keeps in a listpack or an intset, members that stand there twice and all.

use super::blob;
use super::compact::{Blob, LISTPACK_ENTRY};
use super::elements::{Element, FIELD_DEADLINE_MAX_MS, Look, look};
use super::extent::CONTAINER_PLAIN;
use super::fault::{Bad, Fault, damage};
use super::kind::Kind;
use super::reader::Object;
use super::repeats::Repeats;
use super::scan::{Text, bytes, check_text, length, text};
use super::{listpack, stream};
use crate::error::shown;

/// Up to so many elements stay in their compact form: the defaults of `set-max-intset-entries`,
/// `set-max-listpack-entries`, `zset-max-listpack-entries` and `hash-max-listpack-entries`, the same in all servers.
const INTSET_MAX: usize = 512;
const SET_LISTPACK_MAX: usize = 128;
const SORTED_SET_LISTPACK_MAX: usize = 128;
const HASH_LISTPACK_MAX: usize = 512;
/// Up to so many bytes has what stays in a listpack (`hash-max-listpack-value`).
const LISTPACK_VALUE_MAX: usize = 64;

/// Of the earliest deadline that stands before fields.
const TIME_BYTES: u64 = 8;

/// How a server reads what it converts.
const CONVERTED: Look = Look { counts: false, scores: true };

type Checked = Result<(), nom::Err<Bad>>;

/// Refuses what a server refuses of a value whose end was found.
#[inline]
pub fn check(object: &Object<'_>, repeats: &mut Repeats) -> Result<(), Fault> {
    if object.is_bare() { Ok(()) } else { check_inside(object, repeats) }
}

fn check_inside(object: &Object<'_>, repeats: &mut Repeats) -> Result<(), Fault> {
    match judge(object, repeats) {
        Ok(None) => Ok(()),
        Ok(Some(twice)) => Err(Fault::Damage {
            at: object.at,
            expected: "members or fields that stand once in the value",
            found: format!("{} twice", shown(&twice)),
        }),
        Err(bad) => Err(Fault::new(bad, object.body, object.at)),
    }
}

/// Gives what stands twice where it must not.
fn judge(object: &Object<'_>, repeats: &mut Repeats) -> Result<Option<Vec<u8>>, nom::Err<Bad>> {
    let body = object.body;
    match object.kind {
        Kind::Module => Ok(None),
        Kind::String => check_text(body).map(|_| None),
        Kind::List => texts(body).map(|()| None),
        Kind::ListQuicklist2 => nodes(body).map(|()| None),
        Kind::Stream | Kind::Stream2 | Kind::Stream3 => stream::check(object.kind, body).map(|()| None),
        Kind::ListZiplist | Kind::ListQuicklist => look(object, CONVERTED, |_| ()).map(|()| None),
        Kind::Set | Kind::SortedSet | Kind::SortedSet2 | Kind::HashFieldsValkey => {
            repeats.find(object, CONVERTED, length(body)?.1)
        }
        Kind::Hash | Kind::HashFieldsEarly => hash(object, length(body)?.1, repeats),
        Kind::HashFields => hash(object, length(bytes(body, TIME_BYTES)?.0)?.1, repeats),
        Kind::SetIntset => intset(object, repeats),
        Kind::SortedSetZiplist | Kind::HashZiplist | Kind::HashZipmap => converted(object, repeats),
        Kind::SetListpack => in_listpack(object, (1, SET_LISTPACK_MAX), repeats),
        Kind::SortedSetListpack => in_listpack(object, (2, SORTED_SET_LISTPACK_MAX), repeats),
        Kind::HashListpack => in_listpack(object, (2, HASH_LISTPACK_MAX), repeats),
        Kind::HashFieldsListpackEarly => fields_in_listpack(object, body, repeats),
        Kind::HashFieldsListpack => fields_in_listpack(object, bytes(body, TIME_BYTES)?.0, repeats),
    }
}

fn texts(body: &[u8]) -> Checked {
    let (mut rest, count) = length(body)?;
    for _ in 0..count {
        rest = check_text(rest)?.0;
    }
    Ok(())
}

fn nodes(body: &[u8]) -> Checked {
    let (mut rest, count) = length(body)?;
    for _ in 0..count {
        let (node, container) = length(rest)?;
        if container == CONTAINER_PLAIN {
            check_text(node)?;
        } else {
            listpack_length(node)?;
        }
        rest = text(node)?.0;
    }
    Ok(())
}

/// The number of entries of the listpack that a body begins with, whose frame is sound.
fn listpack_length(body: &[u8]) -> Result<usize, nom::Err<Bad>> {
    let (_, blob) = Blob::read(body)?;
    // The end of a compressed one was not seen yet.
    blob::listpack_is_empty(Text::Plain(&blob.bytes), 1, body.len())?;
    listpack::length(&blob.bytes).map_err(|at| blob.damaged(at, LISTPACK_ENTRY))
}

/// Kept as a listpack as long as everything is short, and never looked at.
fn hash(object: &Object<'_>, fields: u64, repeats: &mut Repeats) -> Result<Option<Vec<u8>>, nom::Err<Bad>> {
    let mut is_converted = fields > HASH_LISTPACK_MAX as u64;
    if !is_converted {
        look(object, CONVERTED, |element| {
            if let Element::Field { field, value, .. } = element {
                is_converted |= field.len().max(value.len()) > LISTPACK_VALUE_MAX;
            }
        })?;
    }
    if is_converted { repeats.find(object, CONVERTED, fields) } else { Ok(None) }
}

fn intset(object: &Object<'_>, repeats: &mut Repeats) -> Result<Option<Vec<u8>>, nom::Err<Bad>> {
    let members = elements(object, CONVERTED)?;
    if members > INTSET_MAX as u64 { repeats.find(object, CONVERTED, members) } else { Ok(None) }
}

/// Forms that no server keeps. Their scores are read only if there are too many for a listpack.
fn converted(object: &Object<'_>, repeats: &mut Repeats) -> Result<Option<Vec<u8>>, nom::Err<Bad>> {
    let pairs = elements(object, Look { scores: false, ..CONVERTED })?;
    let scores = pairs > SORTED_SET_LISTPACK_MAX as u64;
    repeats.find(object, Look { scores, ..CONVERTED }, pairs)
}

fn in_listpack(
    object: &Object<'_>,
    (tuple, elements_max): (usize, usize),
    repeats: &mut Repeats,
) -> Result<Option<Vec<u8>>, nom::Err<Bad>> {
    if listpack_length(object.body)? / tuple <= elements_max {
        return Ok(None);
    }
    repeats.find(object, CONVERTED, elements(object, CONVERTED)?)
}

/// Field, value and deadline in turn, in the listpack that `body` begins with. The deadlines are looked at always, since
/// they are shifted.
fn fields_in_listpack(
    object: &Object<'_>,
    body: &[u8],
    repeats: &mut Repeats,
) -> Result<Option<Vec<u8>>, nom::Err<Bad>> {
    let length = listpack_length(body)? / 3;
    if length == 0 {
        return Ok(None);
    }
    let (mut fields, mut latest_ms) = (0, 0);
    look(object, CONVERTED, |element| {
        fields += 1;
        if let Element::Field { deadline_ms: Some(deadline), .. } = element {
            latest_ms = deadline.max(latest_ms);
        }
    })?;
    if length <= HASH_LISTPACK_MAX {
        return Ok(None);
    }
    if latest_ms > FIELD_DEADLINE_MAX_MS as i64 {
        return Err(damage(body, "fields with deadlines below 2^48"));
    }
    repeats.find(object, CONVERTED, fields)
}

/// How many elements there are, all of which are looked at.
fn elements(object: &Object<'_>, how: Look) -> Result<u64, nom::Err<Bad>> {
    let mut count = 0;
    look(object, how, |_| count += 1)?;
    Ok(count)
}

#[cfg(test)]
#[path = "loadable_tests.rs"]
mod tests;
