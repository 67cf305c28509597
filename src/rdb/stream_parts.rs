//! Takes a stream apart into what commands can carry, for targets that limit the size of an argument: all but its entries
//! as a stream of its own, then its entries, then where its ids stand (`rdbLoadObject`, rdb.c; `streamIteratorGetID` and
//! `streamEstimateDistanceFromFirstEverEntry`, t_stream.c).

use std::borrow::Cow;
use std::fmt;

use super::blob::{DamagedAt, Piece, Walk};
use super::compact::{Blob, LISTPACK_ENTRY};
use super::fault::{Bad, Fault, damage};
use super::kind::Kind;
use super::listpack::{self, Entries};
use super::reader::Object;
use super::scan::{Parsed, length, number, text, write_length};
use super::stream::{self, DELETED, ID_BYTES, SAME_FIELDS};

/// Milliseconds and sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Id(pub u64, pub u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// A stream without its entries.
#[derive(Debug, PartialEq, Eq)]
pub struct Bare {
    /// The body of a stream that has the consumer groups, what is pending in them, and the highest deleted id, and takes
    /// any entry.
    pub body: Vec<u8>,
    /// The last id.
    pub last: Id,
    /// How many entries were ever added, where the format tells.
    pub added: Option<u64>,
    /// Whether the format does not tell what the groups have read: servers of 7.0 and later estimate it from the entries
    /// when the stream is loaded, earlier ones do not count it.
    pub is_uncounted: bool,
    /// How many there are.
    length: u64,
}

/// What is left of a stream without its entries.
pub fn without_entries(stream: &Object<'_>) -> Result<Bare, Fault> {
    bare(stream.kind, stream.body).map_err(|bad| Fault::new(bad, stream.body, stream.at))
}

/// The same of a stream's body.
pub(super) fn bare(kind: Kind, body: &[u8]) -> Result<Bare, nom::Err<Bad>> {
    let (mut rest, nodes) = number(body)?;
    for _ in 0..nodes {
        rest = text(text(rest)?.0)?.0;
    }
    let (rest, length) = length(rest)?;
    let (groups, last) = id(rest)?;
    if kind == Kind::Stream {
        let is_uncounted = number(groups)?.1 > 0;
        // No nodes, no entries, and the last id.
        return Ok(Bare { body: [&[0; 4], groups].concat(), last, added: None, is_uncounted, length });
    }
    let (offsets, _first) = id(groups)?;
    let (rest, deleted) = id(offsets)?;
    let (_, added) = self::length(rest)?;
    if last < deleted || added < length {
        return Err(damage(groups, "a stream's ids and counts that fit together"));
    }
    // And the first id.
    let body = [&[0; 6], offsets].concat();
    Ok(Bare { body, last, added: Some(added), is_uncounted: false, length })
}

/// What [`Bare::is_uncounted`] tells of, as a value of [`Kind::Stream2`]: with what a server of 7.0 or later takes the
/// groups to have read that loads the whole stream.
pub(super) fn counted(body: &[u8], bare: &Bare) -> Result<Vec<u8>, nom::Err<Bad>> {
    let mut first = None;
    let until_first: Result<(), Option<nom::Err<Bad>>> = entries(body, bare, |id, _| {
        first = Some(id);
        Err(None)
    });
    if let Err(Some(bad)) = until_first {
        return Err(bad);
    }
    let (mut rest, groups) = number(bare.body.get(4..).unwrap_or_default())?;
    // No nodes, no entries; last, first and highest deleted id, and how many were added.
    let mut counted = vec![0; 9];
    write_length(&mut counted, groups);
    for _ in 0..groups {
        let (behind_id, delivered) = id(text(rest)?.0)?;
        let (behind, ()) = stream::skip_group_behind_id(behind_id)?;
        let length_of = |behind: &[u8]| rest.len() - behind.len();
        let (head, tail) = rest.split_at(length_of(behind_id));
        counted.extend_from_slice(head);
        write_length(&mut counted, entries_read(delivered, first, bare));
        counted.extend_from_slice(tail.get(..length_of(behind) - head.len()).unwrap_or_default());
        rest = behind;
    }
    Ok(counted)
}

/// How many of the entries come up to an id, by what a server knows of a stream none of whose entries counts as deleted.
fn entries_read(delivered: Id, first: Option<Id>, bare: &Bare) -> u64 {
    /// Of -1, as servers store it.
    const UNKNOWN: u64 = u64::MAX;
    match first {
        None => 0,
        Some(_) if delivered == bare.last => bare.length,
        Some(first) if delivered < first => 0,
        Some(first) if delivered == first => 1,
        Some(_) => UNKNOWN,
    }
}

