//! Reads and changes the marker of a live master outside of batches, always by compare and set.

use redis::{Cmd, Connection, RedisError, Value};

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
    let mut set = redis::cmd("SET");
    set.arg(key).arg(new.to_string());
    compare_and(connection, key, Some(&old.to_string()), &[set], name)
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
    let mut commands = Vec::new();
    if flush.keys {
        commands.push(redis::cmd("FLUSHALL"));
    }
    if flush.functions {
        let mut functions = redis::cmd("FUNCTION");
        functions.arg("FLUSH");
        commands.push(functions);
    }
    let mut set = redis::cmd("SET");
    set.arg(key).arg(new.to_string());
    commands.push(set);
    compare_and(connection, key, found.map(Marker::to_string).as_deref(), &commands, name)
}

/// Deletes the marker, if it is `marker`.
pub fn remove(connection: &mut Connection, key: &[u8], marker: &Marker, name: &str) -> Result<(), Fault> {
    let mut delete = redis::cmd("DEL");
    delete.arg(key);
    compare_and(connection, key, Some(&marker.to_string()), &[delete], name)
}

/// Runs `commands` in a transaction, if the marker is the expected one.
///
/// MULTI by itself, and not through the crate's transactions: where it is not permitted, these send the commands all
/// the same, bare.
pub(super) fn compare_and(
    connection: &mut Connection,
    key: &[u8],
    expected: Option<&str>,
    commands: &[Cmd],
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
    redis::cmd("MULTI").query::<()>(connection).map_err(failed)?;
    let mut rest = redis::pipe();
    for command in commands {
        rest.add_command(command.clone()).ignore();
    }
    rest.cmd("EXEC");
    let (executed,): (Value,) = rest.query(connection).map_err(failed)?;
    match executed {
        Value::Nil => Err(moved()),
        _ => Ok(()),
    }
}

/// Refuses a target whose user may not run the transactions that all depends on.
pub fn require_transactions(connection: &mut Connection, key: &[u8]) -> Result<(), RedisError> {
    redis::cmd("WATCH").arg(key).query::<()>(connection)?;
    redis::cmd("MULTI").query::<()>(connection)?;
    redis::cmd("DISCARD").query::<()>(connection)
}
