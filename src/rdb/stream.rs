//! Steps over a stream: its listpacks of entries, its ids, its consumer groups; and looks at it as a server does that
//! loads it (`rdbLoadObject`, rdb.c).

use std::borrow::Cow;
use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::blob::{self, DamagedAt, Piece, Walk};
use super::compact::{Blob, LISTPACK_ENTRY};
use super::fault::{Bad, damage};
use super::kind::Kind;
use super::listpack;
use super::scan::{Parsed, Text, bytes, length, number, text};

/// Milliseconds and sequence, raw.
pub(super) const ID_BYTES: u64 = 16;
const TIME_BYTES: u64 = 8;

/// Set in the flags of an entry that was deleted.
pub(super) const DELETED: i64 = 1;
/// Set in those of an entry that has the fields of its node's first, so that only its values follow.
pub(super) const SAME_FIELDS: i64 = 2;

type Id = [u8; ID_BYTES as usize];
type Seen = Result<(), nom::Err<Bad>>;

/// What the versions of the format differ in.
#[derive(Clone, Copy)]
struct Layout {
    /// First id, highest deleted id, entries added; entries read of each group.
    has_offsets: bool,
    /// When a consumer was last active, beside when it was last seen.
    has_active_time: bool,
}

/// Is shown the parts of a stream, in their order; each with the input that it begins.
trait Watch<'a> {
    fn node(&mut self, _id: Text<'a>, _entries: &'a [u8]) -> Seen {
        Ok(())
    }
    fn length(&mut self, _at: &'a [u8], _entries: u64) -> Seen {
        Ok(())
    }
    fn group(&mut self, _at: &'a [u8], _name: Text<'a>) -> Seen {
        Ok(())
    }
    fn pending(&mut self, _id: &'a [u8]) {}
    fn consumer(&mut self, _at: &'a [u8], _name: Text<'a>) -> Seen {
        Ok(())
    }
    fn owned(&mut self, _at: &'a [u8], _id: &'a [u8]) -> Seen {
        Ok(())
    }
    /// Behind the entries that are pending for a group.
    fn end_of_pending(&mut self, _at: &'a [u8]) -> Seen {
        Ok(())
    }
}

struct Nobody;
impl Watch<'_> for Nobody {}

pub(super) fn skip(kind: Kind, input: &[u8]) -> Parsed<'_, ()> {
    walk(kind, input, &mut Nobody)
}

/// Steps over what follows the last id delivered to a consumer group, in the format before version 2.
pub(super) fn skip_group_behind_id(input: &[u8]) -> Parsed<'_, ()> {
    readers(input, Layout { has_offsets: false, has_active_time: false }, &mut Nobody)
}

/// Looks at a whole stream as a server does. What is in the entries it does not look at.
pub(super) fn check(kind: Kind, input: &[u8]) -> Seen {
    // Later forms have the first id beside the nodes.
    walk(kind, input, &mut Loading { seeks_first: kind == Kind::Stream, ..Loading::default() }).map(drop)
}

fn walk<'a>(kind: Kind, input: &'a [u8], watch: &mut impl Watch<'a>) -> Parsed<'a, ()> {
    let layout = Layout { has_offsets: kind != Kind::Stream, has_active_time: kind == Kind::Stream3 };
    let (at_length, ()) = repeated(input, |input| entries(input, watch))?;
    let (rest, entries) = length(at_length)?;
    watch.length(at_length, entries)?;
    // The last id.
    let (rest, ()) = numbers(rest, 2)?;
    let (rest, ()) = numbers(rest, if layout.has_offsets { 5 } else { 0 })?;
    repeated(rest, |input| group(input, layout, watch))
}

/// One node: the id that its entries count from, and their listpack.
fn entries<'a>(input: &'a [u8], watch: &mut impl Watch<'a>) -> Parsed<'a, ()> {
    let (at_entries, id) = text(input)?;
    if id.len() != Some(ID_BYTES as usize) {
        return Err(damage(input, "a stream id of 16 bytes"));
    }
    let (rest, _) = text(at_entries)?;
    watch.node(id, at_entries)?;
    Ok((rest, ()))
}