/// Hands on the entries of a stream's body: the id, and fields and values in turn. They have to be as many as `bare` says
/// and in their order, as commands can put no others there.
pub(super) fn entries<E: From<nom::Err<Bad>>>(
    body: &[u8],
    bare: &Bare,
    mut each: impl FnMut(Id, &[Cow<'_, [u8]>]) -> Result<(), E>,
) -> Result<(), E> {
    let (mut rest, nodes) = number(body)?;
    let (mut last, mut count) = (Id::default(), 0);
    for _ in 0..nodes {
        let (at_entries, first) = text(rest)?;
        let first = first.bytes()?;
        let first = raw(&first).ok_or(damage(rest, "a stream id of 16 bytes"))?;
        let (behind, blob) = Blob::read(at_entries)?;
        Node { blob: &blob, walk: listpack::entries_uncounted(&blob.bytes) }.entries(
            first,
            |id, parts| {
                if id <= last || id > bare.last {
                    return Err(damage(at_entries, "entries in the order of their ids").into());
                }
                (last, count) = (id, count + 1);
                each(id, parts)
            },
        )?;
        rest = behind;
    }
    if count == bare.length { Ok(()) } else { Err(damage(rest, "the number of the stream's entries").into()) }
}

fn id(input: &[u8]) -> Parsed<'_, Id> {
    let (rest, milliseconds) = length(input)?;
    let (rest, sequence) = length(rest)?;
    Ok((rest, Id(milliseconds, sequence)))
}

fn raw(bytes: &[u8]) -> Option<Id> {
    let bytes: &[u8; ID_BYTES as usize] = bytes.try_into().ok()?;
    let number = u128::from_be_bytes(*bytes);
    Some(Id((number >> u64::BITS) as u64, number as u64))
}

/// The listpack of a node.
struct Node<'b> {
    blob: &'b Blob<'b>,
    walk: Walk<Entries<'b>>,
}

impl<'b> Node<'b> {
    fn entries<E: From<nom::Err<Bad>>>(
        mut self,
        first: Id,
        mut each: impl FnMut(Id, &[Cow<'b, [u8]>]) -> Result<(), E>,
    ) -> Result<(), E> {
        // How many there are, how many are deleted; behind the fields a mark of the end.
        self.skip(2)?;
        let count = self.number()?;
        let mut fields = Vec::new();
        for _ in 0..count {
            fields.push(self.text()?);
        }
        self.skip(1)?;
        let mut parts = Vec::new();
        while let Some(flags) = self.walk.next() {
            let flags = self.as_number(flags)?;
            let (milliseconds, sequence) = (self.number()?, self.number()?);
            // As servers add them.
            let id = Id(first.0.wrapping_add_signed(milliseconds), first.1.wrapping_add_signed(sequence));
            parts.clear();
            if flags & SAME_FIELDS == 0 {
                for _ in 0..self.number()? {
                    parts.extend([self.text()?, self.text()?]);
                }
            } else {
                for field in &fields {
                    parts.extend([field.clone(), self.text()?]);
                }
            }
            // The number of parts of this entry, to walk back by.
            self.skip(1)?;
            if flags & DELETED == 0 {
                each(id, &parts)?;
            }
        }
        Ok(())
    }

    fn piece(&mut self) -> Result<Piece<'b>, nom::Err<Bad>> {
        let at = DamagedAt(self.walk.at());
        self.walk.next().unwrap_or(Err(at)).map_err(|at| self.blob.damaged(at, LISTPACK_ENTRY))
    }

    fn skip(&mut self, count: usize) -> Result<(), nom::Err<Bad>> {
        (0..count).try_for_each(|_| self.piece().map(drop))
    }

    fn text(&mut self) -> Result<Cow<'b, [u8]>, nom::Err<Bad>> {
        Ok(match self.piece()? {
            Piece::Text(text) => text.into(),
            Piece::Number(number) => number.to_string().into_bytes().into(),
        })
    }

    fn number(&mut self) -> Result<i64, nom::Err<Bad>> {
        let at = DamagedAt(self.walk.at());
        let piece = self.walk.next().unwrap_or(Err(at));
        self.as_number(piece)
    }

    fn as_number(&self, piece: Result<Piece<'b>, DamagedAt>) -> Result<i64, nom::Err<Bad>> {
        match piece {
            Ok(Piece::Number(number)) => Ok(number),
            Ok(Piece::Text(_)) => Err(self.blob.damaged(DamagedAt(self.walk.at()), "a number")),
            Err(at) => Err(self.blob.damaged(at, LISTPACK_ENTRY)),
        }
    }
}
