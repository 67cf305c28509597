//! Brings keys from the server that holds them to the lane on which they belong.
//!
//! A key goes as the payload that DUMP gives and RESTORE takes; one that is large goes in pieces, by commands of its
//! type, so that memory stays bounded and no argument is longer than the target takes. Keys are left where they come
//! from. All of it is harmless to repeat as long as nothing has been removed there.

mod fit;
mod pieces;
mod stream;

pub use fit::Terms;

use std::time::Duration;

use redis::{Connection, RedisError};

use self::fit::Fitted;
use super::{Fault, OwnCommand, Sink, Stop, control, server, settle};
use crate::marker::Marker;
use crate::topology::Members;

/// Keys asked for in one go.
const KEYS_MAX: usize = 64;
/// Keys removed in one go.
const REMOVED_MAX: usize = 1000;
/// A key that takes more memory than this on its server, in bytes, is asked for alone.
const SMALL_BYTES_MAX: u64 = 256 << 10;
/// One that takes more than this goes in pieces.
const WHOLE_BYTES_MAX: u64 = 32 << 20;

/// What stands for the deadline of a key or field that is not there (PEXPIRETIME, HPEXPIRETIME).
const GONE: i64 = -2;

/// Where keys are taken from.
pub struct Depot {
    connection: Connection,
    name: String,
    /// The marker's key, and the text that it must hold for the keys to be what they must be.
    guard: Option<(Vec<u8>, String)>,
    /// Whether the server has PEXPIRETIME, once that is known.
    tells: Option<bool>,
}

/// What is under a key.
enum Found {
    Nothing,
    Payload {
        bytes: Vec<u8>,
        deadline_ms: Option<i64>,
    },
    /// It is large.
    Large,
}

impl Depot {
    /// Takes keys over this connection; if there is a `guard`, only while the marker is what it says.
    pub fn new(connection: Connection, name: String, guard: Option<(Vec<u8>, String)>) -> Self {
        Depot { connection, name, guard, tells: None }
    }

    /// Those of a live master, while the marker is this one.
    pub fn of(
        members: &Members,
        marker_key: &[u8],
        marker: Option<Marker>,
        timeout: Duration,
    ) -> Result<Self, Fault> {
        let marker = marker.ok_or_else(|| Fault::Lost("a marker is not known yet".into()))?;
        let (endpoint, connection) = server::connect_to_master(members, None, timeout)?;
        Ok(Depot::new(connection, endpoint.to_string(), Some((marker_key.to_owned(), marker.to_string()))))
    }

    fn failed(&self, error: &RedisError) -> Fault {
        control::fault(&self.name, error)
    }

    /// Selects a database, and makes sure of the marker.
    fn enter(&mut self, db: u32) -> Result<(), Fault> {
        let mut asked = redis::pipe();
        if let Some((key, _)) = &self.guard {
            asked.cmd("SELECT").arg(0).ignore().cmd("GET").arg(key);
        }
        asked.cmd("SELECT").arg(db).ignore();
        let found: Vec<Option<String>> =
            asked.query(&mut self.connection).map_err(|error| self.failed(&error))?;
        match &self.guard {
            Some((_, expected)) if found.first().and_then(Option::as_ref) != Some(expected) => {
                Err(Fault::Marker(format!("the marker of {} is not what was expected", self.name)))
            }
            _ => Ok(()),
        }
    }

