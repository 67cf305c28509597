//! A live master: batches as guarded transactions, pipelined.
//!
//! On the wire a batch is `WATCH marker`, the guard, `MULTI`, the commands, `SET marker`, `EXEC`. The
//! guard is a script that touches the marker if it is not what this batch expects; a touched key
//! makes the EXEC answer nil. So bytes of a dead connection that arrive late, a batch after one that
//! was aborted, and the batches of another loader all change nothing.

use std::collections::VecDeque;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use redis::Connection;

use super::control::{self, fault, info_field};
use super::exchange::{self, Flush};
use super::inspect::life_of;
use super::pending::{Pending, Queued};
use super::reply::Token;
use super::wire::Wire;
use super::{Applied, Attached, Fault, Shifted, Sink, Stop, settle};
use crate::batch::{Batch, write_commands};
use crate::config::Limits;
use crate::error::{Error, Kind, shown};
use crate::marker::Marker;
use crate::partition::LanePart;
use crate::resp::encode;
use crate::route::Rules;
use crate::source::Source;
use crate::topology::Endpoint;
use crate::topology::Members;
use crate::topology::master::{self, Answer, NoMaster};

/// Touches the marker (its key) if it is not the expected text (its argument).
///
/// Setting a deadline and taking it away again changes nothing but counts as a change to WATCH, and is
/// not refused for lack of memory. A marker that is gone has to be set and deleted for that.
pub const GUARD: &str = "local m=redis.call('GET',KEYS[1]) if m==ARGV[1] then return 1 end \
if m then redis.call('PEXPIRE',KEYS[1],86400000) redis.call('PERSIST',KEYS[1]) \
else redis.call('SET',KEYS[1],'') redis.call('DEL',KEYS[1]) end return 0";

/// Bytes gathered before they are written; larger arguments are written from where they lie.
const WRITE_BYTES: usize = 128 << 10;

/// How the guard is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// By [`GUARD`], in the pipeline.
    Script,
    /// Scripts are not permitted: the marker is read first, and EXEC sent only if it is as expected.
    Read,
}

/// See the module.
pub struct ServerSink<'s> {
    members: Members,
    lane: usize,
    marker_key: &'s [u8],
    source: &'s Source,
    rules: &'s Rules,
    limits: Limits,
    stop: &'s Stop,
    /// Who was master last.
    last: Option<Endpoint>,
    wire: Option<BufWriter<Wire>>,
    guard: Guard,
    pending: VecDeque<Pending>,
    in_flight_bytes: usize,
    /// Applied batches that nobody has asked for yet.
    done: Vec<Applied>,
    /// What became of the batch behind those, to be told once they are known.
    fault: Option<Fault>,
}

impl<'s> ServerSink<'s> {
    /// A sink for one lane; connects to nothing yet.
    pub fn new(
        members: Members,
        lane: usize,
        source: &'s Source,
        rules: &'s Rules,
        limits: Limits,
        stop: &'s Stop,
    ) -> Self {
        ServerSink {
            members,
            lane,
            marker_key: &rules.marker_key,
            source,
            rules,
            limits,
            stop,
            last: None,
            wire: None,
            guard: Guard::Script,
            pending: VecDeque::new(),
            in_flight_bytes: 0,
            done: Vec::new(),
            fault: None,
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.limits.timeout_ms)
    }

    /// A connection of the redis crate to whoever is master now.
    pub(super) fn master(&mut self) -> Result<Connection, Fault> {
        let timeout = self.timeout();
        let connect =
            |endpoint: &Endpoint| control::connect(endpoint, self.members.credentials.as_ref(), timeout);
        match master::find(&self.members, self.last.as_ref(), &connect) {
            Ok((endpoint, connection)) => {
                self.last = Some(endpoint);
                Ok(connection)
            }
            Err(none) => Err(no_master(&none)),
        }
    }

