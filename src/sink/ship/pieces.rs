//! Brings a large key piece by piece.

use redis::RedisError;

use super::stream::{Stream, Whole};
use super::{Depot, GONE, Terms, delete};
use crate::error::{Error, Kind, shown};
use crate::marker::Marker;
use crate::rdb::Kind as ValueKind;
use crate::sink::{Fault, OwnCommand, Sink};

/// Bytes in one piece, about: an element may be longer than they are in the mean.
const PIECE_BYTES: u64 = 4 << 20;
/// Elements in one piece at most, about.
const ELEMENTS_MAX: u64 = 128;

/// The error for a key that cannot go at all.
pub(super) fn too_large(target: &str, key: &[u8], bytes: u64) -> Error {
    Error::new(Kind::Stopped, "a key that has to be brought from one target to another is too large for it")
        .place("target", target)
        .place("key", shown(key))
        .place("memory it takes", format!("{bytes} bytes"))
        .remedy("raise the target's proto-max-bulk-len; then run the same command again, it resumes")
}

/// The error for one that its target does not know.
pub(super) fn unknown(target: &str, key: &[u8], kind: ValueKind) -> Error {
    Error::new(Kind::Stopped, "a key that has to be brought to a target is of a type that it does not know")
        .place("target", target)
        .place("key", shown(key))
        .place("type", kind.name())
        .remedy("start over with --restart, with targets of at least the version, and the product, that wrote the source")
}

fn kind(depot: &mut Depot, key: &[u8]) -> Result<String, RedisError> {
    redis::cmd("TYPE").arg(key).query(&mut depot.connection)
}

/// How many elements make a piece of a key, by the memory that they take in the mean.
fn elements_in_piece(depot: &mut Depot, key: &[u8], kind: &str) -> Result<u64, RedisError> {
    let count = match kind {
        "list" => "LLEN",
        "set" => "SCARD",
        "zset" => "ZCARD",
        "hash" => "HLEN",
        "stream" => "XLEN",
        _ => return Ok(ELEMENTS_MAX),
    };
    let bytes = depot.sizes(&[key])?.first().copied().flatten().unwrap_or_default();
    let count: u64 = redis::cmd(count).arg(key).query(&mut depot.connection)?;
    Ok((PIECE_BYTES / (bytes / count.max(1)).max(1)).clamp(1, ELEMENTS_MAX))
}

/// Brings a key; false if it can only go as a whole.
pub(super) fn ship(
    depot: &mut Depot,
    (sink, marker): (&mut dyn Sink, &Marker),
    (db, key): (u32, &[u8]),
    terms: Terms,
) -> Result<bool, Fault> {
    let kind = kind(depot, key).map_err(|error| depot.failed(&error))?;
    let stream = match kind.as_str() {
        "string" | "list" | "set" | "zset" | "hash" | "none" => None,
        "stream" => match Stream::look(depot, key, terms).map_err(|error| depot.failed(&error))? {
            Ok(stream) => Some(stream),
            Err(Whole::Indivisible) => return Ok(false),
            Err(Whole::Unknown(kind)) => return Err(Fault::Fatal(unknown(&sink.name(), key, kind))),
        },
        _ => return Ok(false),
    };
    sink.run(marker, db, &[delete(key)])?;
    let deadlines = depot.deadlines(&[key]).map_err(|error| depot.failed(&error))?;
    let deadline = deadlines.first().copied().unwrap_or(GONE);
    if deadline == GONE {
        return depot.enter(db).map(|()| true);
    }
    let elements = elements_in_piece(depot, key, &kind).map_err(|error| depot.failed(&error))?;
    let mut pieces = Pieces { depot, key, terms, kind, elements, at: 0, cursor: None, stream };
    loop {
        let commands = pieces.next().map_err(|error| pieces.depot.failed(&error))?;
        // What was read is only right if the marker was there all the time.
        pieces.depot.enter(db)?;
        match commands {
            None => break,
            Some(commands) if commands.is_empty() => {}
            Some(commands) => sink.run(marker, db, &commands)?,
        }
    }
    // Of a key that has expired on the way this removes what was brought.
    if deadline >= 0 {
        let deadline = terms.deadline(deadline).to_string().into_bytes();
        sink.run(marker, db, &[vec![b"PEXPIREAT".to_vec(), key.to_vec(), deadline]])?;
    }
    Ok(true)
}

struct Pieces<'d> {
    depot: &'d mut Depot,
    key: &'d [u8],
    terms: Terms,
    kind: String,
    /// Elements in one piece.
    elements: u64,
    /// How much of a string or list has been read.
    at: u64,
    /// Where a scan goes on.
    cursor: Option<String>,
    /// How far a stream is.
    stream: Option<Stream>,
}