fn group<'a>(input: &'a [u8], layout: Layout, watch: &mut impl Watch<'a>) -> Parsed<'a, ()> {
    let (rest, name) = text(input)?;
    watch.group(input, name)?;
    // The last id delivered.
    let (rest, ()) = numbers(rest, 2)?;
    let (rest, ()) = numbers(rest, if layout.has_offsets { 1 } else { 0 })?;
    readers(rest, layout, watch)
}

/// What is pending for a group, and its consumers.
fn readers<'a>(input: &'a [u8], layout: Layout, watch: &mut impl Watch<'a>) -> Parsed<'a, ()> {
    let (rest, ()) = repeated(input, |input| pending(input, watch))?;
    watch.end_of_pending(rest)?;
    repeated(rest, |input| consumer(input, layout, watch))
}

/// An entry that was delivered and not acknowledged: id, time and number of deliveries.
fn pending<'a>(input: &'a [u8], watch: &mut impl Watch<'a>) -> Parsed<'a, ()> {
    let (rest, id) = bytes(input, ID_BYTES)?;
    watch.pending(id);
    numbers(bytes(rest, TIME_BYTES)?.0, 1)
}

fn consumer<'a>(input: &'a [u8], layout: Layout, watch: &mut impl Watch<'a>) -> Parsed<'a, ()> {
    let (rest, name) = text(input)?;
    watch.consumer(input, name)?;
    let (rest, _) = bytes(rest, if layout.has_active_time { 2 * TIME_BYTES } else { TIME_BYTES })?;
    repeated(rest, |input| {
        let (rest, id) = bytes(input, ID_BYTES)?;
        watch.owned(input, id)?;
        Ok((rest, ()))
    })
}

fn numbers(mut input: &[u8], count: usize) -> Parsed<'_, ()> {
    for _ in 0..count {
        input = length(input)?.0;
    }
    Ok((input, ()))
}

/// A count, and as many of something that takes at least a byte each, so that the input ends a wrong
/// count.
fn repeated<'a>(input: &'a [u8], mut each: impl FnMut(&'a [u8]) -> Parsed<'a, ()>) -> Parsed<'a, ()> {
    let (mut rest, count) = number(input)?;
    for _ in 0..count {
        rest = each(rest)?.0;
    }
    Ok((rest, ()))
}

/// What a server remembers of a stream that it loads.
#[derive(Default)]
struct Loading<'a> {
    seeks_first: bool,
    nodes: Vec<Id>,
    /// The nodes again and their listpacks, if the first entry is sought in them.
    listpacks: Vec<(Id, &'a [u8])>,
    groups: HashSet<Cow<'a, [u8]>, RandomState>,
    consumers: HashSet<Cow<'a, [u8]>, RandomState>,
    /// Pending in the group, and whether a consumer has been found that has it.
    pending: Vec<Id>,
    is_owned: Vec<bool>,
}