    /// Opens the connection that batches go through.
    fn open(&mut self) -> Result<(), Fault> {
        let endpoint = self.last.clone().unwrap_or_else(|| self.members.master.clone());
        let lost = |error: std::io::Error| Fault::Lost(format!("{endpoint}: {error}"));
        let mut wire = Wire::connect(&endpoint, self.timeout()).map_err(lost)?;
        let mut hello = Vec::new();
        let mut logs_in = false;
        if let Some(credentials) = &self.members.credentials {
            let password = credentials.password.expose().as_bytes();
            logs_in = true;
            match &credentials.username {
                Some(username) => encode::command(&mut hello, &[b"AUTH", username.as_bytes(), password]),
                None => encode::command(&mut hello, &[b"AUTH", password]),
            }
        }
        // What a batch is made of must be permitted: without MULTI its commands would run bare.
        encode::command(&mut hello, &[b"WATCH".as_slice(), self.marker_key]);
        encode::command(&mut hello, &[b"MULTI".as_slice()]);
        encode::command(&mut hello, &[b"EXEC".as_slice()]);
        encode::command(&mut hello, &[b"EVAL".as_slice(), b"return 1", b"0"]);
        wire.write_all(&hello).map_err(lost)?;
        if logs_in && matches!(next_token(&mut wire).map_err(lost)?, Token::Error(_)) {
            // A server may repeat the password in its answer, so that is not shown.
            return Err(control::refused(&endpoint.to_string(), b"WRONGPASS"));
        }
        for _ in ["WATCH", "MULTI", "EXEC"] {
            if let Token::Error(text) = next_token(&mut wire).map_err(lost)? {
                return Err(control::refused(&endpoint.to_string(), &text));
            }
        }
        self.guard = match next_token(&mut wire).map_err(lost)? {
            Token::Error(text) if text.starts_with(b"NOPERM") || text.starts_with(b"ERR unknown command") => {
                Guard::Read
            }
            Token::Error(text) => return Err(control::refused(&endpoint.to_string(), &text)),
            _ => Guard::Script,
        };
        self.wire = Some(BufWriter::with_capacity(WRITE_BYTES, wire));
        Ok(())
    }

    /// A server that was restarted with an append-only file of its own may have a torn transaction at
    /// that file's end, which swallows what is appended later; a rewrite makes the file whole.
    fn mend_append_only_file(&self, connection: &mut Connection) -> Result<(), Fault> {
        let name = self.name();
        let persistence = |connection: &mut Connection| -> Result<String, Fault> {
            redis::cmd("INFO").arg("persistence").query(connection).map_err(|error| fault(&name, &error))
        };
        if info_field(&persistence(connection)?, "aof_enabled") != Some("1") {
            return Ok(());
        }
        tracing::info!(target = %name, "the server was restarted: rewriting its append-only file first");
        if let Err(error) = redis::cmd("BGREWRITEAOF").query::<String>(connection) {
            tracing::debug!(%error, "BGREWRITEAOF was answered with an error; one may be under way");
        }
        loop {
            let info = persistence(connection)?;
            let busy = |field: &str| info_field(&info, field) == Some("1");
            if !busy("aof_rewrite_in_progress") && !busy("aof_rewrite_scheduled") {
                return match info_field(&info, "aof_last_bgrewrite_status") {
                    Some("ok") | None => Ok(()),
                    Some(status) => Err(Fault::Wait(format!("{name}: BGREWRITEAOF ended with {status}"))),
                };
            }
            if super::wire::pause(Duration::from_millis(50), self.stop) {
                return Err(Fault::Wait("asked to stop".into()));
            }
        }
    }

