//! Reads and changes the marker of a live master outside of batches, always by compare and set.

use redis::{Connection, RedisError, Value};

use super::{Fault, control};
use crate::error::{Error, Kind};
use crate::marker::{Marker, Unreadable};

/// What is deleted in the transaction that creates a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flush {
    /// All keys of all databases.
    pub keys: bool,
    /// All function libraries (Redis 7.0 and later).
    pub functions: bool,
}

impl Flush {
    /// Nothing.
    pub const NOTHING: Flush = Flush { keys: false, functions: false };
}

/// The marker in database 0; an error that names the remedy if the key holds something else.
pub fn read(connection: &mut Connection, key: &[u8], name: &str) -> Result<Option<Marker>, Fault> {
    let text = read_text(connection, key).map_err(|error| control::fault(name, &error))?;
    let Some(text) = text else { return Ok(None) };
    let unreadable = |error: Unreadable| {
        let remedy = match error {
            Unreadable::Version(_) => "use the version of redcluster-load that began the load",
            Unreadable::Text(_) => {
                "choose another name with --marker-key, or delete the key if nobody needs it"
            }
        };
        Error::new(Kind::Conflict, "the marker in a target cannot be used")
            .place("target", name)
            .remedy(remedy)
            .caused_by(error)
    };
    let marker = String::from_utf8_lossy(&text).parse::<Marker>().map_err(unreadable)?;
    Ok(Some(marker))
}

fn read_text(connection: &mut Connection, key: &[u8]) -> Result<Option<Vec<u8>>, RedisError> {
    match redis::cmd("GET").arg(key).query(connection) {
        // A key of another type is certainly no marker: its error text is not one either.
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(Some(b"a key that is not a string".to_vec())),
        other => other,
    }
}

/// Puts `new` in place of `old`; [`Fault::Marker`] if `old` is not there.
pub fn exchange(
    connection: &mut Connection,
    key: &[u8],
    old: &Marker,
    new: &Marker,
    name: &str,
) -> Result<(), Fault> {
    let mut commands = redis::pipe();
    commands.atomic().cmd("SET").arg(key).arg(new.to_string()).ignore();
    compare_and(connection, key, Some(&old.to_string()), &commands, name)
}

/// Creates the marker of a load that begins, in one transaction with emptying the target if asked to.
/// `found` is the text of the marker that is replaced, if there is one.
pub fn create(
    connection: &mut Connection,
    key: &[u8],
    found: Option<&Marker>,
    new: &Marker,
    flush: Flush,
    name: &str,
) -> Result<(), Fault> {
    let mut commands = redis::pipe();
    commands.atomic();
    if flush.keys {
        commands.cmd("FLUSHALL").ignore();
    }
    if flush.functions {
        commands.cmd("FUNCTION").arg("FLUSH").ignore();
    }
    commands.cmd("SET").arg(key).arg(new.to_string()).ignore();
    compare_and(connection, key, found.map(Marker::to_string).as_deref(), &commands, name)
}

/// Deletes the marker, if it is `marker`.
pub fn remove(connection: &mut Connection, key: &[u8], marker: &Marker, name: &str) -> Result<(), Fault> {
    let mut commands = redis::pipe();
    commands.atomic().cmd("DEL").arg(key).ignore();
    compare_and(connection, key, Some(&marker.to_string()), &commands, name)
}

fn compare_and(
    connection: &mut Connection,
    key: &[u8],
    expected: Option<&str>,
    commands: &redis::Pipeline,
    name: &str,
) -> Result<(), Fault> {
    let failed = |error: RedisError| control::fault(name, &error);
    let moved = || Fault::Marker(format!("the marker of {name} is not what was expected"));
    redis::cmd("WATCH").arg(key).query::<()>(connection).map_err(failed)?;
    let found = read_text(connection, key).map_err(failed)?;
    if found.as_deref() != expected.map(str::as_bytes) {
        redis::cmd("UNWATCH").query::<()>(connection).map_err(failed)?;
        return Err(moved());
    }
    match commands.query::<Value>(connection).map_err(failed)? {
        Value::Nil => Err(moved()),
        _ => Ok(()),
    }
}
