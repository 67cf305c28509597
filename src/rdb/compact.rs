//! Goes through the entries of a value that is stored in one string: ziplist, listpack, intset, zipmap.

use std::borrow::Cow;

use super::blob::{DamagedAt, Piece, Steps, Walk};
use super::fault::{Bad, Why};
use super::scan::{Parsed, text};
use super::{listpack, ziplist};

/// What is expected where an entry of a listpack is damaged.
pub(super) const LISTPACK_ENTRY: &str = "an entry of a listpack";

/// The decoded string, and where it stands.
#[derive(Debug)]
pub(super) struct Blob<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Bytes between the stored string's first byte and the end of the input.
    left: usize,
    /// Bytes behind the stored string.
    after: usize,
}

/// The encodings whose entries are texts and numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    Ziplist,
    Listpack,
    /// A listpack whose header may be wrong about how many entries there are.
    UncountedListpack,
}

impl<'a> Blob<'a> {
    pub(super) fn read(input: &'a [u8]) -> Parsed<'a, Blob<'a>> {
        let (rest, text) = text(input)?;
        Ok((rest, Blob { bytes: text.bytes()?, left: input.len(), after: rest.len() }))
    }

    /// Damage inside: its place is known to the byte unless the string is compressed.
    pub(super) fn damaged(&self, DamagedAt(at): DamagedAt, expected: &'static str) -> nom::Err<Bad> {
        let left = match &self.bytes {
            Cow::Borrowed(bytes) => self.after + bytes.len().saturating_sub(at),
            Cow::Owned(_) => self.left,
        };
        nom::Err::Error(Bad { left, why: Why::Damage(expected) })
    }

    /// Hands the entries on, `N` at a time.
    pub(super) fn tuples<const N: usize, E: From<nom::Err<Bad>>>(
        &self,
        format: Format,
        each: impl FnMut([Piece<'_>; N]) -> Result<(), E>,
    ) -> Result<(), E> {
        match format {
            Format::Ziplist => self.walk(ziplist::entries(&self.bytes), "an entry of a ziplist", each),
            Format::Listpack => self.walk(listpack::entries(&self.bytes), LISTPACK_ENTRY, each),
            Format::UncountedListpack => {
                self.walk(listpack::entries_uncounted(&self.bytes), LISTPACK_ENTRY, each)
            }
        }
    }

    fn walk<'b, const N: usize, S: Steps<Entry = Piece<'b>>, E: From<nom::Err<Bad>>>(
        &self,
        mut entries: Walk<S>,
        expected: &'static str,
        mut each: impl FnMut([Piece<'b>; N]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let mut tuple = [Piece::Number(0); N];
            for (place, slot) in tuple.iter_mut().enumerate() {
                *slot = match entries.next() {
                    Some(Ok(piece)) => piece,
                    None if place == 0 => return Ok(()),
                    Some(Err(at)) => return Err(self.damaged(at, expected).into()),
                    None => return Err(self.damaged(DamagedAt(entries.at()), expected).into()),
                };
            }
            each(tuple)?;
        }
    }
}