    fn write_batch(&mut self, part: &LanePart, batch: &Batch, old: &str, new: &str) -> Result<Queued, Fault> {
        let name = self.name();
        let lost = |error: std::io::Error| Fault::Lost(format!("{name}: {error}"));
        let Some(wire) = self.wire.as_mut() else {
            return Err(Fault::Lost(format!("{name}: not connected")));
        };
        let mut text = Vec::with_capacity(512);
        let key = self.marker_key;
        encode::command(&mut text, &[b"WATCH".as_slice(), key]);
        match self.guard {
            Guard::Script => {
                encode::command(
                    &mut text,
                    &[b"EVAL".as_slice(), GUARD.as_bytes(), b"1", key, old.as_bytes()],
                );
            }
            Guard::Read => encode::command(&mut text, &[b"GET".as_slice(), key]),
        }
        encode::command(&mut text, &[b"MULTI".as_slice()]);
        if batch.swaps {
            // Otherwise the marker would move with the database and leave a copy behind.
            encode::command(&mut text, &[b"DEL".as_slice(), key]);
        }
        wire.write_all(&text).map_err(lost)?;
        let written =
            write_commands(wire, self.source, self.rules, self.lane, (part, batch), 0).map_err(lost)?;
        text.clear();
        if written.db != 0 {
            encode::select(&mut text, 0);
        }
        encode::command(&mut text, &[b"SET".as_slice(), key, new.as_bytes()]);
        if self.guard == Guard::Read {
            wire.write_all(&text).and_then(|()| wire.flush()).map_err(lost)?;
            expect_marker(wire.get_mut(), old).map_err(|found| match found {
                Some(error) => lost(error),
                None => Fault::Marker(format!("the marker of {name} is not what this batch expects")),
            })?;
            text.clear();
        }
        part.check(self.source)?;
        encode::command(&mut text, &[b"EXEC".as_slice()]);
        wire.write_all(&text).and_then(|()| wire.flush()).map_err(lost)?;
        let before = written.before + usize::from(batch.swaps);
        let after = 1 + usize::from(written.db != 0);
        let total = before + written.sent.len() + after;
        Ok(Queued { before, total, sent: written.sent })
    }

    /// Takes the replies that have come, and waits for a batch's worth of them if asked to.
    fn digest(&mut self, wait: bool) -> Result<Vec<Applied>, Fault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let name = self.name();
        let Some(wire) = self.wire.as_mut() else { return Ok(Vec::new()) };
        let wire = wire.get_mut();
        let mut applied = Vec::new();
        wire.receive().map_err(|error| Fault::Lost(format!("{name}: {error}")))?;
        while let Some(pending) = self.pending.front_mut() {
            let digested = match pending.digest(&mut wire.inbox, self.source, &name) {
                Err(fault) if !applied.is_empty() => {
                    self.fault = Some(fault);
                    break;
                }
                digested => digested?,
            };
            match digested {
                Some(done) => {
                    self.in_flight_bytes -= pending.bytes();
                    self.pending.pop_front();
                    applied.push(done);
                }
                None if wait && applied.is_empty() => {
                    wire.wait().map_err(|error| Fault::Lost(format!("{name}: {error}")))?;
                }
                None => break,
            }
        }
        Ok(applied)
    }
}

