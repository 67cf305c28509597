//! Settling a live master: deadlines are put right, and the declared replicas waited for.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use redis::{Cmd, Connection, RedisError, Value};

use super::{Fault, Shifted, Stop, control, fields};
use crate::command::deadline::OFFSET_NEAR_MS;
use crate::error::{Error, Kind};

/// Keys looked at in one go: a script over them keeps the server for about two milliseconds.
const KEYS_MAX: usize = 1000;

/// What both scripts begin with: `d(k)` is the deadline of a key, in milliseconds of Unix time. Lua's numbers are
/// doubles, exact below 2^53.
const DEADLINE: &str = "local call=redis.call local function d(k) return call('PEXPIRETIME',k) end ";

/// The same before 7.0, which tells only how much time is left: all of it within one millisecond of the server's
/// clock, else once more. Its scripts may write after TIME and SCAN only if their effects are replicated.
const DEADLINE_BEFORE_7_0: &str = "redis.replicate_commands() local call=redis.call \
local function now() local t=call('TIME') return t[1]*1000+math.floor(t[2]/1000) end \
local function d(k) while true do local b=now() local t=call('PTTL',k) \
if t<0 then return t end if now()==b then return b+t end end end ";

/// Subtracts its argument from the deadline of each of its keys that has one at or past it.
const UNSHIFT_KEYS: &str = "local o=tonumber(ARGV[1]) \
for _,k in ipairs(KEYS) do local t=d(k) if t>=o then call('PEXPIREAT',k,t-o) end end";

/// The same for all keys that a scan gives: from the cursor that is its second argument on, about as
/// many as the third one says.
const UNSHIFT_SCAN: &str = "local o=tonumber(ARGV[1]) \
local r=call('SCAN',ARGV[2],'COUNT',ARGV[3]) \
for _,k in ipairs(r[2]) do local t=d(k) if t>=o then call('PEXPIREAT',k,t-o) end end \
return {r[1],#r[2]}";

/// A connection to a target whose deadlines are put right. All of it is harmless to repeat: a deadline
/// that was not shifted, or is put right already, is below the offset.
struct Unshift<'c> {
    connection: &'c mut Connection,
    name: &'c str,
    shift_ms: i64,
    /// Whether scripts are permitted, and their numbers exact enough.
    by_script: bool,
    /// Whether it can tell a deadline.
    tells: bool,
    /// Whether fields of hashes have deadlines.
    in_fields: bool,
    stop: &'c Stop,
}

