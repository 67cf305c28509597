//! Settling a live master: deadlines are put right, and the declared replicas waited for.

use std::time::{Duration, Instant};

use redis::{Connection, RedisError};

use super::{Fault, Stop, control};
use crate::command::deadline::OFFSET_NEAR_MS;
use crate::error::{Error, Kind};

/// Keys looked at in one go: a script over them keeps the server for about two milliseconds.
const SCAN_COUNT: u32 = 1000;

/// Scans on from a cursor (its first argument) over about as many keys as the second one says, and
/// subtracts the third from every deadline that is at or past it. Lua's numbers are doubles, exact below 2^53.
pub const UNSHIFT: &str = "local call=redis.call local o=tonumber(ARGV[3]) \
local r=call('SCAN',ARGV[1],'COUNT',ARGV[2]) \
for _,k in ipairs(r[2]) do local d=call('PEXPIRETIME',k) if d>=o then call('PEXPIREAT',k,d-o) end end \
return {r[1],#r[2]}";

/// Puts the deadlines of all keys in all databases right. Harmless to repeat: a deadline that was not
/// shifted, or is put right already, is below the offset.
pub fn unshift(
    connection: &mut Connection,
    name: &str,
    shift_ms: i64,
    stop: &Stop,
    progress: &dyn Fn(u64, u64),
) -> Result<(), Fault> {
    let failed = |error: RedisError| control::fault(name, &error);
    let keyspace: String = redis::cmd("INFO").arg("keyspace").query(connection).map_err(failed)?;
    let keys = control::keys_in(&keyspace);
    let scripts = redis::cmd("EVAL").arg("return 1").arg(0).query::<i64>(connection).is_ok();
    let by_script = scripts && shift_ms <= OFFSET_NEAR_MS;
    let mut seen = 0;
    for line in keyspace.lines() {
        let Some(db) = line.strip_prefix("db").and_then(|rest| rest.split(':').next()) else { continue };
        // A database without deadlines needs no scan.
        if line.contains("expires=0,") {
            continue;
        }
        redis::cmd("SELECT").arg(db).query::<()>(connection).map_err(failed)?;
        let mut cursor = "0".to_owned();
        loop {
            let step = if by_script { by_script_step } else { by_pipeline_step };
            let (next, looked_at) = step(connection, &cursor, shift_ms).map_err(failed)?;
            seen += looked_at;
            progress(seen.min(keys), keys);
            if next == "0" {
                break;
            }
            if stop.requested() {
                return Err(Fault::Wait("asked to stop".into()));
            }
            cursor = next;
        }
    }
    progress(keys, keys);
    redis::cmd("SELECT").arg(0).query::<()>(connection).map_err(failed)
}

fn by_script_step(
    connection: &mut Connection,
    cursor: &str,
    shift_ms: i64,
) -> Result<(String, u64), RedisError> {
    redis::cmd("EVAL").arg(UNSHIFT).arg(0).arg(cursor).arg(SCAN_COUNT).arg(shift_ms).query(connection)
}

/// The same where scripts are not permitted, or their numbers not exact enough.
fn by_pipeline_step(
    connection: &mut Connection,
    cursor: &str,
    shift_ms: i64,
) -> Result<(String, u64), RedisError> {
    let (next, keys): (String, Vec<Vec<u8>>) =
        redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(SCAN_COUNT).query(connection)?;
    let mut reads = redis::pipe();
    for key in &keys {
        reads.cmd("PEXPIRETIME").arg(key);
    }
    let deadlines: Vec<i64> = if keys.is_empty() { Vec::new() } else { reads.query(connection)? };
    let mut writes = redis::pipe();
    let mut any = false;
    for (key, deadline) in keys.iter().zip(deadlines).filter(|(_, deadline)| *deadline >= shift_ms) {
        writes.cmd("PEXPIREAT").arg(key).arg(deadline - shift_ms).ignore();
        any = true;
    }
    if any {
        writes.query::<()>(connection)?;
    }
    Ok((next, keys.len() as u64))
}

/// Waits until `replicas` replicas have all that was written, and an append-only file of the target is
/// on disk; gives up after `wait_ms`.
pub fn wait_for_replicas(
    connection: &mut Connection,
    name: &str,
    replicas: usize,
    wait_ms: u64,
    stop: &Stop,
) -> Result<(), Fault> {
    /// WAIT blocks the connection, so it is asked for in pieces.
    const PIECE_MS: u64 = 200;
    let failed = |error: RedisError| control::fault(name, &error);
    let deadline = Instant::now() + Duration::from_millis(wait_ms);
    if replicas == 0 {
        return Ok(());
    }
    loop {
        let confirmed: usize =
            redis::cmd("WAIT").arg(replicas).arg(PIECE_MS).query(connection).map_err(failed)?;
        if confirmed >= replicas {
            return Ok(());
        }
        if stop.requested() {
            return Err(Fault::Wait("asked to stop".into()));
        }
        if Instant::now() >= deadline {
            return Err(Fault::Fatal(
                Error::new(Kind::Stopped, "replicas have not confirmed all writes within --replica-wait-ms")
                    .place("target", name)
                    .place("confirmed", format!("{confirmed} of {replicas} declared replicas"))
                    .remedy(
                        "bring the replicas back, or take them out of the topology file; then run the same \
                         command again, it resumes",
                    ),
            ));
        }
    }
}