impl Sink for ServerSink<'_> {
    fn attach(&mut self) -> Result<Attached, Fault> {
        self.wire = None;
        self.pending.clear();
        self.done.clear();
        self.fault = None;
        self.in_flight_bytes = 0;
        let mut connection = self.master()?;
        let name = self.name();
        let failed = |error: redis::RedisError| fault(&name, &error);
        let marker = exchange::read(&mut connection, self.marker_key, &name)?;
        let info: String = redis::cmd("INFO").arg("server").query(&mut connection).map_err(failed)?;
        let keyspace: String = redis::cmd("INFO").arg("keyspace").query(&mut connection).map_err(failed)?;
        let run_id = info_field(&info, "run_id").unwrap_or_default();
        let server = life_of(run_id);
        if marker.as_ref().is_some_and(|marker| marker.server != server) {
            self.mend_append_only_file(&mut connection)?;
        }
        self.open()?;
        let own = u64::from(marker.is_some());
        Ok(Attached { marker, is_empty: control::keys_in(&keyspace) == own, server })
    }

    fn create(&mut self, found: Option<&Marker>, new: &Marker, flush: Flush) -> Result<(), Fault> {
        let mut connection = self.master()?;
        exchange::create(&mut connection, self.marker_key, found, new, flush, &self.name())
    }

    fn exchange(&mut self, old: &Marker, new: &Marker) -> Result<(), Fault> {
        let mut connection = self.master()?;
        exchange::exchange(&mut connection, self.marker_key, old, new, &self.name())
    }

    fn apply(&mut self, part: &Arc<LanePart>, batch: Batch, old: &Marker, new: &Marker) -> Result<(), Fault> {
        if self.guard == Guard::Read {
            // The marker can only be read once the batch before has moved it.
            while !self.pending.is_empty() {
                let done = self.digest(true)?;
                self.done.extend(done);
            }
        }
        let queued = self.write_batch(part, &batch, &old.to_string(), &new.to_string())?;
        self.in_flight_bytes += batch.bytes as usize;
        let guarded = self.guard == Guard::Script;
        self.pending.push_back(Pending::new(Arc::clone(part), batch, new.clone(), queued, guarded));
        Ok(())
    }

    fn applied(&mut self, wait: bool) -> Result<Vec<Applied>, Fault> {
        let mut applied = std::mem::take(&mut self.done);
        let wait = wait && applied.is_empty();
        applied.extend(self.digest(wait)?);
        Ok(applied)
    }

    fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    fn rest(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn settle(
        &mut self,
        marker: &Marker,
        shifted: &Shifted<'_>,
        progress: &dyn Fn(u64, u64),
    ) -> Result<(), Fault> {
        let mut connection = self.master()?;
        // After a failover the master that was lost cannot be a replica to wait for.
        let failed_over = self.last.as_ref().is_some_and(|last| *last != self.members.master);
        let (name, replicas) = (self.name(), self.members.replicas.len() - usize::from(failed_over));
        if marker.load.shift_ms > 0 {
            // Not on a server that has taken the master's place meanwhile and is behind.
            exchange::exchange(&mut connection, self.marker_key, marker, marker, &name)?;
            settle::unshift(&mut connection, &name, (marker.load.shift_ms, shifted), self.stop, progress)?;
        }
        // WAIT looks at the last write of its own connection, so there must be one.
        exchange::exchange(&mut connection, self.marker_key, marker, marker, &name)?;
        settle::wait_for_replicas(&mut connection, &name, replicas, self.limits.replica_wait_ms, self.stop)
    }

    fn finish(&mut self, marker: &Marker) -> Result<(), Fault> {
        let mut connection = self.master()?;
        exchange::remove(&mut connection, self.marker_key, marker, &self.name())
    }

    fn name(&self) -> String {
        self.last.as_ref().unwrap_or(&self.members.master).to_string()
    }
}

/// What it means that a set has no master to write to.
pub fn no_master(none: &NoMaster) -> Fault {
    let answers = match none {
        NoMaster::None(answers) => answers,
        NoMaster::Several(endpoints) => {
            let names: Vec<String> = endpoints.iter().map(Endpoint::to_string).collect();
            return Fault::Wait(format!("several members say that they are master: {}", names.join(", ")));
        }
    };
    let mut said = Vec::new();
    for (endpoint, answer) in answers {
        match answer {
            Answer::Replica(of) => said.push(format!("{endpoint} is a replica of {of}")),
            Answer::Failed(error) => match fault(&endpoint.to_string(), error) {
                // A refusal such as a wrong password does not go away by waiting.
                fatal @ Fault::Fatal(_) => return fatal,
                Fault::Lost(text) | Fault::Wait(text) | Fault::Marker(text) => said.push(text),
                Fault::Diverged(_) | Fault::Refused(_) => {}
            },
        }
    }
    Fault::Lost(format!("no master: {}", said.join("; ")))
}

/// Waits for the next reply.
fn next_token(wire: &mut Wire) -> std::io::Result<Token> {
    loop {
        if let Some(token) = wire.inbox.token().map_err(std::io::Error::other)? {
            return Ok(token);
        }
        wire.wait()?;
    }
}

/// Waits for the replies to WATCH and GET; `Err(None)` if the marker is another.
fn expect_marker(wire: &mut Wire, old: &str) -> Result<(), Option<std::io::Error>> {
    next_token(wire)?;
    loop {
        match wire.inbox.bulk().map_err(std::io::Error::other)? {
            Some(found) if found.as_deref() == Some(old.as_bytes()) => return Ok(()),
            Some(_) => return Err(None),
            None => wire.wait()?,
        }
    }
}

/// An error for something that only a fault of this program could bring about.
pub(super) fn out_of_step(name: &str, what: &str) -> Fault {
    Fault::Fatal(
        Error::new(Kind::Stopped, "a target's replies do not fit what was sent")
            .place("target", name)
            .place("found", shown(what.as_bytes()))
            .remedy(
                "check that no proxy rewrites the connection; then run the same command again, it resumes",
            ),
    )
}
