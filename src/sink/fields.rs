//! Puts the deadlines of hash fields right.

use redis::{Connection, RedisError, Value};

use crate::command::deadline::FIELD_OFFSET_MS;

/// Fields asked about in one command.
const FIELDS_MAX: usize = 1000;

/// Whether a server knows deadlines of hash fields at all.
pub(super) fn are_known(connection: &mut Connection) -> Result<bool, RedisError> {
    let info: Vec<Value> = redis::cmd("COMMAND").arg("INFO").arg("HPEXPIRETIME").query(connection)?;
    Ok(info.iter().any(|info| *info != Value::Nil && *info != Value::Array(Vec::new())))
}

/// Subtracts the offset from the deadlines at or past it, in those of the keys that are hashes. A deadline that has
/// passed then takes its field away. Harmless to repeat.
pub(super) fn unshift(connection: &mut Connection, keys: &[&[u8]]) -> Result<(), RedisError> {
    let mut types = redis::pipe();
    for key in keys {
        types.cmd("TYPE").arg(*key);
    }
    let types: Vec<String> = types.query(connection)?;
    for (key, _) in keys.iter().zip(types).filter(|(_, kind)| kind == "hash") {
        let fields: Vec<Vec<u8>> = redis::cmd("HKEYS").arg(*key).query(connection)?;
        for some in fields.chunks(FIELDS_MAX) {
            unshift_some(connection, key, some)?;
        }
    }
    Ok(())
}

fn unshift_some(connection: &mut Connection, key: &[u8], fields: &[Vec<u8>]) -> Result<(), RedisError> {
    let mut ask = redis::cmd("HPEXPIRETIME");
    ask.arg(key).arg("FIELDS").arg(fields.len()).arg(fields);
    // Nil if the key has gone meanwhile; -1 and -2 stand for no deadline and no field.
    let deadlines: Option<Vec<i64>> = ask.query(connection)?;
    let mut writes = redis::pipe();
    for (field, deadline) in fields.iter().zip(deadlines.unwrap_or_default()) {
        if deadline >= FIELD_OFFSET_MS {
            let deadline = deadline - FIELD_OFFSET_MS;
            writes.cmd("HPEXPIREAT").arg(key).arg(deadline).arg("FIELDS").arg(1).arg(field).ignore();
        }
    }
    if writes.is_empty() { Ok(()) } else { writes.query(connection) }
}
