//! Puts right, on a live master, the deadlines of hash fields that were moved for the time of the load.

use redis::{Connection, RedisError};

use crate::command::fields::before_loading;

/// Fields asked for in one go; a hash in a listpack gives all it has.
const FIELDS_MAX: usize = 1000;

/// How servers call the number of hashes in a database whose fields have deadlines, in a line of INFO keyspace.
const COUNTS: [&str; 2] = ["subexpiry=", "keys_with_volatile_items="];

/// Whether a line of INFO keyspace tells of deadlines of fields.
pub(super) fn has_any(line: &str) -> bool {
    COUNTS
        .iter()
        .any(|name| line.split(',').any(|part| part.strip_prefix(name).is_some_and(|count| count != "0")))
}

/// Puts the deadlines back that were moved, in those of `keys` that are hashes. Harmless to repeat.
pub(super) fn unshift(connection: &mut Connection, keys: &[&[u8]]) -> Result<(), RedisError> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut asked = redis::pipe();
    for key in keys {
        asked.cmd("TYPE").arg(*key);
    }
    let types: Vec<String> = asked.query(connection)?;
    let hashes = keys.iter().zip(types).filter(|(_, kind)| kind == "hash");
    let mut open: Vec<(&[u8], String)> = hashes.map(|(key, _)| (*key, "0".to_owned())).collect();
    while !open.is_empty() {
        let mut scans = redis::pipe();
        for (key, cursor) in &open {
            scans.cmd("HSCAN").arg(*key).arg(cursor).arg("COUNT").arg(FIELDS_MAX).arg("NOVALUES");
        }
        let found: Vec<(String, Vec<Vec<u8>>)> = scans.query(connection)?;
        for ((key, cursor), (next, fields)) in open.iter_mut().zip(found) {
            for some in fields.chunks(FIELDS_MAX) {
                put_right(connection, key, some)?;
            }
            *cursor = next;
        }
        open.retain(|(_, cursor)| cursor != "0");
    }
    Ok(())
}

fn put_right(connection: &mut Connection, key: &[u8], fields: &[Vec<u8>]) -> Result<(), RedisError> {
    let deadlines: Option<Vec<i64>> =
        redis::cmd("HPEXPIRETIME").arg(key).arg("FIELDS").arg(fields.len()).arg(fields).query(connection)?;
    let mut writes = redis::pipe();
    for (field, deadline) in fields.iter().zip(deadlines.unwrap_or_default()) {
        if let Some(right) = before_loading(deadline) {
            writes.cmd("HPEXPIREAT").arg(key).arg(right).arg("FIELDS").arg(1).arg(field).ignore();
        }
    }
    if writes.is_empty() { Ok(()) } else { writes.query(connection) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_tell_of_deadlines_of_fields() {
        let line = |end: &str| format!("db0:keys=12,expires=3,avg_ttl=0{end}");
        for end in ["", ",subexpiry=0", ",keys_with_volatile_items=0"] {
            assert!(!has_any(&line(end)), "{end}");
        }
        for end in [",subexpiry=1", ",subexpiry=10", ",keys_with_volatile_items=2"] {
            assert!(has_any(&line(end)), "{end}");
        }
    }
}