impl Pieces<'_> {
    /// The commands of the next piece; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<OwnCommand>>, RedisError> {
        match self.kind.as_str() {
            "string" => self.string(),
            "list" => self.list(),
            "set" => self.scan("SSCAN", b"SADD", |members| members),
            "zset" => self.scan("ZSCAN", b"ZADD", |mut pairs| {
                // A score comes before its member.
                pairs.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
                pairs
            }),
            "hash" => self.hash(),
            _ => match &mut self.stream {
                Some(stream) => stream.next(self.depot, self.key, self.elements),
                None => Ok(None),
            },
        }
    }

    fn command(&self, name: &[u8], arguments: impl IntoIterator<Item = Vec<u8>>) -> OwnCommand {
        [name.to_vec(), self.key.to_vec()].into_iter().chain(arguments).collect()
    }

    fn string(&mut self) -> Result<Option<Vec<OwnCommand>>, RedisError> {
        let mut read = redis::cmd("GETRANGE");
        read.arg(self.key).arg(self.at).arg(self.at + PIECE_BYTES - 1);
        let piece: Vec<u8> = read.query(&mut self.depot.connection)?;
        self.at += piece.len() as u64;
        Ok((!piece.is_empty()).then(|| vec![self.command(b"APPEND", [piece])]))
    }

    fn list(&mut self) -> Result<Option<Vec<OwnCommand>>, RedisError> {
        let mut read = redis::cmd("LRANGE");
        read.arg(self.key).arg(self.at).arg(self.at + self.elements - 1);
        let piece: Vec<Vec<u8>> = read.query(&mut self.depot.connection)?;
        self.at += piece.len() as u64;
        Ok((!piece.is_empty()).then(|| vec![self.command(b"RPUSH", piece)]))
    }

    /// What the next step of a scan finds; `None` at its end.
    fn scanned(&mut self, scan: &str) -> Result<Option<Vec<Vec<u8>>>, RedisError> {
        if self.cursor.as_deref() == Some("0") {
            return Ok(None);
        }
        let mut read = redis::cmd(scan);
        read.arg(self.key).arg(self.cursor.as_deref().unwrap_or("0")).arg("COUNT").arg(self.elements);
        let (next, found): (String, Vec<Vec<u8>>) = read.query(&mut self.depot.connection)?;
        self.cursor = Some(next);
        Ok(Some(found))
    }

    fn scan(
        &mut self,
        scan: &str,
        add: &[u8],
        arrange: impl Fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>,
    ) -> Result<Option<Vec<OwnCommand>>, RedisError> {
        let Some(found) = self.scanned(scan)? else { return Ok(None) };
        let found = arrange(found);
        Ok(Some(if found.is_empty() { Vec::new() } else { vec![self.command(add, found)] }))
    }

    fn hash(&mut self) -> Result<Option<Vec<OwnCommand>>, RedisError> {
        let Some(pairs) = self.scanned("HSCAN")? else { return Ok(None) };
        if pairs.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let fields: Vec<Vec<u8>> = pairs.chunks_exact(2).map(|pair| pair[0].clone()).collect();
        let deadlines = self.field_deadlines(&fields)?;
        // A field may have expired since it was found.
        let is_there = |at: usize| deadlines.get(at) != Some(&GONE);
        let found = pairs.chunks_exact(2).enumerate().filter(|(at, _)| is_there(*at));
        let found: Vec<Vec<u8>> = found.flat_map(|(_, pair)| pair.to_vec()).collect();
        if found.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut commands = vec![self.command(b"HSET", found)];
        for (field, deadline) in fields.iter().zip(deadlines) {
            if deadline >= 0 {
                let deadline = self.terms.field_deadline(deadline);
                let arguments =
                    [deadline.to_string().into_bytes(), b"FIELDS".to_vec(), b"1".to_vec(), field.clone()];
                commands.push(self.command(b"HPEXPIREAT", arguments));
            }
        }
        Ok(Some(commands))
    }

    /// None on a server that knows no deadlines of fields.
    fn field_deadlines(&mut self, fields: &[Vec<u8>]) -> Result<Vec<i64>, RedisError> {
        let mut read = redis::cmd("HPEXPIRETIME");
        read.arg(self.key).arg("FIELDS").arg(fields.len()).arg(fields);
        match read.query(&mut self.depot.connection) {
            Err(error) if error.detail().is_some_and(|text| text.contains("unknown command")) => {
                Ok(Vec::new())
            }
            found => found,
        }
    }
}