/// Puts the deadlines right of whatever keys `shifted` says.
pub fn unshift(
    connection: &mut Connection,
    name: &str,
    (shift_ms, shifted): (i64, &Shifted<'_>),
    stop: &Stop,
    progress: &dyn Fn(u64, u64),
) -> Result<(), Fault> {
    let scripts = redis::cmd("EVAL").arg("return 1").arg(0).query::<i64>(connection).is_ok();
    let by_script = scripts && shift_ms <= OFFSET_NEAR_MS;
    let tells = tells_deadlines(connection).map_err(|error| control::fault(name, &error))?;
    let keyspace: Result<String, _> = redis::cmd("INFO").arg("keyspace").query(connection);
    let keyspace = keyspace.map_err(|error| control::fault(name, &error))?;
    let in_fields = keyspace.lines().any(fields::has_any);
    let mut unshift = Unshift { connection, name, shift_ms, by_script, tells, in_fields, stop };
    match shifted {
        Shifted::Anywhere => unshift.scan(&keyspace, progress)?,
        Shifted::Keys(keys) => unshift.keys(keys, progress)?,
    }
    unshift.select("0")
}

/// Whether the server has PEXPIRETIME (7.0 and later).
pub(super) fn tells_deadlines(connection: &mut Connection) -> Result<bool, RedisError> {
    let known: Vec<Value> = redis::cmd("COMMAND").arg("INFO").arg("PEXPIRETIME").query(connection)?;
    Ok(known.iter().any(|info| matches!(info, Value::Array(parts) if !parts.is_empty())))
}

impl Unshift<'_> {
    fn script(&self, body: &str) -> Cmd {
        let mut script = redis::cmd("EVAL");
        script.arg(format!("{}{body}", if self.tells { DEADLINE } else { DEADLINE_BEFORE_7_0 }));
        script
    }

    fn select(&mut self, db: &str) -> Result<(), Fault> {
        let selected = redis::cmd("SELECT").arg(db).query::<()>(self.connection);
        selected.map_err(|error| control::fault(self.name, &error))
    }

    fn asked_to_stop(&self) -> Result<(), Fault> {
        if self.stop.requested() { Err(Fault::Wait("asked to stop".into())) } else { Ok(()) }
    }

    fn keys(&mut self, keys: &[(u32, Cow<'_, [u8]>)], progress: &dyn Fn(u64, u64)) -> Result<(), Fault> {
        let mut done = 0;
        for same_db in keys.chunk_by(|(one, _), (other, _)| one == other) {
            self.select(&same_db[0].0.to_string())?;
            for some in same_db.chunks(KEYS_MAX) {
                self.asked_to_stop()?;
                let names: Vec<&[u8]> = some.iter().map(|(_, key)| key.as_ref()).collect();
                let fixed = if self.by_script {
                    let mut script = self.script(UNSHIFT_KEYS);
                    script.arg(names.len()).arg(&names).arg(self.shift_ms);
                    script.query::<()>(self.connection)
                } else {
                    self.pipeline(&names)
                };
                let fixed = fixed.and_then(|()| self.fields(&names));
                fixed.map_err(|error| control::fault(self.name, &error))?;
                done += some.len() as u64;
                progress(done, keys.len() as u64);
            }
        }
        Ok(())
    }

    fn fields(&mut self, keys: &[&[u8]]) -> Result<(), RedisError> {
        if self.in_fields { fields::unshift(self.connection, keys) } else { Ok(()) }
    }

    fn scan(&mut self, keyspace: &str, progress: &dyn Fn(u64, u64)) -> Result<(), Fault> {
        let keys = control::keys_in(keyspace);
        let mut seen = 0;
        for line in keyspace.lines() {
            let Some(db) = line.strip_prefix("db").and_then(|rest| rest.split(':').next()) else { continue };
            // A database without deadlines needs no scan.
            if line.contains("expires=0,") && !fields::has_any(line) {
                continue;
            }
            self.select(db)?;
            let mut cursor = "0".to_owned();
            loop {
                self.asked_to_stop()?;
                let (next, looked_at) =
                    self.scan_step(&cursor).map_err(|error| control::fault(self.name, &error))?;
                seen += looked_at;
                progress(seen.min(keys), keys);
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        progress(keys, keys);
        Ok(())
    }

    /// Goes on from a cursor; gives the next one and the number of keys looked at.
    fn scan_step(&mut self, cursor: &str) -> Result<(String, u64), RedisError> {
        if self.by_script && !self.in_fields {
            let mut script = self.script(UNSHIFT_SCAN);
            script.arg(0).arg(self.shift_ms).arg(cursor).arg(KEYS_MAX);
            return script.query(self.connection);
        }
        let (next, keys): (String, Vec<Vec<u8>>) =
            redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(KEYS_MAX).query(self.connection)?;
        let names: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        self.pipeline(&names)?;
        self.fields(&names)?;
        Ok((next, keys.len() as u64))
    }

    /// What the scripts do, where they cannot.
    fn pipeline(&mut self, keys: &[&[u8]]) -> Result<(), RedisError> {
        if keys.is_empty() {
            return Ok(());
        }
        let deadlines = deadlines(self.connection, keys, self.tells)?;
        let mut writes = redis::pipe();
        for (key, deadline) in keys.iter().zip(deadlines).filter(|(_, deadline)| *deadline >= self.shift_ms) {
            writes.cmd("PEXPIREAT").arg(*key).arg(deadline - self.shift_ms).ignore();
        }
        if writes.is_empty() { Ok(()) } else { writes.query(self.connection) }
    }
}

/// The deadlines of keys, in milliseconds of Unix time, negative where there is none; `tells` says whether the server
/// has PEXPIRETIME.
pub(super) fn deadlines(
    connection: &mut Connection,
    keys: &[&[u8]],
    tells: bool,
) -> Result<Vec<i64>, RedisError> {
    if keys.is_empty() || !tells {
        return deadlines_by_time_left(connection, keys);
    }
    let mut reads = redis::pipe();
    for key in keys {
        reads.cmd("PEXPIRETIME").arg(*key);
    }
    reads.query(connection)
}

/// The same from a server that only tells how much time is left. Between two looks at its clock that give the same
/// millisecond the sum is the deadline; keys whose looks differ are asked for again.
fn deadlines_by_time_left(connection: &mut Connection, keys: &[&[u8]]) -> Result<Vec<i64>, RedisError> {
    let mut deadlines = vec![0; keys.len()];
    let mut open: Vec<usize> = (0..keys.len()).collect();
    while !open.is_empty() {
        let mut reads = redis::pipe();
        reads.cmd("TIME");
        for at in &open {
            reads.cmd("PTTL").arg(keys[*at]).cmd("TIME");
        }
        let answers: Vec<Value> = reads.query(connection)?;
        let clocks = answers.iter().step_by(2).map(|value| Ok(clock_ms(redis::from_redis_value_ref(value)?)));
        let clocks = clocks.collect::<Result<Vec<i64>, RedisError>>()?;
        let mut differ = Vec::new();
        for (nth, &at) in open.iter().enumerate() {
            let left: i64 = redis::from_redis_value_ref(&answers[2 * nth + 1])?;
            match clocks[nth..nth + 2] {
                _ if left < 0 => deadlines[at] = left,
                [before, after] if before == after => deadlines[at] = before + left,
                _ => differ.push(at),
            }
        }
        open = differ;
    }
    Ok(deadlines)
}

/// What commands before and between others tell of the server's clock, in milliseconds of Unix time.
fn clock_ms((seconds, microseconds): (i64, i64)) -> i64 {
    seconds * 1000 + microseconds / 1000
}

/// WAIT and WAITAOF block the connection, so they are asked for in pieces.
const PIECE_MS: u64 = 200;

/// Number of replicas that are connected to a master, also of those that are only being brought into step.
pub fn replicas(connection: &mut Connection, name: &str) -> Result<usize, Fault> {
    let info = redis::cmd("INFO").arg("replication").query::<String>(connection);
    let info = info.map_err(|error| control::fault(name, &error))?;
    Ok(control::info_field(&info, "connected_slaves").and_then(|count| count.parse().ok()).unwrap_or(0))
}

/// Waits until `replicas` replicas have all that was written; gives up after `wait_ms`.
pub fn wait_for_replicas(
    connection: &mut Connection,
    name: &str,
    replicas: usize,
    wait_ms: u64,
    stop: &Stop,
) -> Result<(), Fault> {
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

/// Waits until the target's own append-only file, if it keeps one, is on its disk. A server before 7.2 cannot
/// say that, nor one that leaves syncing to its system; then nothing is waited for.
pub fn wait_for_file(
    connection: &mut Connection,
    name: &str,
    wait_ms: u64,
    stop: &Stop,
) -> Result<(), Fault> {
    let failed = |error: RedisError| control::fault(name, &error);
    let info: String = redis::cmd("INFO").arg("persistence").query(connection).map_err(failed)?;
    if control::info_field(&info, "aof_enabled") != Some("1") {
        return Ok(());
    }
    let deadline = Instant::now() + Duration::from_millis(wait_ms);
    while Instant::now() < deadline {
        let asked = redis::cmd("WAITAOF").arg(1).arg(0).arg(PIECE_MS).query::<(u64, u64)>(connection);
        match asked {
            Ok((1.., _)) => return Ok(()),
            Ok(_) => {}
            Err(error) if control::reply_text(&error).is_none() => return Err(failed(error)),
            Err(error) => {
                tracing::debug!(target = %name, %error, "WAITAOF was answered with an error");
                return Ok(());
            }
        }
        if stop.requested() {
            return Err(Fault::Wait("asked to stop".into()));
        }
    }
    tracing::warn!(target = %name, "the append-only file was not on disk in time (appendfsync no?)");
    Ok(())
}
