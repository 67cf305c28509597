//! Brings a large stream: first all but its entries, as the payload of a copy without them, then its entries, then where
//! its ids stand.

use redis::RedisError;

use super::{Depot, Terms};
use crate::rdb::stream_parts::{self, Bare};
use crate::rdb::{Kind, payload};
use crate::sink::OwnCommand;

/// An entry's id, and fields and values in turn.
type Entry = (String, Vec<Vec<u8>>);

/// What begins and ends the pieces of a stream, and how far they are.
#[derive(Debug)]
pub(super) struct Stream {
    kind: Kind,
    bare: Bare,
    /// The id of the last entry brought; nothing before all of them.
    last: Option<String>,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Bare,
    Entries,
    Ids,
    End,
}

/// What a stream is like that cannot go in pieces.
#[derive(Debug)]
pub(super) enum Whole {
    /// Only as a whole.
    Indivisible,
    /// Not at all: what takes it in does not know its kind.
    Unknown(Kind),
}

impl Stream {
    /// Looks at the stream under a key of the selected database.
    pub(super) fn look(
        depot: &mut Depot,
        key: &[u8],
        terms: Terms,
    ) -> Result<Result<Stream, Whole>, RedisError> {
        let payload = without_entries(depot, key)?;
        // If it is gone by now, there is no payload.
        let Ok(object) = payload::open(&payload) else { return Ok(Err(Whole::Indivisible)) };
        let kind = object.kind;
        if terms.takes.is_some_and(|takes| !takes.kind(kind)) {
            return Ok(Err(Whole::Unknown(kind)));
        }
        let bare = stream_parts::without_entries(&object).ok();
        // Where it goes what groups have read would be estimated, without the entries.
        let estimated =
            |bare: &Bare| bare.is_uncounted && terms.takes.is_none_or(|takes| takes.kind(Kind::Stream2));
        let short =
            |bare: &Bare| !estimated(bare) && payload::length(&bare.body) <= terms.argument_bytes_max();
        let stream = |bare| Stream { kind, bare, last: None, step: Step::Bare };
        Ok(bare.filter(short).map(stream).ok_or(Whole::Indivisible))
    }

    /// The commands of the next piece, of so many entries; `None` at the end.
    pub(super) fn next(
        &mut self,
        depot: &mut Depot,
        key: &[u8],
        entries: u64,
    ) -> Result<Option<Vec<OwnCommand>>, RedisError> {
        let command = |name: &[u8], arguments: Vec<Vec<u8>>| {
            [name.to_vec(), key.to_vec()].into_iter().chain(arguments).collect::<OwnCommand>()
        };
        match self.step {
            Step::Bare => {
                self.step = Step::Entries;
                let payload = payload::payload(self.kind, &self.bare.body);
                Ok(Some(vec![command(b"RESTORE", vec![b"0".to_vec(), payload, b"REPLACE".to_vec()])]))
            }
            Step::Entries => {
                let entries = self.entries(depot, key, entries)?;
                match entries.last() {
                    Some((id, _)) => self.last = Some(id.clone()),
                    None => self.step = Step::Ids,
                }
                let add = |(id, parts): Entry| {
                    command(b"XADD", std::iter::once(id.into_bytes()).chain(parts).collect())
                };
                Ok(Some(entries.into_iter().map(add).collect()))
            }
            Step::Ids => {
                self.step = Step::End;
                let added = self.bare.added.map(|added| added.to_string().into_bytes());
                let added = added.into_iter().flat_map(|added| [b"ENTRIESADDED".to_vec(), added]);
                let last = self.bare.last.to_string().into_bytes();
                Ok(Some(vec![command(b"XSETID", std::iter::once(last).chain(added).collect())]))
            }
            Step::End => Ok(None),
        }
    }

    fn entries(&mut self, depot: &mut Depot, key: &[u8], count: u64) -> Result<Vec<Entry>, RedisError> {
        let from = self.last.as_ref().map_or_else(|| "-".to_owned(), |last| format!("({last}"));
        let mut read = redis::cmd("XRANGE");
        read.arg(key).arg(from).arg("+").arg("COUNT").arg(count);
        read.query(&mut depot.connection)
    }
}

/// What DUMP gives of a stream's copy whose entries are trimmed away. Nobody else sees the copy, and it is gone with the
/// transaction.
fn without_entries(depot: &mut Depot, key: &[u8]) -> Result<Vec<u8>, RedisError> {
    // Nobody else's name.
    let copy = format!("redcluster-load:{:016x}{:016x}", crate::random(), crate::random());
    let mut asked = redis::pipe();
    asked.atomic();
    asked.cmd("COPY").arg(key).arg(&copy).ignore();
    asked.cmd("XTRIM").arg(&copy).arg("MAXLEN").arg(0).ignore();
    asked.cmd("DUMP").arg(&copy);
    asked.cmd("DEL").arg(&copy).ignore();
    let (payload,): (Option<Vec<u8>>,) = asked.query(&mut depot.connection)?;
    Ok(payload.unwrap_or_default())
}