    /// The memory that each key takes, of all that is in it; `None` where there is none.
    fn sizes(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<u64>>, RedisError> {
        let mut asked = redis::pipe();
        for key in keys {
            asked.cmd("MEMORY").arg("USAGE").arg(*key).arg("SAMPLES").arg(0);
        }
        asked.query(&mut self.connection)
    }

    /// The deadlines of keys, negative where there is none: [`GONE`] where there is no key. Read before what is under
    /// the keys, which may be gone a moment later; the other way round a key that expires between the two would pass for
    /// one without deadline.
    fn deadlines(&mut self, keys: &[&[u8]]) -> Result<Vec<i64>, RedisError> {
        let tells = match self.tells {
            Some(tells) => tells,
            None => settle::tells_deadlines(&mut self.connection)?,
        };
        self.tells = Some(tells);
        settle::deadlines(&mut self.connection, keys, tells)
    }

    fn payloads(&mut self, keys: &[&[u8]]) -> Result<Vec<Found>, RedisError> {
        let deadlines = self.deadlines(keys)?;
        let mut asked = redis::pipe();
        for key in keys {
            asked.cmd("DUMP").arg(*key);
        }
        let payloads: Vec<Option<Vec<u8>>> = asked.query(&mut self.connection)?;
        let found = payloads.into_iter().zip(deadlines).map(|(bytes, deadline)| match bytes {
            Some(bytes) => Found::Payload { bytes, deadline_ms: (deadline >= 0).then_some(deadline) },
            None => Found::Nothing,
        });
        Ok(found.collect())
    }

    /// Looks under keys of the selected database, without taking in more than is bearable.
    fn look(&mut self, keys: &[&[u8]]) -> Result<Vec<Found>, RedisError> {
        let sizes = self.sizes(keys)?;
        let size = |at: usize| sizes.get(at).copied().flatten();
        let small: Vec<usize> =
            (0..keys.len()).filter(|at| size(*at).is_some_and(|bytes| bytes <= SMALL_BYTES_MAX)).collect();
        let names: Vec<&[u8]> = small.iter().map(|at| keys[*at]).collect();
        let payloads = if names.is_empty() { Vec::new() } else { self.payloads(&names)? };
        let mut found: Vec<Found> = (0..keys.len())
            .map(|at| if size(at).is_some() { Found::Large } else { Found::Nothing })
            .collect();
        for (at, payload) in small.into_iter().zip(payloads) {
            found[at] = payload;
        }
        Ok(found)
    }
}

/// Brings keys of one database into a sink whose marker is `marker`.
pub fn ship(
    depot: &mut Depot,
    (sink, marker): (&mut dyn Sink, &Marker),
    (db, keys): (u32, &[&[u8]]),
    terms: Terms,
    progress: &dyn Fn(u64),
    stop: &Stop,
) -> Result<(), Fault> {
    for some in keys.chunks(KEYS_MAX) {
        if stop.requested() {
            return Err(Fault::Wait("asked to stop".into()));
        }
        depot.enter(db)?;
        let found = depot.look(some).map_err(|error| depot.failed(&error))?;
        let mut commands: Vec<OwnCommand> = Vec::new();
        let mut large: Vec<&[u8]> = Vec::new();
        for (key, found) in some.iter().zip(found) {
            match found {
                Found::Nothing => commands.push(delete(key)),
                Found::Payload { bytes, deadline_ms } => match terms.fit(bytes) {
                    Fitted::Whole(payload) => commands.push(restore(key, payload, deadline_ms, terms)),
                    Fitted::Pieces => large.push(key),
                    Fitted::Unknown(kind) => {
                        return Err(Fault::Fatal(pieces::unknown(&sink.name(), key, kind)));
                    }
                },
                Found::Large => large.push(key),
            }
        }
        // What was read is only right if the marker was there all the time.
        depot.enter(db)?;
        if !commands.is_empty() {
            sink.run(marker, db, &commands)?;
        }
        for key in large {
            ship_large(depot, (sink, marker), (db, key), terms)?;
        }
        progress(some.len() as u64);
    }
    Ok(())
}

/// Removes keys from the lane that has held them; `progress` is told how many more are gone.
pub fn remove(
    sink: &mut dyn Sink,
    marker: &Marker,
    (db, keys): (u32, &[&[u8]]),
    progress: &dyn Fn(u64),
) -> Result<(), Fault> {
    for some in keys.chunks(REMOVED_MAX) {
        let names = some.iter().map(|key| key.to_vec());
        sink.run(marker, db, &[std::iter::once(b"UNLINK".to_vec()).chain(names).collect()])?;
        progress(some.len() as u64);
    }
    Ok(())
}

fn ship_large(
    depot: &mut Depot,
    (sink, marker): (&mut dyn Sink, &Marker),
    (db, key): (u32, &[u8]),
    terms: Terms,
) -> Result<(), Fault> {
    let size = depot.sizes(&[key]).map_err(|error| depot.failed(&error))?;
    let bytes = size.first().copied().flatten().unwrap_or_default();
    let is_bearable = bytes <= WHOLE_BYTES_MAX;
    if is_bearable && ship_whole(depot, (sink, marker), (db, key), terms)? {
        return Ok(());
    }
    if pieces::ship(depot, (sink, marker), (db, key), terms)? {
        return Ok(());
    }
    match !is_bearable && ship_whole(depot, (sink, marker), (db, key), terms)? {
        true => Ok(()),
        false => Err(Fault::Fatal(pieces::too_large(&sink.name(), key, bytes))),
    }
}

/// False if it cannot go as a whole.
fn ship_whole(
    depot: &mut Depot,
    (sink, marker): (&mut dyn Sink, &Marker),
    (db, key): (u32, &[u8]),
    terms: Terms,
) -> Result<bool, Fault> {
    let found = depot.payloads(&[key]).map_err(|error| depot.failed(&error))?;
    let Some(Found::Payload { bytes, deadline_ms }) = found.into_iter().next() else {
        depot.enter(db)?;
        return sink.run(marker, db, &[delete(key)]).map(|()| true);
    };
    match terms.fit(bytes) {
        Fitted::Whole(payload) => {
            depot.enter(db)?;
            sink.run(marker, db, &[restore(key, payload, deadline_ms, terms)])?;
            Ok(true)
        }
        Fitted::Unknown(kind) => Err(Fault::Fatal(pieces::unknown(&sink.name(), key, kind))),
        Fitted::Pieces => Ok(false),
    }
}

/// An earlier attempt may have left pieces of a key that has expired since.
fn delete(key: &[u8]) -> OwnCommand {
    vec![b"DEL".to_vec(), key.to_vec()]
}

fn restore(key: &[u8], payload: Vec<u8>, deadline_ms: Option<i64>, terms: Terms) -> OwnCommand {
    let deadline = deadline_ms.map_or(0, |deadline| terms.deadline(deadline)).to_string().into_bytes();
    vec![b"RESTORE".to_vec(), key.to_vec(), deadline, payload, b"REPLACE".to_vec(), b"ABSTTL".to_vec()]
}