impl<'a> Watch<'a> for Loading<'a> {
    fn node(&mut self, id: Text<'a>, entries: &'a [u8]) -> Seen {
        let id = *id.bytes()?.first_chunk().ok_or(damage(entries, "a stream id of 16 bytes"))?;
        self.nodes.push(id);
        if self.seeks_first {
            self.listpacks.push((id, entries));
        }
        let (_, blob) = Blob::read(entries)?;
        blob::listpack_is_empty(Text::Plain(&blob.bytes), 1, entries.len())?;
        match listpack::entries_uncounted(&blob.bytes).next() {
            Some(Ok(_)) => Ok(()),
            Some(Err(at)) => Err(blob.damaged(at, LISTPACK_ENTRY)),
            None => Err(damage(entries, "a listpack with entries")),
        }
    }

    fn length(&mut self, at: &'a [u8], entries: u64) -> Seen {
        if entries > 0 && self.nodes.is_empty() {
            return Err(damage(at, "the length of a stream without entries"));
        }
        all_differ(&mut self.nodes, at, "first ids of nodes that all differ")?;
        self.listpacks.sort_unstable();
        for (_, listpack) in self.listpacks.drain(..) {
            let (_, blob) = Blob::read(listpack)?;
            let expected = "a listpack of entries of a stream";
            if has_entry(&blob.bytes).ok_or(damage(listpack, expected))? {
                break;
            }
        }
        Ok(())
    }

    fn group(&mut self, at: &'a [u8], name: Text<'a>) -> Seen {
        self.consumers.clear();
        self.pending.clear();
        let is_new = self.groups.insert(name.bytes()?);
        if is_new { Ok(()) } else { Err(damage(at, "the name of another consumer group")) }
    }

    fn pending(&mut self, id: &'a [u8]) {
        self.pending.extend(id.first_chunk());
    }

    fn consumer(&mut self, at: &'a [u8], name: Text<'a>) -> Seen {
        let is_new = self.consumers.insert(name.bytes()?);
        if is_new { Ok(()) } else { Err(damage(at, "the name of another consumer")) }
    }

    fn end_of_pending(&mut self, at: &'a [u8]) -> Seen {
        self.is_owned.clear();
        self.is_owned.resize(self.pending.len(), false);
        all_differ(&mut self.pending, at, "pending entries that all differ")
    }

    fn owned(&mut self, at: &'a [u8], id: &'a [u8]) -> Seen {
        let found = self.pending.binary_search_by(|pending| pending.as_slice().cmp(id)).ok();
        let is_owned = found.and_then(|found| self.is_owned.get_mut(found));
        let is_owned = is_owned.ok_or(damage(at, "an entry that is pending in the group"))?;
        // Servers that lack a later correction let another consumer have it too.
        if std::mem::replace(is_owned, true) {
            Err(damage(at, "an entry that no consumer has yet"))
        } else {
            Ok(())
        }
    }
}

/// Whether a node has an entry that is not deleted; nothing if what a server reads to find that out is damaged
/// (`streamIteratorGetID`, t_stream.c).
fn has_entry(node: &[u8]) -> Option<bool> {
    let mut entries = listpack::entries_uncounted(node);
    let skip =
        |entries: &mut Walk<_>, count: u64| (0..count).try_for_each(|_| entries.next()?.ok().map(drop));
    // How many there are, how many are deleted; behind the fields a mark of the end.
    skip(&mut entries, 2)?;
    let fields = integer(entries.next())?;
    skip(&mut entries, fields as u64)?;
    skip(&mut entries, 1)?;
    while let Some(flags) = entries.next() {
        let flags = integer(Some(flags))?;
        integer(entries.next())?;
        integer(entries.next())?;
        let values = match flags & SAME_FIELDS {
            0 => integer(entries.next())?.wrapping_mul(2),
            _ => fields,
        };
        if flags & DELETED == 0 {
            // A server has come to what follows by then.
            return (!matches!(entries.next(), Some(Err(_)))).then_some(true);
        }
        // And the number of parts of this entry.
        skip(&mut entries, values as u64)?;
        skip(&mut entries, 1)?;
    }
    Some(false)
}

fn integer(entry: Option<Result<Piece<'_>, DamagedAt>>) -> Option<i64> {
    match entry?.ok()? {
        Piece::Number(number) => Some(number),
        Piece::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// Sorts ids, which most often are sorted, and looks whether each stands there once.
fn all_differ(ids: &mut [Id], at: &[u8], expected: &'static str) -> Seen {
    let is_ascending = ids.is_sorted_by(|one, next| one < next);
    if !is_ascending {
        ids.sort_unstable();
    }
    match is_ascending || ids.is_sorted_by(|one, next| one < next) {
        true => Ok(()),
        false => Err(damage(at, expected)),
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
